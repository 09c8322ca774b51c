"""A projection is told every event, first to last; poison is put aside, an absent store waited for."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from contracts import event_log, subjects
from contracts.codec import UnreadableMessageError
from infra.servers import NatsServer
from services.chassis import projecting, settling
from services.chassis.away import AwayError
from services.chassis.bus import Bus
from services.chassis.direct_get import RawMessage
from services.chassis.process import build_broker, connected
from services.chassis.projecting import Apply, EventConsumer
from services.chassis.settings import Settings
from tests.chassis.story import (
    Chat,
    bus_of,
    count_of,
    letter_about,
    new_chat,
    no_room,
    said,
    until,
)

pytestmark = [pytest.mark.broker]
DURABLE = "projection"


@asynccontextmanager
async def projecting_to(server: NatsServer, apply: Apply) -> AsyncIterator[Bus]:
    settings = Settings(nats_url=server.url, drain_seconds=2)
    broker = build_broker(settings, "test")
    async with connected(broker, settings) as bus:
        follower = EventConsumer(bus, DURABLE, apply)
        follower.start()
        yield bus
        await follower.stop()


class Applied:
    """A projection that remembers what it was told."""

    def __init__(self) -> None:
        self.stored: list[RawMessage] = []

    async def __call__(self, batch: Sequence[RawMessage]) -> None:
        positions = [one.position for one in batch]
        assert positions == sorted(set(positions)) != []
        self.stored += batch

    def holds(self, count: int) -> bool:
        return len({one.position for one in self.stored}) >= count


async def settled(bus: Bus) -> None:
    """Nothing is left to deliver, and nothing is in hand."""
    async with asyncio.timeout(30):
        while True:
            info = await bus.js.consumer_info(subjects.EVENTS, DURABLE)
            if not info.num_pending and not info.num_ack_pending:
                return
            await asyncio.sleep(0.05)


async def test_every_event_of_every_chat_is_applied_each_batch_in_order(
    own_nats: NatsServer, own_bus: Bus
) -> None:
    applied = Applied()
    chats = [Chat(own_bus, new_chat()) for _ in range(3)]
    await chats[0].append_each(300)  # from before the projection was
    async with projecting_to(own_nats, applied) as bus:
        for _ in range(40):
            await asyncio.gather(*(chat.append_each(2) for chat in chats))
        await until(lambda: applied.holds(540))
        await settled(bus)
    told = {one.position: one for one in applied.stored}
    for chat in chats:
        stored = await chat.messages()
        assert [told[one.position] for one in stored] == stored


async def test_a_projection_goes_on_where_it_stopped(own_nats: NatsServer, own_bus: Bus) -> None:
    chat, first, second = Chat(own_bus, new_chat()), Applied(), Applied()
    await chat.append_each(5)
    async with projecting_to(own_nats, first) as bus:
        await until(lambda: first.holds(5))
        await settled(bus)
    await chat.append_each(3)
    async with projecting_to(own_nats, second) as bus:
        await until(lambda: second.holds(3))
        await settled(bus)
    assert first.stored + second.stored == await chat.messages()  # none of the first's told again


async def test_what_was_not_acknowledged_is_told_again(
    own_nats: NatsServer, own_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, applied, calls = Chat(own_bus, new_chat()), Applied(), 0

    async def fails_once(batch: Sequence[RawMessage]) -> None:
        nonlocal calls
        calls += 1
        if calls <= len(batch) + 1:  # the batch, then one by one
            raise RuntimeError("the disk hiccups")
        await applied(batch)

    monkeypatch.setattr(projecting, "LINGER_SECONDS", 0.3)
    await chat.append_each(3)
    async with projecting_to(own_nats, fails_once) as bus:
        await until(lambda: applied.holds(3))
        await settled(bus)
        assert await count_of(bus, subjects.DEAD_LETTERS, subjects.ALL_DEAD_LETTERS) == 0
    assert {one.position for one in applied.stored} == {
        one.position for one in await chat.messages()
    }


@pytest.mark.parametrize("trouble", [UnreadableMessageError("no event"), ValueError("cold")])
async def test_poison_is_put_aside_and_its_neighbours_are_applied(
    own_nats: NatsServer, own_bus: Bus, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    monkeypatch.setattr(projecting, "TRIES", 2)
    chat, applied = Chat(own_bus, new_chat()), Applied()
    await chat.append_each(2)
    poisoned = await chat.append(said("poison"))
    await chat.append_each(2)

    async def apply(batch: Sequence[RawMessage]) -> None:
        if any(one.position == poisoned for one in batch):
            raise trouble
        await applied(batch)

    async with projecting_to(own_nats, apply) as bus:
        await until(lambda: applied.holds(4))
        await settled(bus)
        letter = await letter_about(bus, DURABLE, subjects.event(chat.key, "runtime"))
    stored = await chat.messages()
    assert letter is not None
    assert letter.headers is not None
    assert letter.data == stored[2].data
    assert str(letter.headers["Mozaiks-Reason"]) == repr(trouble)
    assert {one.position for one in applied.stored} == {
        one.position for one in stored if one.position != poisoned
    }


async def test_bytes_that_are_no_event_do_not_stop_a_projection(
    own_nats: NatsServer, own_bus: Bus
) -> None:
    applied = Applied()

    async def apply(batch: Sequence[RawMessage]) -> None:
        for one in batch:
            event_log.read(one.subject, one.data)
        await applied(batch)

    nowhere = subjects.event(new_chat(), "runtime")
    await own_bus.js.publish(nowhere, b"\xff")
    for status in ("404", "409", "503"):  # nor are these answers of the server
        await own_bus.js.publish(nowhere, b"", headers={"Status": status})
    await Chat(own_bus, new_chat()).append_each(3)
    async with projecting_to(own_nats, apply) as bus:
        await until(lambda: applied.holds(3))
        await settled(bus)
        assert await letter_about(bus, DURABLE, nowhere) is not None


@pytest.mark.parametrize("holds", [1, 2, 10])
async def test_an_absent_store_is_waited_for_and_nothing_is_given_up(
    own_nats: NatsServer, own_bus: Bus, monkeypatch: pytest.MonkeyPatch, holds: int
) -> None:
    monkeypatch.setattr(projecting, "TRIES", 1)
    monkeypatch.setattr(projecting, "pause", lambda _: 0.05)
    monkeypatch.setattr(settling, "pause", lambda _: 0.05)
    monkeypatch.setattr(projecting, "HOLDS", holds)
    chat, applied, away = Chat(own_bus, new_chat()), Applied(), 0

    async def apply(batch: Sequence[RawMessage]) -> None:
        nonlocal away
        if away < 5:
            away += 1
            raise AwayError("MongoDB does not answer")
        await applied(batch)

    await chat.append_each(4)
    async with projecting_to(own_nats, apply) as bus:
        await until(lambda: applied.holds(4))
        await settled(bus)
        assert await count_of(bus, subjects.DEAD_LETTERS, subjects.ALL_DEAD_LETTERS) == 0
    assert away == 5


async def test_the_one_to_blame_is_found_without_trying_each_of_its_batch(
    own_nats: NatsServer, own_bus: Bus
) -> None:
    chat, applied, calls = Chat(own_bus, new_chat()), Applied(), 0
    await chat.append_each(77)
    poisoned = await chat.append(said("poison"))
    await chat.append_each(50)

    async def apply(batch: Sequence[RawMessage]) -> None:
        nonlocal calls
        calls += 1
        if any(one.position == poisoned for one in batch):
            raise UnreadableMessageError("no event")
        await applied(batch)

    async with projecting_to(own_nats, apply) as bus:
        await until(lambda: applied.holds(127))
        await settled(bus)
    assert (
        calls <= 1 + 2 * 7 + 5
    )  # both halves of 128, of 64, ...; five more where it came in parts


async def test_an_event_that_ends_its_process_is_put_aside_and_the_rest_applied(
    own_nats: NatsServer, own_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projecting, "TRIES", 2)
    monkeypatch.setattr(projecting, "ACK_SECONDS", 0.5)
    chat, applied, deaths = Chat(own_bus, new_chat()), Applied(), 0
    await chat.append_each(3)
    poisoned = await chat.append(said("poison"))
    await chat.append_each(3)
    place = subjects.event(chat.key, "runtime")
    while await letter_about(own_bus, DURABLE, place) is None:
        died = asyncio.Event()
        async with bus_of(own_nats) as bus:

            async def apply(
                batch: Sequence[RawMessage], bus: Bus = bus, died: asyncio.Event = died
            ) -> None:
                if any(one.position == poisoned for one in batch):
                    await bus.nc.close()  # without a word to anyone
                    died.set()
                    await asyncio.sleep(60)
                await applied(batch)

            consumer = EventConsumer(bus, DURABLE, apply)
            consumer.start()
            async with asyncio.timeout(20):
                while not died.is_set() and not await letter_about(own_bus, DURABLE, place):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            deaths += died.is_set()
            await consumer.stop()
    assert deaths == 3  # the first of them is not counted: it may have been any of the batch
    async with projecting_to(own_nats, applied) as bus:
        await until(lambda: applied.holds(6))
        await settled(bus)
    assert poisoned not in {one.position for one in applied.stored}


async def test_what_is_in_hand_at_a_stop_goes_to_another_at_once(
    own_nats: NatsServer, own_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projecting, "ACK_SECONDS", 300)  # longer than the test may last
    chat, applied, taken = Chat(own_bus, new_chat()), Applied(), asyncio.Event()
    await chat.append_each(5)

    async def hold(_: Sequence[RawMessage]) -> None:
        taken.set()
        await asyncio.sleep(60)

    async with projecting_to(own_nats, hold):
        await taken.wait()
    async with projecting_to(own_nats, applied) as bus:
        await until(lambda: applied.holds(5))
        await settled(bus)


@pytest.mark.parametrize("how", ["full", "deleted"])
async def test_poison_that_cannot_be_kept_is_not_lost(
    own_nats: NatsServer, own_bus: Bus, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(settling, "pause", lambda _: 0.05)
    chat, applied, seen = Chat(own_bus, new_chat()), Applied(), 0
    poisoned = await chat.append(said("poison"))

    async def apply(batch: Sequence[RawMessage]) -> None:
        nonlocal seen
        if any(one.position == poisoned for one in batch):
            seen += len(batch) == 1
            raise UnreadableMessageError("no event")
        await applied(batch)

    async with projecting_to(own_nats, apply) as bus:
        async with no_room(own_bus, how):
            await until(lambda: seen >= 4)
            await chat.append_each(3)
            await until(lambda: applied.holds(3))
        await settled(bus)
        assert await count_of(bus, subjects.DEAD_LETTERS, subjects.ALL_DEAD_LETTERS) == 1
