"""Which streams accept messages: recorded writes, and the answers of real servers with a full disk."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from nats.errors import Error as NatsError
from nats.js.api import DiscardPolicy

from contracts import subjects
from contracts.ids import AppId, ChatId, ChatKey
from infra.nats_cluster import NatsCluster
from infra.servers import NatsServer
from services.chassis.consumers.queue_consumer import Delivery, QueueConsumer
from services.chassis.consumers.work_queue import WorkQueue
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.storage_health import (
    KEPT_SECONDS,
    SILENT_SECONDS,
    StorageHealth,
    find_stopped_reason,
    stream_of,
)
from services.chassis.streams.definitions import definitions
from services.chassis.streams.ensure import ensure_streams
from tests.chassis.story import Chat, count_of, gateway_of, message, new_chat, said, until
from tests.disks import SmallDisk

KEY = ChatKey(AppId("acme.corp"), ChatId("c 1"))
broker = pytest.mark.broker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def storage(clock: Clock) -> StorageHealth:
    return StorageHealth(clock)


def test_a_limit_counts_at_once_and_until_something_is_stored(storage: StorageHealth) -> None:
    storage.record_rejected("EVENTS", "it is full")
    storage.record_rejected("COMMANDS", "so is this")
    assert storage.problem == "NATS cannot store: COMMANDS: so is this; EVENTS: it is full"
    storage.record_running("EVENTS")  # a stream that runs may still be at its limit
    assert storage.reason("EVENTS") == "it is full"
    storage.record_stored("EVENTS")
    storage.record_stored("COMMANDS")
    assert not storage.has_failures


def test_a_failure_without_another_is_forgotten(storage: StorageHealth, clock: Clock) -> None:
    storage.record_rejected("EVENTS", "it is full")
    told: list[str | None] = []
    for seconds in (KEPT_SECONDS, 0.1):
        clock.now += seconds
        told.append(storage.problem)
    assert told == ["NATS cannot store: EVENTS: it is full", None]


def test_one_unanswered_write_is_not_a_problem_yet(storage: StorageHealth, clock: Clock) -> None:
    storage.record_unanswered("KV_chats")
    clock.now += SILENT_SECONDS
    assert storage.problem is None
    assert storage.has_failures
    storage.record_unanswered("KV_chats")
    assert storage.problem == "NATS cannot store: KV_chats: writes are not answered"


def test_unanswered_writes_far_apart_are_no_outage(storage: StorageHealth, clock: Clock) -> None:
    for _ in range(3):
        storage.record_unanswered("KV_chats")
        clock.now += KEPT_SECONDS + 1
    assert storage.problem is None


def test_a_stopped_stream_is_not_written_to_while_the_result_is_fresh(
    storage: StorageHealth, clock: Clock
) -> None:
    storage.record_stopped("EVENTS", "no space")
    storage.record_unanswered("EVENTS")
    assert storage.stopped_reason("EVENTS") == storage.reason("EVENTS") == "no space"
    clock.now += 10
    assert storage.stopped_reason("EVENTS") is None
    assert storage.reason("EVENTS") == "no space"
    storage.record_running("EVENTS")
    assert not storage.has_failures


def test_every_subject_maps_to_the_stream_that_stores_it() -> None:
    for config in definitions(1):
        for caught in config["subjects"]:
            assert stream_of(caught.replace(">", "a.b")) == config["name"]
    assert stream_of("elsewhere") == "elsewhere"
    assert stream_of("mozaiks.other.a") == "mozaiks.other.a"


@pytest.fixture
async def disk_gateway(disk_nats: NatsServer) -> AsyncIterator[JetStreamGateway]:
    async with gateway_of(disk_nats) as gateway:
        yield gateway


async def stopped(gateway: JetStreamGateway, disk: SmallDisk) -> None:
    """Fill the disk and write until EVENTS stops."""
    disk.fill()
    while await find_stopped_reason(gateway.nc, subjects.EVENTS, 2) is None:
        with suppress(NatsError):
            await gateway.nc.request(subjects.event(KEY, "runtime"), bytes(4096), timeout=0.2)


@broker
async def test_a_full_disk_is_reported_with_its_reason_and_without_a_path(
    disk_gateway: JetStreamGateway, disk: SmallDisk
) -> None:
    assert await find_stopped_reason(disk_gateway.nc, subjects.EVENTS, 2) is None
    await stopped(disk_gateway, disk)
    told = await find_stopped_reason(disk_gateway.nc, subjects.EVENTS, 2)
    assert told is not None
    assert told.startswith("no space left on device")
    disk.free()
    assert (
        await find_stopped_reason(disk_gateway.nc, subjects.EVENTS, 2) == told
    )  # free space alone changes nothing


@broker
async def test_an_append_waits_for_free_space_and_is_stored_once(
    disk_gateway: JetStreamGateway, disk_nats: NatsServer, disk: SmallDisk
) -> None:
    chat = Chat(disk_gateway)
    await chat.append(said("before"))
    await stopped(disk_gateway, disk)
    waiting = asyncio.create_task(chat.append(said("meanwhile")))
    await until(lambda: disk_gateway.storage.has_failures)
    disk.free()
    await asyncio.to_thread(disk_nats.restart)
    await waiting
    assert len(await chat.messages()) == 2
    assert disk_gateway.storage.problem is None


@broker
async def test_a_message_whose_append_meets_a_full_disk_is_redelivered_without_counting_an_attempt(
    disk_gateway: JetStreamGateway,
    disk_nats: NatsServer,
    disk: SmallDisk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.chassis.jetstream.event_log.OUTAGE_SECONDS", 0.1)
    monkeypatch.setattr("services.chassis.consumers.settlement.retry_delay", lambda _: 0.1)
    chat, attempts, buried = Chat(disk_gateway), list[int](), list[str]()
    is_full = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        await is_full.wait()
        await chat.append(said("a decision"))

    async def on_dead_letter(_: Delivery, reason: str) -> None:
        buried.append(reason)

    queue = WorkQueue(
        subjects.COMMANDS, subjects.ALL_COMMANDS, "test", concurrency=1, max_attempts=2
    )
    consumer = QueueConsumer(disk_gateway, queue, handle, on_dead_letter)
    await disk_gateway.commands.send(message(new_chat()))
    consumer.start()
    try:
        await until(lambda: bool(attempts))
        await stopped(disk_gateway, disk)
        is_full.set()
        await until(lambda: len(attempts) > 2)  # more than there are attempts
        disk.free()
        await asyncio.to_thread(disk_nats.restart)
        async with asyncio.timeout(60):
            while await count_of(disk_gateway, subjects.COMMANDS, subjects.ALL_COMMANDS):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    finally:
        await consumer.stop(5)
    assert not buried
    assert len(await chat.messages()) == 1


@broker
async def test_a_command_to_a_stopped_stream_fails_at_once(
    gateway: JetStreamGateway,
) -> None:
    gateway.storage.record_stopped(subjects.COMMANDS, "no space left on device")
    with pytest.raises(NatsUnavailableError, match="NATS cannot store: no space left on device"):
        await gateway.commands.send(message(new_chat()))


@broker
async def test_the_limit_of_a_stream_is_reported_until_it_is_raised(
    own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.chassis.jetstream.event_log.OUTAGE_SECONDS", 0.1)
    chat, sound = Chat(own_gateway), (await own_gateway.js.stream_info(subjects.EVENTS)).config
    await own_gateway.js.update_stream(replace(sound, max_bytes=1, discard=DiscardPolicy.NEW))
    with pytest.raises(NatsUnavailableError, match="NATS cannot store: the stream's own limit"):
        await chat.append(said("no room"))
    assert own_gateway.storage.reason(subjects.EVENTS) is not None
    await own_gateway.js.update_stream(sound)
    await chat.append(said("room"))
    assert own_gateway.storage.problem is None


SMALL_ACCOUNT = """
accounts { small { jetstream: { max_file: 16KB, max_mem: 0 }, users: [ {user: u, password: p} ] } }
no_auth_user: u
"""


@broker
async def test_the_limit_of_an_account_is_unavailable_and_not_rejected(
    nats: NatsServer,  # noqa: ARG001
    tmp_path: Path,
) -> None:
    server = NatsServer(tmp_path / "nats", options=SMALL_ACCOUNT)
    server.start()
    try:
        async with gateway_of(server) as gateway:
            for _ in range(3):
                await gateway.js.publish(subjects.delta(KEY), b"x" * 4096)
            with pytest.raises(NatsUnavailableError, match="NATS cannot store: the limit of the"):
                await gateway.commands.send(message(new_chat(), "x" * 8192))
            assert gateway.storage.reason(subjects.COMMANDS) is not None
    finally:
        server.stop()


@broker
async def test_a_bucket_that_stores_nothing_is_recorded_like_a_stream(
    own_gateway: JetStreamGateway,
) -> None:
    stream = subjects.bucket_stream(subjects.CHATS)
    sound = (await own_gateway.js.stream_info(stream)).config
    await own_gateway.js.update_stream(replace(sound, max_bytes=1))
    bucket = await own_gateway.key_values.bucket(subjects.CHATS)
    with pytest.raises(NatsError):
        await bucket.put("key", b"value")
    assert "own limit" in str(own_gateway.storage.reason(stream))
    await own_gateway.js.update_stream(sound)
    await own_gateway.js.publish(subjects.bucket_subject(subjects.CHATS, "key"), b"value")
    assert own_gateway.storage.problem is None


@broker
async def test_a_cluster_is_checked_like_one_server(nats_cluster: NatsCluster) -> None:
    async with gateway_of(nats_cluster.nodes[0]) as gateway:
        await ensure_streams(gateway.nc, replicas=3)
        # A stream of three replicas that has no leader yet answers no request at all.
        await asyncio.to_thread(nats_cluster.wait_until_current, subjects.EVENTS)
        assert await find_stopped_reason(gateway.nc, subjects.EVENTS, 10) is None


@broker
async def test_an_object_is_complete_while_all_its_chunks_are_stored(
    own_gateway: JetStreamGateway,
) -> None:
    store = await own_gateway.js.object_store(subjects.ATTACHMENTS)
    info = await store.put("file", b"x" * 300_000)
    assert await own_gateway.objects.is_complete(subjects.ATTACHMENTS, info)
    stream = subjects.object_stream(subjects.ATTACHMENTS)
    pieces = subjects.object_chunks(subjects.ATTACHMENTS, str(info.nuid))
    await own_gateway.js.purge_stream(stream, subject=pieces, keep=1)
    assert not await own_gateway.objects.is_complete(subjects.ATTACHMENTS, info)
    assert await own_gateway.objects.is_complete(
        subjects.ATTACHMENTS, await store.put("empty", b"")
    )


@broker
async def test_messages_acknowledged_on_a_full_disk_are_removed_later(
    disk_gateway: JetStreamGateway, disk_nats: NatsServer, disk: SmallDisk
) -> None:
    is_full, handled = asyncio.Event(), list[int]()

    async def handle(delivery: Delivery) -> None:
        await is_full.wait()
        handled.append(delivery.sequence)

    async def on_dead_letter(_: Delivery, reason: str) -> None:
        raise AssertionError(reason)

    queue = WorkQueue(subjects.COMMANDS, subjects.ALL_COMMANDS, "test", concurrency=1)
    consumer = QueueConsumer(disk_gateway, queue, handle, on_dead_letter)
    await disk_gateway.commands.send(message(new_chat()))
    consumer.start()
    try:
        await until(lambda: consumer.in_flight == 1)
        disk.fill()
        while await find_stopped_reason(disk_gateway.nc, subjects.COMMANDS, 2) is None:
            with suppress(NatsError):
                await disk_gateway.nc.request("mozaiks.timer.foreign", bytes(4096), timeout=0.2)
        is_full.set()
        await until(lambda: consumer.in_flight == 0)
        assert await disk_gateway.commands.count_open() == 1
        disk.free()
        await asyncio.to_thread(disk_nats.restart)
        async with asyncio.timeout(60):
            while await disk_gateway.commands.count_open():  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    finally:
        await consumer.stop(5)
    assert len(handled) == 1
