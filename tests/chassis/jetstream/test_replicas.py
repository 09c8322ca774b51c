"""With three replicas nobody decides on old data: what a client knows is read, or waited for."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from contracts import subjects
from contracts.event_log import StoredEvent
from contracts.ids import AppId, ChatId, UserId
from infra.nats_cluster import NatsCluster
from infra.servers import NatsServer
from services.chassis.jetstream.errors import NatsUnavailableError, is_temporary
from services.chassis.jetstream.event_log import PositionConflictError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.nats.unavailable import NATS_UNAVAILABLE
from services.chassis.process.broker import build_broker, connected
from services.chassis.settings import Settings
from services.chassis.streams.ensure import ensure_streams
from tests.chassis.story import Chat, counted, many, new_chat, said, seqs
from tests.patience import PATIENCE_SECONDS

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]


@asynccontextmanager
async def bus_on(node: NatsServer) -> AsyncIterator[JetStreamGateway]:
    """A gateway connected to this node."""
    settings = Settings(nats_url=node.url, stream_replicas=3, drain_seconds=2)
    async with connected(build_broker(settings, "test"), settings) as gateway:
        yield gateway


@pytest.fixture
async def cluster(nats_cluster: NatsCluster) -> NatsCluster:
    """The cluster, its streams on three replicas."""
    async with bus_on(nats_cluster.nodes[0]) as gateway:
        await ensure_streams(gateway.nc, replicas=3)
    await asyncio.to_thread(nats_cluster.wait_until_current, subjects.EVENTS)
    return nats_cluster


@asynccontextmanager
async def leader_and_follower(
    cluster: NatsCluster, stream: str
) -> AsyncIterator[tuple[JetStreamGateway, JetStreamGateway, NatsServer]]:
    """A gateway on a stream's leader, one on a follower, and that follower."""
    leader = await asyncio.to_thread(cluster.stream_leader, stream)
    follower = (await asyncio.to_thread(cluster.stream_followers, stream))[0]
    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(bus_on(leader))
        reader = await stack.enter_async_context(bus_on(follower))
        yield writer, reader, follower


async def test_a_replica_that_was_frozen_returns_no_old_data(cluster: NatsCluster) -> None:
    async with leader_and_follower(cluster, subjects.EVENTS) as (writer, reader, follower):
        chat = Chat(writer)
        await chat.append(*many(3))
        mirror = Chat(reader, chat.key)
        for _ in range(3):
            known = chat.place
            follower.pause()
            try:
                for _ in range(60):
                    await chat.append(said("while it was frozen"))
            finally:
                follower.resume()
            read = [one async for one in reader.events.read(chat.key, after=known)]
            assert read[-1].place == chat.place
            assert seqs(await mirror.stored()) == list(range(1, chat.seq + 1))
            assert await reader.events.last_position(chat.key) == chat.place.position


async def test_a_chat_that_began_while_a_replica_was_frozen_is_found_through_it(
    cluster: NatsCluster,
) -> None:
    async with leader_and_follower(cluster, subjects.EVENTS) as (writer, reader, follower):
        follower.pause()
        try:
            chats = [Chat(writer, new_chat()) for _ in range(20)]
            for chat in chats:
                await chat.append(*many(2))
        finally:
            follower.resume()
        for chat in chats:
            assert await reader.events.first(chat.key) is not None


async def test_a_cursor_is_found_and_never_moves_back_on_a_replica_that_was_frozen(
    cluster: NatsCluster,
) -> None:
    async with leader_and_follower(cluster, subjects.EVENTS) as (writer, reader, follower):
        chat = Chat(writer)
        for number in range(10):
            await chat.append(*many(2))
            await chat.append(counted(number))
        follower.pause()
        try:
            for _ in range(10):
                await chat.append(*many(3))
        finally:
            follower.resume()
        viewer = Chat(reader, chat.key, chat.place)
        for cursor in (18, 30, 45, 60):
            assert seqs(await viewer.past(cursor)) == list(range(cursor + 1, 61))


async def test_a_list_includes_values_written_while_a_replica_was_frozen(
    cluster: NatsCluster,
) -> None:
    stream = subjects.bucket_stream(subjects.CHATS)
    async with leader_and_follower(cluster, stream) as (writer, reader, follower):
        app, user = AppId(new_chat().chat), UserId("ana")
        bucket = await writer.key_values.bucket(subjects.CHATS)
        follower.pause()
        try:
            for number in range(40):
                key = subjects.chat_summary_key(app, user, ChatId(f"{number}"))
                await bucket.put(key, f"{number}".encode())
        finally:
            follower.resume()
        prefix = subjects.user_summaries_prefix(app, user)
        found = await reader.key_values.list_values(subjects.CHATS, prefix)
        assert [int(value) for value in found] == list(range(40))


async def test_a_frozen_follower_does_not_block_clients_of_another_node(
    cluster: NatsCluster,
) -> None:
    async with leader_and_follower(cluster, subjects.EVENTS) as (writer, _, follower):
        follower.pause()
        try:
            chat = Chat(writer)
            for _ in range(30):
                await chat.append(*many(2))
                assert (await chat.commits())[-1].place == chat.place
        finally:
            follower.resume()


async def test_a_read_waits_while_a_node_knows_no_leader_of_the_cluster(
    cluster: NatsCluster,
) -> None:
    async with leader_and_follower(cluster, subjects.EVENTS) as (_, gateway, follower):
        chat = Chat(gateway)
        await chat.append(*many(2))
        others = [node for node in cluster.nodes if node is not follower]
        for node in others:
            node.pause()
        try:
            await asyncio.wait_for(_leader_lost(gateway), 60)
            reading = asyncio.create_task(gateway.events.last_position(chat.key))
            for _ in range(5):  # by then the read has had its first answers
                await _leader_lost(gateway)
            assert not reading.done()
        finally:
            for node in others:
                node.resume()
        with suppress(NatsUnavailableError):  # where the election takes longer than a read may wait
            assert await reading == chat.place.position


async def _leader_lost(gateway: JetStreamGateway) -> None:
    """Return once the node of a gateway answers that it knows no leader."""
    api = f"$JS.API.STREAM.MSG.GET.{subjects.EVENTS}"
    for _ in range(100):
        with suppress(*NATS_UNAVAILABLE):
            answer = await gateway.nc.request(api, b'{"seq":1}', timeout=1)
            if is_temporary(json.loads(answer.data).get("error") or {}):
                return
        await asyncio.sleep(0.05)


async def test_an_append_and_a_read_wait_for_a_new_leader_after_a_kill(
    cluster: NatsCluster,
) -> None:
    leader = await asyncio.to_thread(cluster.stream_leader, subjects.EVENTS)
    other = next(node for node in cluster.nodes if node is not leader)
    async with bus_on(other) as gateway:
        chat = Chat(gateway)
        await chat.append(*many(2))
        await asyncio.to_thread(leader.kill)
        try:
            await chat.append(*many(3))
            assert seqs(await read_in_the_end(chat)) == [1, 2, 3, 4, 5]
        finally:
            leader.start()  # by this thread: a child ends with the thread that started it
            await asyncio.to_thread(cluster.wait_until_current, subjects.EVENTS)


async def test_without_a_quorum_nothing_is_stored_and_everything_goes_on_with_the_second_node(
    cluster: NatsCluster,
) -> None:
    survivor, *others = cluster.nodes
    async with bus_on(survivor) as gateway:
        chat = Chat(gateway)
        await chat.append(*many(2))
        try:
            for node in others:
                await asyncio.to_thread(node.kill)
            storing = asyncio.create_task(stored_in_the_end(chat))
            await asyncio.sleep(1)
            assert not storing.done()
            others[0].start()  # by this thread: a child ends with the thread that started it
            await storing
            assert seqs(await read_in_the_end(chat)) == [1, 2, 3]
        finally:
            for node in others:
                if not node.child.running:
                    node.start()
            await asyncio.to_thread(cluster.wait_until_current, subjects.EVENTS)


async def stored_in_the_end(chat: Chat) -> None:
    """Append an event, as often as NATS is unavailable; a conflict says that it is stored already."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await chat.append(*many(1))
            except PositionConflictError:
                return
            except NatsUnavailableError:
                await asyncio.sleep(0.1)
            else:
                return


async def read_in_the_end(chat: Chat) -> list[StoredEvent]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                return await chat.stored()
            except NatsUnavailableError:
                await asyncio.sleep(0.1)
