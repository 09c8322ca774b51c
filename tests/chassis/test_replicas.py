"""On three replicas nobody decides on the past: what any client has proof of is read, or waited for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from contracts import subjects
from contracts.ids import AppId, ChatId, UserId
from infra.nats_cluster import NatsCluster
from infra.servers import NatsServer
from services.chassis.bus import Bus
from services.chassis.direct_get import UnavailableError
from services.chassis.process import build_broker, connected
from services.chassis.settings import Settings
from services.chassis.streams import ensure_streams
from tests.chassis.story import Chat, counted, many, new_chat, said, seqs

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180), pytest.mark.xdist_group("cluster")]


@asynccontextmanager
async def bus_on(node: NatsServer) -> AsyncIterator[Bus]:
    """A bus that is connected to this node."""
    settings = Settings(nats_url=node.url, stream_replicas=3, drain_seconds=2)
    async with connected(build_broker(settings, "test"), settings) as bus:
        yield bus


@pytest.fixture
async def cluster(nats_cluster: NatsCluster) -> NatsCluster:
    """The cluster, its streams on three replicas."""
    async with bus_on(nats_cluster.nodes[0]) as bus:
        await ensure_streams(bus.nc, replicas=3)
    await asyncio.to_thread(nats_cluster.wait_until_current, subjects.EVENTS)
    return nats_cluster


@asynccontextmanager
async def leader_and_follower(
    cluster: NatsCluster, stream: str
) -> AsyncIterator[tuple[Bus, Bus, NatsServer]]:
    """A bus on a stream's leader, one on a follower, and that follower."""
    leader = await asyncio.to_thread(cluster.stream_leader, stream)
    follower = (await asyncio.to_thread(cluster.stream_followers, stream))[0]
    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(bus_on(leader))
        reader = await stack.enter_async_context(bus_on(follower))
        yield writer, reader, follower


async def test_a_replica_that_was_frozen_shows_nobody_the_past(cluster: NatsCluster) -> None:
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


async def test_a_cursor_is_found_and_never_set_back_on_a_replica_that_was_frozen(
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


async def test_a_list_shows_what_was_written_while_a_replica_was_frozen(
    cluster: NatsCluster,
) -> None:
    stream = subjects.bucket_stream(subjects.CHATS)
    async with leader_and_follower(cluster, stream) as (writer, reader, follower):
        app, user = AppId(new_chat().chat), UserId("ana")
        bucket = await writer.bucket(subjects.CHATS)
        follower.pause()
        try:
            for number in range(40):
                key = subjects.chat_summary_key(app, user, ChatId(f"{number}"))
                await bucket.put(key, f"{number}".encode())
        finally:
            follower.resume()
        prefix = subjects.user_summaries_prefix(app, user)
        found = await reader.values_under(subjects.CHATS, prefix)
        assert [int(value) for value in found] == list(range(40))


async def test_a_follower_that_stays_frozen_holds_up_nobody_on_another_node(
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


async def test_a_leader_that_is_killed_costs_an_append_and_a_read_only_a_wait(
    cluster: NatsCluster,
) -> None:
    leader = await asyncio.to_thread(cluster.stream_leader, subjects.EVENTS)
    other = next(node for node in cluster.nodes if node is not leader)
    async with bus_on(other) as bus:
        chat = Chat(bus)
        await chat.append(*many(2))
        await asyncio.to_thread(leader.kill)
        try:
            await chat.append(*many(3))
            async with asyncio.timeout(60):
                while True:
                    try:
                        read = await chat.stored()
                    except UnavailableError:
                        continue  # for as long as no leader is elected
                    break
            assert seqs(read) == [1, 2, 3, 4, 5]
        finally:
            leader.start()  # by this thread: a child ends with the thread that started it
            await asyncio.to_thread(cluster.wait_until_current, subjects.EVENTS)
