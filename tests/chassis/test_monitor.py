"""Streams that are deleted while a service runs, on a real server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from nats.js.errors import NotFoundError

from contracts import subjects
from infra.servers import NatsServer
from services.chassis.bus import Bus
from services.chassis.direct_get import RawMessage, UnavailableError
from services.chassis.listening import Delivery, Queue, QueueConsumer
from services.chassis.monitor import StreamMonitor
from services.chassis.projecting import EventConsumer
from services.chassis.settings import Settings
from services.chassis.streams import definitions, ensure_streams
from tests.chassis.story import Chat, message, new_chat, until

pytestmark = [pytest.mark.broker]

ALL = [str(config["name"]) for config in definitions(1)]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.chassis.monitor.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("services.chassis.monitor.SOON_SECONDS", 0.05)


@asynccontextmanager
async def monitored(
    bus: Bus, server: NatsServer, *, ensures: bool, stores: tuple[str, ...] = ()
) -> AsyncIterator[StreamMonitor]:
    settings = Settings(nats_url=server.url, ensure_streams=ensures)
    monitor = StreamMonitor(bus, settings, ALL, stores)
    monitor.start()
    try:
        yield monitor
    finally:
        await monitor.stop()


class Refilled:
    """A refill that fails the first time it is called."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self) -> None:
        self.calls += 1
        if self.calls == 1:
            raise UnavailableError("not yet")

    @property
    def is_done(self) -> bool:
        return self.calls > 1


async def looked(bus: Bus) -> None:
    """Long enough for a look at every stream."""
    del bus
    await asyncio.sleep(0.5)


@pytest.mark.parametrize("stream", ALL)
async def test_who_may_makes_a_deleted_stream_again_and_fills_it(
    own_nats: NatsServer, own_bus: Bus, stream: str
) -> None:
    refill = Refilled()
    own_bus.refills[stream] = refill
    async with monitored(own_bus, own_nats, ensures=True) as monitor:
        await looked(own_bus)
        await own_bus.js.delete_stream(stream)
        await until(lambda: refill.is_done and monitor.problem is None)
        await own_bus.js.stream_info(stream)


async def test_who_may_not_names_what_is_missing_until_it_is_there_again(
    own_nats: NatsServer, own_bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    refill, bucket = Refilled(), subjects.bucket_stream(subjects.WORKFLOWS)
    own_bus.refills[bucket] = refill
    async with monitored(own_bus, own_nats, ensures=False) as monitor:
        await looked(own_bus)
        await own_bus.js.delete_stream(subjects.EVENTS)
        await own_bus.js.delete_stream(bucket)
        both = "stream EVENTS is missing; stream KV_workflows is missing"
        await until(lambda: monitor.problem == both)
        await looked(own_bus)
        with pytest.raises(NotFoundError):
            await own_bus.js.stream_info(subjects.EVENTS)
        await ensure_streams(own_bus.nc, replicas=1)
        await until(lambda: refill.is_done and monitor.problem is None)
    said = [record.message for record in caplog.records]
    assert said.count("a stream is missing") == said.count("a stream is there again") == 2


async def test_a_stream_made_anew_between_two_looks_is_filled_again(
    own_nats: NatsServer, own_bus: Bus
) -> None:
    refill, bucket = Refilled(), subjects.bucket_stream(subjects.WORKFLOWS)
    own_bus.refills[bucket] = refill
    async with monitored(own_bus, own_nats, ensures=False) as monitor:
        await looked(own_bus)
        await own_bus.js.delete_stream(bucket)
        await ensure_streams(own_bus.nc, replicas=1)
        await until(lambda: refill.is_done and monitor.problem is None)


async def test_a_stopped_stream_is_noticed_and_its_recovery_too(
    own_nats: NatsServer, own_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason: str | None = "no space left on device"

    async def why(*_: object) -> str | None:
        return reason

    monkeypatch.setattr("services.chassis.monitor.why_stopped", why)
    async with monitored(own_bus, own_nats, ensures=False, stores=(subjects.EVENTS,)):
        await until(lambda: own_bus.storage.trouble is not None)
        reason = None
        await until(lambda: own_bus.storage.trouble is None)


async def test_a_queue_whose_consumer_is_deleted_is_taken_from_again(own_bus: Bus) -> None:
    heard: set[str] = set()

    async def handle(delivery: Delivery) -> None:
        heard.add(delivery.message.subject)

    async def give_up(_: Delivery, reason: str) -> None:
        raise AssertionError(reason)

    queue = Queue(subjects.COMMANDS, subjects.ALL_COMMANDS, "test", slots=4)
    consumer = QueueConsumer(own_bus, queue, handle, give_up)
    consumer.start()
    try:
        for number in range(1, 4):
            await own_bus.order(message(new_chat()))
            await until(lambda: len(heard) >= number)  # noqa: B023
            await own_bus.js.delete_consumer(subjects.COMMANDS, "test")
            await own_bus.order(message(new_chat()))
            await until(lambda: len(heard) >= 2 * number)  # noqa: B023
    finally:
        await consumer.stop(5)


async def test_events_past_a_deleted_consumer_are_applied_and_none_is_skipped(
    own_bus: Bus,
) -> None:
    applied: set[int] = set()

    async def apply(batch: list[RawMessage]) -> None:
        applied.update(message.position for message in batch)

    chat = Chat(own_bus)
    consumer = EventConsumer(own_bus, "test", apply)  # type: ignore[arg-type]
    consumer.start()
    try:
        await chat.append_each(5)
        await until(lambda: len(applied) == 5)
        await own_bus.js.delete_consumer(subjects.EVENTS, "test")
        await chat.append_each(5)
        await until(lambda: len(applied) == 10)
    finally:
        await consumer.stop()
