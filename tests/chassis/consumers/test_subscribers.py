"""FastStream subscribers with our middlewares: queues, readers without acknowledgement, metrics."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from faststream import StreamMessage
from faststream.nats import NatsBroker
from nats.aio.msg import Msg
from prometheus_client import CollectorRegistry

from contracts import subjects
from contracts.ids import StreamSeq
from infra.servers import NatsServer
from services.chassis.consumers import middlewares, settlement, subscribers
from services.chassis.consumers.errors import UnprocessableMessageError
from services.chassis.consumers.middlewares import delivery_metrics
from services.chassis.consumers.subscribers import event_reader, event_subscriber, queue_subscriber
from services.chassis.consumers.work_queue import WorkQueue
from services.chassis.jetstream.direct_get import RawMessage
from services.chassis.jetstream.faststream_fetch import ReaderConfig
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.pull import PullSubscription
from services.chassis.nats.unavailable import ServerUnavailableError
from services.chassis.process.broker import build_broker, connected
from services.chassis.settings import Settings
from tests.chassis.story import Chat, count_of, new_chat, said, until
from tests.patience import PATIENCE_SECONDS

pytestmark = [pytest.mark.broker]
LOOKUP = "mozaiks.lookup.acme.chat.r1"
QUEUE = WorkQueue(
    subjects.LOOKUPS, subjects.ALL_LOOKUPS, "lookups", 3, ack_wait_seconds=300, max_attempts=2
)


@asynccontextmanager
async def connected_broker(
    server: NatsServer,
) -> AsyncIterator[tuple[NatsBroker, JetStreamGateway]]:
    settings = Settings(nats_url=server.url, drain_seconds=2)
    broker = build_broker(settings, "test")
    async with connected(broker, settings) as gateway:
        yield broker, gateway


async def decode(message: StreamMessage[Msg]) -> str:
    text = message.raw_message.data.decode()
    if not text:
        raise UnprocessableMessageError("an empty request")
    return text


@asynccontextmanager
async def answering(
    server: NatsServer,
    handle: Callable[[str], Awaitable[None]],
    on_dead_letter: Callable[[Msg, str], Awaitable[None]] | None = None,
) -> AsyncIterator[JetStreamGateway]:
    async with connected_broker(server) as (broker, gateway):

        @queue_subscriber(broker, gateway, QUEUE, decode, on_dead_letter)
        async def on_request(text: str) -> None:
            await handle(text)

        await broker.start()
        yield gateway


async def settled(gateway: JetStreamGateway) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            info = await gateway.js.consumer_info(subjects.LOOKUPS, QUEUE.durable)
            if not info.num_pending and not info.num_ack_pending:
                return
            await asyncio.sleep(0.05)


async def test_messages_of_a_queue_are_handled_as_many_at_a_time_as_it_says(
    own_nats: NatsServer, own_gateway: JetStreamGateway
) -> None:
    running, most, handled = 0, 0, set[str]()

    async def handle(text: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        handled.add(text)

    for number in range(12):
        await own_gateway.js.publish(LOOKUP, f"{number}".encode())
    async with answering(own_nats, handle) as gateway:
        await until(lambda: len(handled) == 12)
        await settled(gateway)
    assert 1 < most <= QUEUE.concurrency


async def test_a_message_that_cannot_be_decoded_or_keeps_failing_is_dead_lettered_with_its_reason(
    own_nats: NatsServer, own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement, "retry_delay", lambda _: 0.05)
    notified: list[tuple[bytes, str]] = []
    handled: list[str] = []

    async def handle(text: str) -> None:
        if text == "poison":
            raise ValueError(text)
        handled.append(text)

    async def on_dead_letter(message: Msg, reason: str) -> None:
        notified.append((message.data, reason))

    for data in (b"", b"poison", b"sound"):
        await own_gateway.js.publish(LOOKUP, data)
    async with answering(own_nats, handle, on_dead_letter) as gateway:
        await until(lambda: handled == ["sound"] and len(notified) == 2)
        await settled(gateway)
        assert await count_of(gateway, subjects.DEAD_LETTERS, subjects.ALL_DEAD_LETTERS) == 2
    assert sorted(notified) == [(b"", "an empty request"), (b"poison", "ValueError('poison')")]


async def test_a_message_in_progress_at_a_stop_is_redelivered_to_another_at_once(
    own_nats: NatsServer, own_gateway: JetStreamGateway
) -> None:
    begun, handled = asyncio.Event(), list[str]()

    async def hold(_: str) -> None:
        begun.set()
        await asyncio.sleep(60)

    async def handle(text: str) -> None:
        handled.append(text)

    await own_gateway.js.publish(LOOKUP, b"request")
    async with answering(own_nats, hold):
        await begun.wait()
    async with answering(own_nats, handle) as gateway:
        await until(lambda: handled == ["request"])
        await settled(gateway)


async def test_messages_that_wait_for_a_worker_have_heartbeats_and_are_released_at_a_stop(
    own_nats: NatsServer, own_gateway: JetStreamGateway
) -> None:
    short = replace(QUEUE, concurrency=2, ack_wait_seconds=0.5)
    begun, attempts = list[str](), list[int]()

    async def attempt_of(message: StreamMessage[Msg]) -> int:
        return message.raw_message.metadata.num_delivered or 0

    for number in range(6):
        await own_gateway.js.publish(LOOKUP, f"{number}".encode())
    async with connected_broker(own_nats) as (broker, gateway):

        @queue_subscriber(broker, gateway, short, decode)
        async def hold(text: str) -> None:
            begun.append(text)
            await asyncio.sleep(60)

        await broker.start()
        await until(lambda: len(begun) == short.concurrency)
        await asyncio.sleep(4 * short.ack_wait_seconds)
        info = await gateway.js.consumer_info(subjects.LOOKUPS, short.durable)
        fetched = info.num_ack_pending or 0
        assert fetched > len(begun) == short.concurrency
        assert info.num_redelivered == 0
    async with connected_broker(own_nats) as (broker, gateway):

        @queue_subscriber(broker, gateway, replace(short, ack_wait_seconds=300), attempt_of)
        async def handle(attempt: int) -> None:
            attempts.append(attempt)

        await broker.start()
        await settled(gateway)
    assert sorted(attempts) == [1] * (6 - fetched) + [2] * fetched


async def test_what_a_stopping_subscriber_has_only_fetched_goes_to_another_at_once(
    own_nats: NatsServer, own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribers, "ACK_WAIT_SECONDS", 300)
    monkeypatch.setattr(subscribers, "FILL_SECONDS", 60)
    chat, applied = Chat(own_gateway, new_chat()), list[StreamSeq]()

    async def apply(events: list[RawMessage]) -> None:
        applied.extend(event.position for event in events)

    async def is_fetched() -> bool:
        info = await own_gateway.js.consumer_info(subjects.EVENTS, "test")
        return bool(info.num_ack_pending == 1)

    async with connected_broker(own_nats) as (broker, gateway):
        event_subscriber(broker, gateway, "test")(apply)
        await broker.start()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await gateway.js.consumers_info(subjects.EVENTS):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            position = await chat.append(said("hello"))
            while not await is_fetched():  # noqa: ASYNC110  # a server sets no event
                await asyncio.sleep(0.02)
    assert applied == []
    monkeypatch.setattr(subscribers, "FILL_SECONDS", 0.1)
    async with connected_broker(own_nats) as (broker, gateway):
        event_subscriber(broker, gateway, "test")(apply)
        await broker.start()
        await until(lambda: applied == [position])


class Reader:
    """A reader that keeps its position."""

    def __init__(self, position: int = 0) -> None:
        self.position = StreamSeq(position)
        self.read: list[StreamSeq] = []

    async def __call__(self, events: list[RawMessage]) -> None:
        for event in events:
            self.read.append(event.position)
            self.position = event.position


@asynccontextmanager
async def reading(
    server: NatsServer, reader: Reader, handle: Callable[[list[RawMessage]], Awaitable[None]]
) -> AsyncIterator[Callable[[], bool]]:
    """Whether the subscriber runs."""
    async with connected_broker(server) as (broker, _):
        config = ReaderConfig(lambda: reader.position, inactive_seconds=10, reader="test")
        subscriber = event_reader(broker, config, batch_size=50, fill_seconds=0.1)

        @subscriber
        async def on_events(events: list[RawMessage]) -> None:
            await handle(events)

        await broker.start()
        yield lambda: subscriber.running


async def test_a_reader_gets_every_event_after_its_position_in_order(
    own_nats: NatsServer, own_gateway: JetStreamGateway
) -> None:
    chat, reader = Chat(own_gateway, new_chat()), Reader(position=20)
    await chat.append_each(120)
    async with reading(own_nats, reader, reader):
        await until(lambda: reader.position >= 120)
        await chat.append_each(1)
        await until(lambda: reader.position >= 121)
        (consumer,) = await own_gateway.js.consumers_info(subjects.EVENTS)
    assert reader.read == list(range(21, 122))
    assert consumer.config.description == "test"


async def test_a_reader_misses_nothing_when_a_message_is_lost_on_its_way(
    own_nats: NatsServer, own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, reader, lost = Chat(own_gateway, new_chat()), Reader(), list[Msg]()
    fetch = PullSubscription.fetch_available

    async def losing(self: PullSubscription, limit: int) -> list[Msg]:
        messages = await fetch(self, limit)
        if len(messages) > 2 and not lost:
            lost.append(messages.pop(1))
        return messages

    monkeypatch.setattr(PullSubscription, "fetch_available", losing)
    await chat.append_each(10)
    async with reading(own_nats, reader, reader):
        await until(lambda: reader.position >= 10)
    assert lost
    assert reader.read == list(range(1, 11))


async def test_a_reader_repeats_events_while_a_server_is_unavailable(
    own_nats: NatsServer, own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middlewares, "retry_delay", lambda _: 0.05)
    chat, reader, failures = Chat(own_gateway, new_chat()), Reader(), 0

    async def handle(events: list[RawMessage]) -> None:
        nonlocal failures
        if failures < 3:
            failures += 1
            raise ServerUnavailableError("NATS does not answer")
        await reader(events)

    await chat.append_each(5)
    async with reading(own_nats, reader, handle) as runs:
        await until(lambda: reader.position >= 5)
        assert runs()
    assert reader.read == list(range(1, 6))


async def test_a_reader_whose_handler_fails_stops_and_skips_nothing(
    own_nats: NatsServer, own_gateway: JetStreamGateway
) -> None:
    chat, reader = Chat(own_gateway, new_chat()), Reader()

    async def handle(events: list[RawMessage]) -> None:
        raise ValueError(len(events))

    await chat.append_each(5)
    async with reading(own_nats, reader, handle) as runs:
        await until(lambda: not runs())
    async with reading(own_nats, reader, reader):
        await until(lambda: reader.position >= 5)
    assert reader.read == list(range(1, 6))


async def test_deliveries_are_counted_by_stream_and_never_by_chat(
    own_nats: NatsServer, own_gateway: JetStreamGateway
) -> None:
    registry, chat, reader = CollectorRegistry(), Chat(own_gateway, new_chat()), Reader()
    await chat.append_each(7)
    async with connected_broker(own_nats) as (broker, gateway):
        event_subscriber(broker, gateway, "test", extra=[delivery_metrics(registry)])(reader)
        await broker.start()
        await until(lambda: len(reader.read) == 7)
    handlers = {
        sample.labels["handler"]: sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "mozaiks_received_messages_total"
    }
    assert handlers == {"EVENTS": 7}


async def test_readers_beside_each_other_have_consumers_of_their_own_by_fixed_names(
    own_nats: NatsServer, own_gateway: JetStreamGateway
) -> None:
    chat, readers = Chat(own_gateway, new_chat()), [Reader(), Reader()]
    await chat.append_each(3)
    first, second = readers
    async with reading(own_nats, first, first), reading(own_nats, second, second):
        await until(lambda: first.position >= 3 and second.position >= 3)
        consumers = await own_gateway.js.consumers_info(subjects.EVENTS)
    assert {one.name for one in consumers} == {"test-1", "test-2"}
    assert [reader.read for reader in readers] == [[1, 2, 3], [1, 2, 3]]
