"""Which streams take messages: what is made of writes, and what real servers say of full disks."""

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
from services.chassis.bus import Bus
from services.chassis.direct_get import UnavailableError
from services.chassis.listening import Delivery, Queue, QueueConsumer
from services.chassis.storage import (
    KEPT_SECONDS,
    SILENT_SECONDS,
    Storage,
    stream_of,
    why_stopped,
)
from services.chassis.streams import definitions, ensure_streams
from tests.chassis.story import Chat, bus_of, count_of, message, new_chat, said, until
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
def storage(clock: Clock) -> Storage:
    return Storage(clock)


def test_a_limit_counts_at_once_and_until_something_is_stored(storage: Storage) -> None:
    storage.refused("EVENTS", "it is full")
    storage.refused("COMMANDS", "so is this")
    assert storage.trouble == "NATS cannot store: COMMANDS: so is this; EVENTS: it is full"
    storage.goes_on("EVENTS")  # that it has not stopped says nothing of its limit
    assert storage.why("EVENTS") == "it is full"
    storage.stored("EVENTS")
    storage.stored("COMMANDS")
    assert not storage.in_doubt


def test_a_failure_that_no_write_repeats_is_forgotten(storage: Storage, clock: Clock) -> None:
    storage.refused("EVENTS", "it is full")
    told: list[str | None] = []
    for seconds in (KEPT_SECONDS, 0.1):
        clock.now += seconds
        told.append(storage.trouble)
    assert told == ["NATS cannot store: EVENTS: it is full", None]


def test_one_write_that_is_not_answered_says_nothing_yet(storage: Storage, clock: Clock) -> None:
    storage.unanswered("KV_chats")
    clock.now += SILENT_SECONDS
    assert storage.trouble is None
    assert storage.in_doubt
    storage.unanswered("KV_chats")
    assert storage.trouble == "NATS cannot store: KV_chats: writes are not answered"


def test_unanswered_writes_far_apart_are_no_outage(storage: Storage, clock: Clock) -> None:
    for _ in range(3):
        storage.unanswered("KV_chats")
        clock.now += KEPT_SECONDS + 1
    assert storage.trouble is None


def test_a_stream_that_has_stopped_is_not_written_to_while_that_is_news(
    storage: Storage, clock: Clock
) -> None:
    storage.stopped("EVENTS", "no space")
    storage.unanswered("EVENTS")
    assert storage.has_stopped("EVENTS") == storage.why("EVENTS") == "no space"
    clock.now += 10
    assert storage.has_stopped("EVENTS") is None
    assert storage.why("EVENTS") == "no space"
    storage.goes_on("EVENTS")
    assert not storage.in_doubt


def test_every_subject_is_of_the_stream_that_takes_it() -> None:
    for config in definitions(1):
        for caught in config["subjects"]:
            assert stream_of(caught.replace(">", "a.b")) == config["name"]
    assert stream_of("elsewhere") == "elsewhere"
    assert stream_of("mozaiks.other.a") == "mozaiks.other.a"


@pytest.fixture
async def disk_bus(disk_nats: NatsServer) -> AsyncIterator[Bus]:
    async with bus_of(disk_nats) as bus:
        yield bus


async def stopped(bus: Bus, disk: SmallDisk) -> None:
    """Fill the disk and write until EVENTS has noticed."""
    disk.fill()
    while await why_stopped(bus.nc, subjects.EVENTS, 2) is None:
        with suppress(NatsError):
            await bus.nc.request(subjects.event(KEY, "runtime"), bytes(4096), timeout=0.2)


@broker
async def test_a_full_disk_is_told_by_its_reason_and_not_by_a_path(
    disk_bus: Bus, disk: SmallDisk
) -> None:
    assert await why_stopped(disk_bus.nc, subjects.EVENTS, 2) is None
    await stopped(disk_bus, disk)
    told = await why_stopped(disk_bus.nc, subjects.EVENTS, 2)
    assert told is not None
    assert told.startswith("no space left on device")
    disk.free()
    assert await why_stopped(disk_bus.nc, subjects.EVENTS, 2) == told  # room alone changes nothing


@broker
async def test_an_append_waits_for_room_and_is_stored_once(
    disk_bus: Bus, disk_nats: NatsServer, disk: SmallDisk
) -> None:
    chat = Chat(disk_bus)
    await chat.append(said("before"))
    await stopped(disk_bus, disk)
    waiting = asyncio.create_task(chat.append(said("meanwhile")))
    await until(lambda: disk_bus.storage.in_doubt)
    disk.free()
    await asyncio.to_thread(disk_nats.restart)
    await waiting
    assert len(await chat.messages()) == 2
    assert disk_bus.storage.trouble is None


@broker
async def test_a_message_whose_append_finds_no_room_comes_again_and_uses_up_no_try(
    disk_bus: Bus, disk_nats: NatsServer, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.chassis.event_log.OUTAGE_SECONDS", 0.1)
    monkeypatch.setattr("services.chassis.settling.pause", lambda _: 0.1)
    chat, attempts, buried = Chat(disk_bus), list[int](), list[str]()
    is_full = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        await is_full.wait()
        await chat.append(said("a decision"))

    async def give_up(_: Delivery, reason: str) -> None:
        buried.append(reason)

    queue = Queue(subjects.COMMANDS, subjects.ALL_COMMANDS, "test", slots=1, tries=2)
    consumer = QueueConsumer(disk_bus, queue, handle, give_up)
    await disk_bus.order(message(new_chat()))
    consumer.start()
    try:
        await until(lambda: bool(attempts))
        await stopped(disk_bus, disk)
        is_full.set()
        await until(lambda: len(attempts) > 2)  # more than there are tries
        disk.free()
        await asyncio.to_thread(disk_nats.restart)
        async with asyncio.timeout(60):
            while await count_of(disk_bus, subjects.COMMANDS, subjects.ALL_COMMANDS):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    finally:
        await consumer.stop(5)
    assert not buried
    assert len(await chat.messages()) == 1


@broker
async def test_whoever_orders_is_told_at_once_that_a_stream_has_stopped(bus: Bus) -> None:
    bus.storage.stopped(subjects.COMMANDS, "no space left on device")
    with pytest.raises(UnavailableError, match="NATS cannot store: no space left on device"):
        await bus.order(message(new_chat()))


@broker
async def test_the_limit_of_a_stream_is_named_and_over_once_it_is_raised(
    own_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.chassis.event_log.OUTAGE_SECONDS", 0.1)
    chat, sound = Chat(own_bus), (await own_bus.js.stream_info(subjects.EVENTS)).config
    await own_bus.js.update_stream(replace(sound, max_bytes=1, discard=DiscardPolicy.NEW))
    with pytest.raises(UnavailableError, match="NATS cannot store: the stream's own limit"):
        await chat.append(said("no room"))
    assert own_bus.storage.why(subjects.EVENTS) is not None
    await own_bus.js.update_stream(sound)
    await chat.append(said("room"))
    assert own_bus.storage.trouble is None


SMALL_ACCOUNT = """
accounts { small { jetstream: { max_file: 16KB, max_mem: 0 }, users: [ {user: u, password: p} ] } }
no_auth_user: u
"""


@broker
async def test_the_limit_of_an_account_is_no_room_and_not_a_refusal(
    nats: NatsServer,  # noqa: ARG001
    tmp_path: Path,
) -> None:
    server = NatsServer(tmp_path / "nats", options=SMALL_ACCOUNT)
    server.start()
    try:
        async with bus_of(server) as bus:
            for _ in range(3):
                await bus.js.publish(subjects.delta(KEY), b"x" * 4096)
            with pytest.raises(UnavailableError, match="NATS cannot store: the limit of the"):
                await bus.order(message(new_chat(), "x" * 8192))
            assert bus.storage.why(subjects.COMMANDS) is not None
    finally:
        server.stop()


@broker
async def test_a_bucket_that_takes_nothing_is_noted_like_a_stream(own_bus: Bus) -> None:
    stream = subjects.bucket_stream(subjects.CHATS)
    sound = (await own_bus.js.stream_info(stream)).config
    await own_bus.js.update_stream(replace(sound, max_bytes=1))
    bucket = await own_bus.bucket(subjects.CHATS)
    with pytest.raises(NatsError):
        await bucket.put("key", b"value")
    assert "own limit" in str(own_bus.storage.why(stream))
    await own_bus.js.update_stream(sound)
    await own_bus.js.publish(subjects.bucket_subject(subjects.CHATS, "key"), b"value")
    assert own_bus.storage.trouble is None


@broker
async def test_a_cluster_is_asked_as_one_server_is(nats_cluster: NatsCluster) -> None:
    async with bus_of(nats_cluster.nodes[0]) as bus:
        await ensure_streams(bus.nc, replicas=3)
        assert await why_stopped(bus.nc, subjects.EVENTS, 10) is None


@broker
async def test_an_object_is_whole_while_all_its_pieces_are_there(own_bus: Bus) -> None:
    store = await own_bus.js.object_store(subjects.ATTACHMENTS)
    info = await store.put("file", b"x" * 300_000)
    assert await own_bus.is_whole(subjects.ATTACHMENTS, info)
    stream = subjects.object_stream(subjects.ATTACHMENTS)
    pieces = subjects.object_pieces(subjects.ATTACHMENTS, str(info.nuid))
    await own_bus.js.purge_stream(stream, subject=pieces, keep=1)
    assert not await own_bus.is_whole(subjects.ATTACHMENTS, info)
    assert await own_bus.is_whole(subjects.ATTACHMENTS, await store.put("empty", b""))


@broker
async def test_what_was_acknowledged_while_the_queue_could_not_forget_it_is_removed_later(
    disk_bus: Bus, disk_nats: NatsServer, disk: SmallDisk
) -> None:
    is_full, handled = asyncio.Event(), list[int]()

    async def handle(delivery: Delivery) -> None:
        await is_full.wait()
        handled.append(delivery.sequence)

    async def give_up(_: Delivery, reason: str) -> None:
        raise AssertionError(reason)

    queue = Queue(subjects.COMMANDS, subjects.ALL_COMMANDS, "test", slots=1)
    consumer = QueueConsumer(disk_bus, queue, handle, give_up)
    await disk_bus.order(message(new_chat()))
    consumer.start()
    try:
        await until(lambda: consumer.busy == 1)
        disk.fill()
        while await why_stopped(disk_bus.nc, subjects.COMMANDS, 2) is None:
            with suppress(NatsError):
                await disk_bus.nc.request("mozaiks.timer.foreign", bytes(4096), timeout=0.2)
        is_full.set()
        await until(lambda: consumer.busy == 0)
        assert await disk_bus.commands_open() == 1
        disk.free()
        await asyncio.to_thread(disk_nats.restart)
        async with asyncio.timeout(60):
            while await disk_bus.commands_open():  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    finally:
        await consumer.stop(5)
    assert len(handled) == 1
