"""A subscriber gets every event, first to last; poison is dead-lettered, a server waited for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from contracts import event_log, subjects
from contracts.codec import UnreadableMessageError
from infra.servers import NatsServer
from services.chassis.consumers import batch_settlement, settlement, subscribers
from services.chassis.consumers.errors import NewerReleaseError
from services.chassis.consumers.subscribers import event_subscriber
from services.chassis.jetstream.direct_get import RawMessage
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.nats.unavailable import ServerUnavailableError
from services.chassis.process.broker import build_broker, connected
from services.chassis.settings import Settings
from tests.chassis.story import (
    Chat,
    count_of,
    letter_about,
    new_chat,
    no_room,
    said,
    until,
)
from tests.patience import PATIENCE_SECONDS

pytestmark = [pytest.mark.broker]
DURABLE = "projection"


Apply = Callable[[Sequence[RawMessage]], Awaitable[None]]


@asynccontextmanager
async def projecting_to(server: NatsServer, apply: Apply) -> AsyncIterator[JetStreamGateway]:
    settings = Settings(nats_url=server.url, drain_seconds=2)
    broker = build_broker(settings, "test")
    async with connected(broker, settings) as gateway:

        @event_subscriber(broker, gateway, DURABLE)
        async def on_events(events: list[RawMessage]) -> None:
            await apply(events)

        await broker.start()
        yield gateway


class Applied:
    """A projection that remembers its events."""

    def __init__(self) -> None:
        self.stored: list[RawMessage] = []

    async def __call__(self, batch: Sequence[RawMessage]) -> None:
        positions = [one.position for one in batch]
        assert positions == sorted(set(positions)) != []
        self.stored += batch

    def holds(self, count: int) -> bool:
        return len({one.position for one in self.stored}) >= count


async def settled(gateway: JetStreamGateway) -> None:
    """Nothing is left to deliver or to acknowledge."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            info = await gateway.js.consumer_info(subjects.EVENTS, DURABLE)
            if not info.num_pending and not info.num_ack_pending:
                return
            await asyncio.sleep(0.05)


async def test_every_event_of_every_chat_is_applied_each_batch_in_order(
    own_nats: NatsServer, own_gateway: JetStreamGateway
) -> None:
    applied = Applied()
    chats = [Chat(own_gateway, new_chat()) for _ in range(3)]
    await chats[0].append_each(300)  # from before the projection existed
    async with projecting_to(own_nats, applied) as gateway:
        for _ in range(40):
            await asyncio.gather(*(chat.append_each(2) for chat in chats))
        await until(lambda: applied.holds(540))
        await settled(gateway)
    told = {one.position: one for one in applied.stored}
    for chat in chats:
        stored = await chat.messages()
        assert [told[one.position] for one in stored] == stored


async def test_a_projection_continues_where_it_stopped(
    own_nats: NatsServer, own_gateway: JetStreamGateway
) -> None:
    chat, first, second = Chat(own_gateway, new_chat()), Applied(), Applied()
    await chat.append_each(5)
    async with projecting_to(own_nats, first) as gateway:
        await until(lambda: first.holds(5))
        await settled(gateway)
    await chat.append_each(3)
    async with projecting_to(own_nats, second) as gateway:
        await until(lambda: second.holds(3))
        await settled(gateway)
    assert first.stored + second.stored == await chat.messages()  # none of the first's is repeated


async def test_an_unacknowledged_batch_is_applied_again(
    own_nats: NatsServer, own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, applied, calls = Chat(own_gateway, new_chat()), Applied(), 0

    async def fails_once(batch: Sequence[RawMessage]) -> None:
        nonlocal calls
        calls += 1
        if calls <= len(batch) + 1:  # the batch, then one by one
            raise RuntimeError("the disk hiccups")
        await applied(batch)

    monkeypatch.setattr(subscribers, "FILL_SECONDS", 0.3)
    await chat.append_each(3)
    async with projecting_to(own_nats, fails_once) as gateway:
        await until(lambda: applied.holds(3))
        await settled(gateway)
        assert await count_of(gateway, subjects.DEAD_LETTERS, subjects.ALL_DEAD_LETTERS) == 0
    assert {one.position for one in applied.stored} == {
        one.position for one in await chat.messages()
    }


@pytest.mark.parametrize("trouble", [UnreadableMessageError("no event"), ValueError("cold")])
async def test_poison_is_dead_lettered_and_its_neighbours_are_applied(
    own_nats: NatsServer,
    own_gateway: JetStreamGateway,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Exception,
) -> None:
    monkeypatch.setattr(subscribers, "MAX_ATTEMPTS", 2)
    chat, applied = Chat(own_gateway, new_chat()), Applied()
    await chat.append_each(2)
    poisoned = await chat.append(said("poison"))
    await chat.append_each(2)

    async def apply(batch: Sequence[RawMessage]) -> None:
        if any(one.position == poisoned for one in batch):
            raise trouble
        await applied(batch)

    async with projecting_to(own_nats, apply) as gateway:
        await until(lambda: applied.holds(4))
        await settled(gateway)
        letter = await letter_about(gateway, DURABLE, subjects.event(chat.key, "runtime"))
    stored = await chat.messages()
    assert letter is not None
    assert letter.headers is not None
    assert letter.data == stored[2].data
    assert str(letter.headers["Mozaiks-Reason"]) == repr(trouble)
    assert {one.position for one in applied.stored} == {
        one.position for one in stored if one.position != poisoned
    }


async def test_bytes_that_are_not_an_event_do_not_stop_a_projection(
    own_nats: NatsServer, own_gateway: JetStreamGateway
) -> None:
    applied = Applied()

    async def apply(batch: Sequence[RawMessage]) -> None:
        for one in batch:
            event_log.read(one.subject, one.data)
        await applied(batch)

    nowhere = subjects.event(new_chat(), "runtime")
    await own_gateway.js.publish(nowhere, b"\xff")
    for status in ("404", "409", "503"):  # these look like responses of the server
        await own_gateway.js.publish(nowhere, b"", headers={"Status": status})
    await Chat(own_gateway, new_chat()).append_each(3)
    async with projecting_to(own_nats, apply) as gateway:
        await until(lambda: applied.holds(3))
        await settled(gateway)
        assert await letter_about(gateway, DURABLE, nowhere) is not None


@pytest.mark.parametrize("holds", [1, 2, 10])
async def test_an_unavailable_store_is_waited_for_and_nothing_is_dead_lettered(
    own_nats: NatsServer, own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch, holds: int
) -> None:
    monkeypatch.setattr(subscribers, "MAX_ATTEMPTS", 1)
    monkeypatch.setattr(batch_settlement, "retry_delay", lambda _: 0.05)
    monkeypatch.setattr(settlement, "retry_delay", lambda _: 0.05)
    monkeypatch.setattr(batch_settlement, "MAX_WAITS", holds)
    chat, applied, away = Chat(own_gateway, new_chat()), Applied(), 0

    async def apply(batch: Sequence[RawMessage]) -> None:
        nonlocal away
        if away < 5:
            away += 1
            raise ServerUnavailableError("MongoDB does not answer")
        await applied(batch)

    await chat.append_each(4)
    async with projecting_to(own_nats, apply) as gateway:
        await until(lambda: applied.holds(4))
        await settled(gateway)
        assert await count_of(gateway, subjects.DEAD_LETTERS, subjects.ALL_DEAD_LETTERS) == 0
    assert away == 5


async def test_an_event_of_a_newer_release_is_held_until_a_process_knows_it_and_no_other_waits(
    own_nats: NatsServer, own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribers, "MAX_ATTEMPTS", 1)
    monkeypatch.setattr(settlement, "retry_delay", lambda _: 0.05)
    chat, applied, is_newer = Chat(own_gateway, new_chat()), Applied(), False

    async def apply(batch: Sequence[RawMessage]) -> None:
        if not is_newer and any(b"unknown" in one.data for one in batch):
            raise NewerReleaseError("event 3 is chat.dreamt version 1")
        await applied(batch)

    await chat.append_each(2)
    held = await chat.append(said("unknown"))
    await chat.append_each(2)
    async with projecting_to(own_nats, apply) as gateway:
        await until(lambda: applied.holds(4))
        assert held not in [one.position for one in applied.stored]
        is_newer = True
        await until(lambda: applied.holds(5))
        await settled(gateway)
        assert await count_of(gateway, subjects.DEAD_LETTERS, subjects.ALL_DEAD_LETTERS) == 0


async def test_the_failing_event_is_found_without_applying_each_of_its_batch_alone(
    own_nats: NatsServer, own_gateway: JetStreamGateway
) -> None:
    chat, applied, calls = Chat(own_gateway, new_chat()), Applied(), 0
    await chat.append_each(77)
    poisoned = await chat.append(said("poison"))
    await chat.append_each(50)

    async def apply(batch: Sequence[RawMessage]) -> None:
        nonlocal calls
        calls += 1
        if any(one.position == poisoned for one in batch):
            raise UnreadableMessageError("no event")
        await applied(batch)

    async with projecting_to(own_nats, apply) as gateway:
        await until(lambda: applied.holds(127))
        await settled(gateway)
    assert (
        calls <= 1 + 2 * 7 + 5
    )  # both halves of 128, of 64, ...; five more where it came in parts


async def test_an_event_that_crashes_its_process_is_dead_lettered_and_the_rest_applied(
    own_nats: NatsServer, own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribers, "MAX_ATTEMPTS", 2)
    monkeypatch.setattr(subscribers, "ACK_WAIT_SECONDS", 0.5)
    chat, applied, deaths = Chat(own_gateway, new_chat()), Applied(), 0
    await chat.append_each(3)
    poisoned = await chat.append(said("poison"))
    await chat.append_each(3)
    place = subjects.event(chat.key, "runtime")
    while await letter_about(own_gateway, DURABLE, place) is None:
        crashed = asyncio.Event()
        connections: list[JetStreamGateway] = []

        async def apply(
            batch: Sequence[RawMessage],
            connections: list[JetStreamGateway] = connections,
            crashed: asyncio.Event = crashed,
        ) -> None:
            if any(one.position == poisoned for one in batch):
                await connections[0].nc.close()  # as if the process had crashed
                crashed.set()
                await asyncio.sleep(60)
            await applied(batch)

        async with projecting_to(own_nats, apply) as gateway, asyncio.timeout(PATIENCE_SECONDS):
            connections.append(gateway)
            while not crashed.is_set() and not await letter_about(own_gateway, DURABLE, place):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        deaths += crashed.is_set()
    assert deaths == 3  # the first of them is not counted: it may have been any of the batch
    async with projecting_to(own_nats, applied) as gateway:
        await until(lambda: applied.holds(6))
        await settled(gateway)
    assert poisoned not in {one.position for one in applied.stored}


async def test_a_batch_in_progress_at_a_stop_is_redelivered_at_once(
    own_nats: NatsServer, own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribers, "ACK_WAIT_SECONDS", 300)  # longer than the test may last
    chat, applied, taken = Chat(own_gateway, new_chat()), Applied(), asyncio.Event()
    await chat.append_each(5)

    async def hold(_: Sequence[RawMessage]) -> None:
        taken.set()
        await asyncio.sleep(60)

    async with projecting_to(own_nats, hold):
        await taken.wait()
    async with projecting_to(own_nats, applied) as gateway:
        await until(lambda: applied.holds(5))
        await settled(gateway)


@pytest.mark.parametrize("how", ["full", "deleted"])
async def test_poison_that_cannot_be_dead_lettered_is_not_lost(
    own_nats: NatsServer, own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(settlement, "retry_delay", lambda _: 0.05)
    chat, applied, seen = Chat(own_gateway, new_chat()), Applied(), 0
    poisoned = await chat.append(said("poison"))

    async def apply(batch: Sequence[RawMessage]) -> None:
        nonlocal seen
        if any(one.position == poisoned for one in batch):
            seen += len(batch) == 1
            raise UnreadableMessageError("no event")
        await applied(batch)

    async with projecting_to(own_nats, apply) as gateway:
        async with no_room(own_gateway, how):
            await until(lambda: seen >= 4)
            await chat.append_each(3)
            await until(lambda: applied.holds(3))
        await settled(gateway)
        assert await count_of(gateway, subjects.DEAD_LETTERS, subjects.ALL_DEAD_LETTERS) == 1


async def test_events_after_a_deleted_consumer_are_applied_and_none_is_skipped(
    own_nats: NatsServer, own_gateway: JetStreamGateway
) -> None:
    chat, applied = Chat(own_gateway, new_chat()), Applied()
    async with projecting_to(own_nats, applied):
        await chat.append_each(5)
        await until(lambda: applied.holds(5))
        await own_gateway.js.delete_consumer(subjects.EVENTS, DURABLE)
        await chat.append_each(5)
        await until(lambda: applied.holds(10))
