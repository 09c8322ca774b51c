"""Streams that are deleted while a service runs, on a real server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from nats.js.errors import NotFoundError

from contracts import subjects
from infra.servers import NatsServer
from services.chassis.consumers.queue_consumer import Delivery, QueueConsumer
from services.chassis.consumers.work_queue import WorkQueue
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.settings import Settings
from services.chassis.streams.definitions import definitions
from services.chassis.streams.ensure import ensure_streams
from services.chassis.streams.monitor import StreamMonitor
from tests.chassis.story import message, new_chat, until

pytestmark = [pytest.mark.broker]

ALL = [str(config["name"]) for config in definitions(1)]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.chassis.streams.monitor.CHECK_SECONDS", 0.05)
    monkeypatch.setattr("services.chassis.streams.monitor.RECHECK_SECONDS", 0.05)


@asynccontextmanager
async def monitored(
    gateway: JetStreamGateway, server: NatsServer, *, ensures: bool, stores: tuple[str, ...] = ()
) -> AsyncIterator[StreamMonitor]:
    settings = Settings(nats_url=server.url, ensure_streams=ensures)
    monitor = StreamMonitor(gateway, settings, ALL, stores)
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
            raise NatsUnavailableError("not yet")

    @property
    def is_done(self) -> bool:
        return self.calls > 1


async def looked(gateway: JetStreamGateway) -> None:
    """Long enough for a check of every stream."""
    del gateway
    await asyncio.sleep(0.5)


@pytest.mark.parametrize("stream", ALL)
async def test_a_deleted_stream_is_recreated_and_filled_where_that_is_allowed(
    own_nats: NatsServer, own_gateway: JetStreamGateway, stream: str
) -> None:
    refill = Refilled()
    own_gateway.refills[stream] = refill
    async with monitored(own_gateway, own_nats, ensures=True) as monitor:
        await looked(own_gateway)
        await own_gateway.js.delete_stream(stream)
        await until(lambda: refill.is_done and monitor.problem is None)
        await own_gateway.js.stream_info(stream)


async def test_a_deleted_stream_is_named_until_it_exists_again_where_creating_is_not_allowed(
    own_nats: NatsServer, own_gateway: JetStreamGateway, caplog: pytest.LogCaptureFixture
) -> None:
    refill, bucket = Refilled(), subjects.bucket_stream(subjects.WORKFLOWS)
    own_gateway.refills[bucket] = refill
    async with monitored(own_gateway, own_nats, ensures=False) as monitor:
        await looked(own_gateway)
        await own_gateway.js.delete_stream(subjects.EVENTS)
        await own_gateway.js.delete_stream(bucket)
        both = {"stream EVENTS is missing", "stream KV_workflows is missing"}
        await until(lambda: set((monitor.problem or "").split("; ")) == both)
        await looked(own_gateway)
        with pytest.raises(NotFoundError):
            await own_gateway.js.stream_info(subjects.EVENTS)
        await ensure_streams(own_gateway.nc, replicas=1)
        await until(lambda: refill.is_done and monitor.problem is None)
    said = [record.message for record in caplog.records]
    assert said.count("a stream is missing") == said.count("a missing stream exists again") == 2


async def test_a_stream_recreated_between_two_checks_is_filled_again(
    own_nats: NatsServer, own_gateway: JetStreamGateway
) -> None:
    refill, bucket = Refilled(), subjects.bucket_stream(subjects.WORKFLOWS)
    own_gateway.refills[bucket] = refill
    async with monitored(own_gateway, own_nats, ensures=False) as monitor:
        await looked(own_gateway)
        await own_gateway.js.delete_stream(bucket)
        await ensure_streams(own_gateway.nc, replicas=1)
        await until(lambda: refill.is_done and monitor.problem is None)


async def test_a_stopped_stream_and_its_recovery_are_detected(
    own_nats: NatsServer, own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason: str | None = "no space left on device"

    async def why(*_: object) -> str | None:
        return reason

    monkeypatch.setattr("services.chassis.streams.monitor.find_stopped_reason", why)
    async with monitored(own_gateway, own_nats, ensures=False, stores=(subjects.EVENTS,)):
        await until(lambda: own_gateway.storage.problem is not None)
        reason = None
        await until(lambda: own_gateway.storage.problem is None)


async def test_a_queue_whose_consumer_is_deleted_is_consumed_again(
    own_gateway: JetStreamGateway,
) -> None:
    heard: set[str] = set()

    async def handle(delivery: Delivery) -> None:
        heard.add(delivery.message.subject)

    async def on_dead_letter(_: Delivery, reason: str) -> None:
        raise AssertionError(reason)

    queue = WorkQueue(subjects.COMMANDS, subjects.ALL_COMMANDS, "test", concurrency=4)
    consumer = QueueConsumer(own_gateway, queue, handle, on_dead_letter)
    consumer.start()
    try:
        for number in range(1, 4):
            await own_gateway.commands.send(message(new_chat()))
            await until(lambda: len(heard) >= number)  # noqa: B023
            await own_gateway.js.delete_consumer(subjects.COMMANDS, "test")
            await own_gateway.commands.send(message(new_chat()))
            await until(lambda: len(heard) >= 2 * number)  # noqa: B023
    finally:
        await consumer.stop(5)
