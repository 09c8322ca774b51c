import asyncio

import pytest

from contracts import subjects
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.auth.principal import UNRESTRICTED, Principal
from services.transport.auth.tickets import Tickets
from services.transport.errors import ApiError
from tests.transport.auth.test_rate_limit import principal

pytestmark = pytest.mark.broker


async def test_a_ticket_is_redeemed_once_by_any_transport(gateway: JetStreamGateway) -> None:
    issuing, redeeming = Tickets(gateway), Tickets(gateway)
    for identity in (principal(), UNRESTRICTED):
        ticket = await issuing.issue(identity)
        assert await redeeming.redeem(ticket) == identity
        for tickets in (issuing, redeeming):
            with pytest.raises(ApiError, match="ticket: unknown, expired or already used"):
                await tickets.redeem(ticket)


async def test_of_many_concurrent_uses_of_a_ticket_one_succeeds(
    gateway: JetStreamGateway,
) -> None:
    transports = [Tickets(gateway) for _ in range(10)]
    for _ in range(5):
        ticket = await transports[0].issue(principal())
        results = await asyncio.gather(
            *(one.redeem(ticket) for one in transports), return_exceptions=True
        )
        assert sum(isinstance(one, Principal) for one in results) == 1
        assert sum(isinstance(one, ApiError) for one in results) == 9


@pytest.mark.parametrize("ticket", ["", "made-up", "*", ">", "a b", "é" * 100, "x" * 9000])
async def test_an_unknown_ticket_is_rejected(gateway: JetStreamGateway, ticket: str) -> None:
    with pytest.raises(ApiError, match="ticket: unknown"):
        await Tickets(gateway).redeem(ticket)


async def test_the_bucket_does_not_reveal_tickets(gateway: JetStreamGateway) -> None:
    ticket = await Tickets(gateway).issue(principal())
    keys = await (await gateway.key_values.bucket(subjects.TICKETS)).keys()
    assert not any(ticket in key for key in keys)
    for key in keys:
        with pytest.raises(ApiError):
            await Tickets(gateway).redeem(key)
