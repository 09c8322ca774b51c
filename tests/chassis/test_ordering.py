"""Orders are queued once."""

import asyncio

import pytest

from contracts import subjects
from contracts.commands import COMMAND
from infra.servers import NatsServer
from services.chassis import bus as chassis
from services.chassis.bus import Bus
from services.chassis.direct_get import RefusedError, UnavailableError
from tests.chassis.story import count_of, message, new_chat

pytestmark = [pytest.mark.broker]


async def test_an_order_given_twice_is_queued_once(own_bus: Bus) -> None:
    order, other = message(new_chat()), message(new_chat())
    for one in (order, order, other, order):
        await own_bus.order(one)
    await asyncio.gather(*(own_bus.order(order) for _ in range(5)))
    assert await count_of(own_bus, subjects.COMMANDS, subjects.ALL_COMMANDS) == 2
    queued = await own_bus.js.get_last_msg(
        subjects.COMMANDS, subjects.command(order.key, order.name)
    )
    assert COMMAND.validate_json(queued.data or b"") == order


async def test_an_order_that_nats_cannot_take_is_refused(bus: Bus) -> None:
    with pytest.raises(RefusedError, match="NATS takes"):
        await bus.order(message(new_chat(), "x" * 1_048_576))
    await bus.order(message(new_chat(), "the connection stands"))


async def test_an_order_to_a_server_that_is_away_ends_with_a_name_or_gets_there_once(
    own_nats: NatsServer, own_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chassis, "ACK_SECONDS", 0.1)
    order = message(new_chat())
    await asyncio.to_thread(own_nats.kill)
    with pytest.raises(UnavailableError, match=subjects.command(order.key, order.name)):
        await own_bus.order(order)
    monkeypatch.undo()
    await asyncio.to_thread(own_nats.start)
    await own_bus.order(order)
    assert await count_of(own_bus, subjects.COMMANDS, subjects.ALL_COMMANDS) == 1
