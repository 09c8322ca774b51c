"""Events are moved to more streams while chats are written and read, whatever ends in the middle."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from faststream.nats.subscriber.usecases import BatchPullStreamSubscriber

from contracts import subjects
from contracts.event_streams import EventStreams, slot_of, spread_over
from contracts.ids import StreamSeq
from infra.nats_cluster import NatsCluster
from infra.servers import NatsServer
from services.chassis.consumers.event_followers import EventFollowers
from services.chassis.consumers.subscribers import event_subscriber
from services.chassis.jetstream import event_streams
from services.chassis.jetstream.direct_get import RawMessage
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.event_streams import EventStreamLocator
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.process.broker import build_broker, connected
from services.chassis.settings import Settings
from services.chassis.streams import spread as spreading
from services.chassis.streams.ensure import check_streams, ensure_streams
from services.chassis.streams.spread import Spreader, SpreadError
from tests.chassis.story import Chat, gateway_of, new_chat, said, seqs, until
from tests.patience import PATIENCE_SECONDS

pytestmark = [pytest.mark.broker]
NOTICE_SECONDS = 1.0
STEPS = ("announce", "mirror", "fence", "barrier", "consumers", "promote", "remove", "end")


class EndedError(Exception):
    """The command ends here."""


@pytest.fixture(autouse=True)
def _quick_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_streams, "CHECK_SECONDS", 0.2)
    monkeypatch.setattr(event_streams, "TRUSTED_SECONDS", 0.8)


def ending_before(wanted: str) -> Callable[[str], "asyncio.Future[None]"]:
    async def step(name: str) -> None:
        if name == wanted:
            raise EndedError(name)

    return step  # type: ignore[return-value]


async def spread(gateway: JetStreamGateway, count: int, before: str = "") -> None:
    lines: list[str] = []
    spreader = Spreader(
        gateway.nc,
        replicas=1,
        report=lines.append,
        notice_seconds=NOTICE_SECONDS,
        step=ending_before(before),
    )
    await spreader.spread(count)


@dataclass
class Traffic:
    """Chats that go on: each is read after every append, by another process than the one that appends."""

    writer: JetStreamGateway
    reader: JetStreamGateway
    chats: list[Chat] = field(default_factory=list)
    stopped: bool = False

    async def run(self) -> None:
        await asyncio.gather(*(self._go_on(chat) for chat in self.chats))

    async def _go_on(self, chat: Chat) -> None:
        while not self.stopped:
            await chat.append(said(f"{chat.seq + 1}"))
            newest = await self.reader.events.last_seq(chat.key)
            assert newest == chat.seq, f"{chat.key} is read up to {newest} of {chat.seq}"
            await asyncio.sleep(0.03)


@asynccontextmanager
async def traffic(url: str, chats: int, replicas: int = 1) -> AsyncIterator[Traffic]:
    """Ends with a look at every chat: each has every event once, in order, where it was appended."""
    settings = Settings(nats_url=url, drain_seconds=2, stream_replicas=replicas)
    async with (
        connected(build_broker(settings, "writer"), settings) as writer,
        connected(build_broker(settings, "reader"), settings) as reader,
    ):
        found = Traffic(writer, reader, [Chat(writer) for _ in range(chats)])
        for chat in found.chats:
            await chat.append_each(2)
        task = asyncio.create_task(found.run())
        try:
            yield found
        finally:
            found.stopped = True
            await task
        for chat in found.chats:
            commits = [commit async for commit in reader.events.read(chat.key)]
            stored = [event for commit in commits for event in commit.events]
            assert seqs(stored) == list(range(1, chat.seq + 1))
            assert commits[-1].place == chat.place


async def answers_for(gateway: JetStreamGateway, stream: str, chat: Chat) -> set[int]:
    """How many messages of a chat several direct gets find."""
    found = [await gateway.reader.count(stream, subjects.events_of(chat.key)) for _ in range(40)]
    return set(found)


async def holders(gateway: JetStreamGateway) -> dict[str, set[str]]:
    """The slots of the events in each stream."""
    found: dict[str, set[str]] = {}
    for info in await gateway.js.streams_info():
        name = str(info.config.name)
        if name.startswith(subjects.EVENTS):
            stored = await gateway.reader.counts_of(name, subjects.ALL_EVENTS)
            found[name] = {slot_of(one) for one in stored}
    return found


async def test_events_are_moved_while_chats_go_on(own_nats: NatsServer) -> None:
    async with traffic(own_nats.url, 24) as chats:
        await spread(chats.writer, 4)
        await asyncio.sleep(0.5)
    async with gateway_of(own_nats) as gateway:
        streams = spread_over(4)
        for name, slots in (await holders(gateway)).items():
            assert slots <= set(streams.slots(name))
        assert await gateway.event_streams.streams() == streams
        assert await check_streams(gateway.nc, replicas=1, event_streams=4) == []
        for chat in chats.chats:  # and no stream answers for another
            (count,) = await answers_for(gateway, streams.holder(subjects.slot(chat.key)), chat)
            assert count == chat.seq
        config = await gateway.reader.config(subjects.EVENTS)
        assert config is not None
        assert config["subjects"] == streams.subjects(subjects.EVENTS)


async def test_a_command_that_ended_before_any_of_its_steps_is_run_again(
    own_nats: NatsServer,
) -> None:
    async with traffic(own_nats.url, 8) as chats:
        for before in STEPS:
            with pytest.raises(EndedError):
                await spread(chats.writer, 2, before)
        await spread(chats.writer, 2)
    async with gateway_of(own_nats) as gateway:
        assert await gateway.event_streams.streams() == spread_over(2)
        assert await check_streams(gateway.nc, replicas=1, event_streams=2) == []


async def test_slots_are_given_back_where_nats_does_not_answer_within_the_fence(
    own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spreading, "UNAVAILABLE_SECONDS", 0)

    async def step(name: str) -> None:
        if name == "consumers":
            raise NatsUnavailableError("the consumers cannot be copied")

    async with gateway_of(own_nats) as gateway:
        chats = [Chat(gateway) for _ in range(8)]
        for chat in chats:
            await chat.append_each(1)
        with pytest.raises(NatsUnavailableError, match="consumers"):
            await Spreader(
                gateway.nc, replicas=1, report=print, notice_seconds=NOTICE_SECONDS, step=step
            ).spread(2)
        for chat in chats:
            await chat.append(said("goes on"))


async def test_events_are_moved_on_three_nodes_while_their_leader_is_killed(
    nats: NatsServer,  # noqa: ARG001  # decides what happens without nats-server
    tmp_path: Path,
) -> None:
    cluster = NatsCluster(tmp_path / "cluster")
    await asyncio.to_thread(cluster.start)
    try:
        async with traffic(",".join(cluster.urls), 8, replicas=3) as chats:
            killed: list[NatsServer] = []

            async def kill(name: str) -> None:
                if name == "barrier" and not killed:
                    killed.append(await asyncio.to_thread(cluster.stream_leader, subjects.EVENTS))
                    killed[0].kill()

            spreader = Spreader(
                chats.writer.nc,
                replicas=3,
                report=print,
                notice_seconds=NOTICE_SECONDS,
                step=kill,
            )
            await spreader.spread(4)
            assert killed
            await asyncio.to_thread(killed[0].start)
            await asyncio.to_thread(cluster.wait_until_current, *spread_over(4).names)
            assert await chats.writer.event_streams.streams() == spread_over(4)
    finally:
        cluster.kill()


async def test_what_is_removed_while_events_are_moved_does_not_come_back(
    own_nats: NatsServer,
) -> None:
    async with gateway_of(own_nats) as gateway:
        chats = [Chat(gateway) for _ in range(20)]
        moved = [chat for chat in chats if subjects.slot(chat.key) >= "32"]
        for chat in chats:
            await chat.append_each(4)

        async def step(name: str) -> None:
            if name == "fence":
                await asyncio.sleep(0.3)  # the copies are there
                for chat in moved:
                    query = subjects.events_of(chat.key)
                    await gateway.purger.purge(subjects.EVENTS, query, before=chat.place.position)
            if name == "remove":
                for chat in moved[:3]:
                    await gateway.purger.purge_events(chat.key)

        await Spreader(
            gateway.nc, replicas=1, report=print, notice_seconds=NOTICE_SECONDS, step=step
        ).spread(2)
        assert moved
        for chat in moved:
            left = [one async for one in gateway.event_reader.pages(chat.key, StreamSeq(0))]
            assert [one.position for one in left] == (
                [] if chat in moved[:3] else [chat.place.position]
            )


async def test_followers_get_every_event_in_order_also_of_streams_that_come_later(
    own_nats: NatsServer,
) -> None:
    got: dict[str, list[RawMessage]] = {}
    settings = Settings(nats_url=own_nats.url, drain_seconds=2)
    broker = build_broker(settings, "test")
    async with connected(broker, settings) as gateway:

        async def subscribe(stream: str) -> BatchPullStreamSubscriber:
            subscriber = event_subscriber(broker, gateway, "projection", stream=stream)

            @subscriber
            async def apply(batch: list[RawMessage]) -> None:
                for one in batch:
                    got.setdefault(one.subject, []).append(one)

            return subscriber

        followers = EventFollowers(gateway.event_streams, subscribe)
        await followers.open()
        await broker.start()
        followers.start()
        async with traffic(own_nats.url, 8) as chats:
            await spread(chats.writer, 4)
        wanted = {one.position for chat in chats.chats for one in await _messages(gateway, chat)}
        await until(lambda: {one.position for all_ in got.values() for one in all_} >= wanted)
        assert followers.problem is None
        await followers.stop()
    for messages in got.values():
        positions = [one.position for one in messages]
        first = [at for number, at in enumerate(positions) if at not in positions[:number]]
        assert first == sorted(first)


async def _messages(gateway: JetStreamGateway, chat: Chat) -> list[RawMessage]:
    pages = gateway.event_reader.pages(chat.key, StreamSeq(0), goal=chat.place.position)
    return [one async for one in pages]


async def test_new_deployments_begin_with_the_streams_that_they_are_set_to(
    own_nats: NatsServer,
) -> None:
    settings = Settings(nats_url=own_nats.url, drain_seconds=2, event_streams=4)
    async with connected(build_broker(settings, "test"), settings) as gateway:
        assert (await gateway.event_streams.streams()).names == spread_over(4).names
        chats = [Chat(gateway) for _ in range(12)]
        for chat in chats:
            await chat.append_each(3)
            assert seqs(await chat.stored()) == [1, 2, 3]
        assert len({subjects.slot(chat.key) for chat in chats}) > 1
        listed = [key async for key in gateway.events.chats()]
        assert set(listed) == {chat.key for chat in chats}
        # Stream EVENTS, deleted, comes back with the slots that the others do not have.
        await gateway.js.delete_stream(subjects.EVENTS)
        await ensure_streams(gateway.nc, replicas=1)
        assert await check_streams(gateway.nc, replicas=1, event_streams=4) == []


async def test_fewer_streams_than_there_are_and_other_numbers_in_a_move_are_refused(
    own_nats: NatsServer,
) -> None:
    async with gateway_of(own_nats) as gateway:
        assert [
            str(one) for one in await check_streams(gateway.nc, replicas=1, event_streams=2)
        ] == ["events are in 1 of 2 streams: `mozaiks streams spread 2` moves them"]
        with pytest.raises(EndedError):
            await spread(gateway, 4, "mirror")
        with pytest.raises(SpreadError, match="being moved to 4 streams"):
            await spread(gateway, 2)
        await spread(gateway, 4)
        with pytest.raises(SpreadError, match="in 4 streams, which stay"):
            await spread(gateway, 2)
        await spread(gateway, 4)


async def test_what_is_known_of_the_streams_is_used_for_a_while_without_an_answer(
    gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = _Clock()
    locator = EventStreamLocator(gateway.reader, gateway.storage, clock)
    key = new_chat()
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await locator.holder(key) == subjects.EVENTS
        monkeypatch.setattr(gateway.reader, "config", _never)
        clock.now += 0.7
        assert await locator.holder(key) == subjects.EVENTS  # trusted
        clock.now += 0.7
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await locator.holder(key)
    assert locator.known == EventStreams()


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def _never(_: str) -> None:
    await asyncio.Event().wait()
