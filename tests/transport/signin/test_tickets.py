import asyncio

import pytest

from contracts import subjects
from services.chassis.bus import Bus
from services.transport.refusals import RefusalError
from services.transport.signin.principal import ANYONE, Principal
from services.transport.signin.tickets import Tickets
from tests.transport.signin.test_rates import somebody

pytestmark = pytest.mark.broker


async def test_a_ticket_is_taken_once_by_any_transport(bus: Bus) -> None:
    given, taken = Tickets(bus), Tickets(bus)
    for who in (somebody(), ANYONE):
        ticket = await given.issue(who)
        assert await taken.redeem(ticket) == who
        for door in (given, taken):
            with pytest.raises(RefusalError, match="ticket: was used"):
                await door.redeem(ticket)


async def test_of_many_that_come_with_the_same_ticket_one_gets_in(bus: Bus) -> None:
    doors = [Tickets(bus) for _ in range(10)]
    for _ in range(5):
        ticket = await doors[0].issue(somebody())
        came = await asyncio.gather(
            *(door.redeem(ticket) for door in doors), return_exceptions=True
        )
        assert sum(isinstance(one, Principal) for one in came) == 1
        assert sum(isinstance(one, RefusalError) for one in came) == 9


@pytest.mark.parametrize("ticket", ["", "made-up", "*", ">", "a b", "é" * 100, "x" * 9000])
async def test_what_never_was_a_ticket_opens_nothing(bus: Bus, ticket: str) -> None:
    with pytest.raises(RefusalError, match="never was one"):
        await Tickets(bus).redeem(ticket)


async def test_who_reads_the_bucket_cannot_open_a_socket(bus: Bus) -> None:
    ticket = await Tickets(bus).issue(somebody())
    keys = await (await bus.bucket(subjects.TICKETS)).keys()
    assert not any(ticket in key for key in keys)
    for key in keys:
        with pytest.raises(RefusalError):
            await Tickets(bus).redeem(key)
