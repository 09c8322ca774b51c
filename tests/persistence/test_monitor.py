"""What others empty, drop or delete under a running persistence is noticed and filled again."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from nats.js.errors import NotFoundError

from contracts import subjects
from contracts.ids import AppId, ChatId, ChatKey
from infra.servers import MongoServer
from services.chassis.bus import Bus
from services.chassis.process import Probes
from services.chassis.streams import ensure_streams
from services.persistence import monitor, verifier
from services.persistence.app import DURABLE, Settings
from services.persistence.mongo import Client, MongoStore, build_client
from services.persistence.monitor import Monitor, is_emptied, losses
from services.persistence.rebuilder import Rebuilder, Rebuilt
from services.persistence.store import Look
from services.persistence.summaries import BucketLook, Summaries
from services.persistence.verify import verify
from tests.persistence.live import append, is_shown, running, until
from tests.persistence.story import KEY, hello, interview, told

NEW = ChatKey(AppId("new"), ChatId("1"))
BEFORE = datetime(2026, 3, 1, 12, tzinfo=UTC)
WHOLE = Look(
    {"chat_events": "1", "chat_sessions": "2", "workflow_stats_a_b": "3"},
    frozenset({"chat_events", "chat_sessions"}),
)
EMPTY = Look({}, frozenset())


@pytest.mark.parametrize(
    ("before", "now", "lost"),
    [
        (WHOLE, WHOLE, []),
        (EMPTY, WHOLE, []),
        (WHOLE, Look({**WHOLE.collections, "workflow_stats_c_d": "4"}, WHOLE.filled), []),
        (None, WHOLE, ["everything"]),
        (
            WHOLE,
            Look({**WHOLE.collections, "workflow_stats_a_b": "9"}, WHOLE.filled),
            ["workflow_stats_a_b"],
        ),
        (WHOLE, Look(WHOLE.collections, frozenset({"chat_events"})), ["chat_sessions"]),
        (WHOLE, EMPTY, ["chat_events", "chat_sessions", "workflow_stats_a_b"]),
    ],
)
def test_what_is_lost_is_seen_from_two_looks(
    before: Look | None, now: Look, lost: list[str]
) -> None:
    assert losses(before, now) == lost


def test_a_bucket_is_emptied_when_it_is_another_one_or_holds_nothing_any_more() -> None:
    filled = BucketLook(BEFORE, 3)
    assert not is_emptied(filled, BucketLook(BEFORE, 4))
    assert is_emptied(filled, BucketLook(BEFORE, 0))
    assert is_emptied(filled, BucketLook(BEFORE.replace(hour=13), 3))
    assert is_emptied(None, BucketLook(BEFORE, 0))
    assert not is_emptied(None, filled)
    assert not is_emptied(BucketLook(BEFORE, 0), BucketLook(BEFORE, 0))


class EmptyDatabase:
    """A database that is empty until it is marked."""

    def __init__(self) -> None:
        self._marked: Look | None = None

    async def look(self) -> Look:
        return EMPTY

    async def marked(self) -> Look | None:
        return self._marked

    async def prepare(self) -> None:
        return

    async def mark(self, look: Look) -> None:
        self._marked = look


async def test_readiness_says_what_is_lost_until_it_is_filled_again() -> None:
    begun, allowed = asyncio.Event(), asyncio.Event()

    class SlowRebuilder:
        async def all(self) -> Rebuilt:
            begun.set()
            await allowed.wait()
            return Rebuilt()

        async def announce_all(self) -> int:
            return 0

    class WholeBucket:
        async def look(self) -> BucketLook:
            return BucketLook(BEFORE, 1)

    watched = Monitor(
        EmptyDatabase(), cast(Summaries, WholeBucket()), cast(Rebuilder, SlowRebuilder())
    )
    watched.start()
    await begun.wait()
    assert watched.problem() == "MongoDB lost everything; filling it again from the log"
    allowed.set()
    async with asyncio.timeout(10):
        while watched.problem() is not None:  # noqa: ASYNC110  it is asked, and sets no event
            await asyncio.sleep(0)
    await watched.stop()


# -- on real servers -------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr("services.chassis.monitor.LOOK_SECONDS", 0.1)
    monkeypatch.setattr(verifier, "TRAIL_SECONDS", 0.05)


async def is_whole(settings: Settings) -> bool:
    return await verify(None, None, settings) == 0


def trouble(probes: Probes) -> str:
    page = probes.page({"path": "/ready"})
    assert page is not None
    return page[2].decode()


async def _empty(client: Client, database: str) -> None:
    for name in await client[database].list_collection_names():
        await client[database][name].delete_many({})


async def _drop_statistics(client: Client, database: str) -> None:
    for name in await client[database].list_collection_names():
        if name.startswith("workflow_stats_"):
            await client[database][name].drop()


Loss = Callable[[Client, str], Awaitable[Any]]
LOSSES: dict[str, Loss] = {
    "the database is dropped": lambda client, name: client.drop_database(name),
    "all collections are emptied": _empty,
    "the archive is dropped": lambda client, name: client[name]["chat_events"].drop(),
    "the sessions are emptied": lambda client, name: client[name]["chat_sessions"].delete_many({}),
    "the messages are dropped": lambda client, name: client[name]["chat_messages"].drop(),
    "statistics are dropped": _drop_statistics,
}


@pytest.mark.broker
@pytest.mark.mongo
@pytest.mark.parametrize("kind", LOSSES)
async def test_what_mongodb_loses_is_filled_again_while_new_events_are_kept(
    kind: str,
    bus: Bus,
    settings: Settings,
    mongo: MongoServer,
    mongo_store: MongoStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = build_client(mongo.uri)
    async with running(settings):
        place = await append(bus, told(interview())[:9])
        await append(bus, told(hello(), NEW))
        await until(lambda: is_shown(bus, KEY, 9))
        await until(lambda: _is_noted(mongo_store))
        await LOSSES[kind](client, settings.mongodb_database)
        await append(bus, told(interview())[9:], place)
        await until(lambda: is_whole(settings))
        await until(lambda: _marked(client, settings))
    assert "MongoDB lost data" in caplog.text
    indexes = await client[settings.mongodb_database]["chat_events"].index_information()
    assert "app_chat_seq" in indexes
    await client.drop_database(settings.mongodb_database)
    await client.close()


async def _marked(client: Client, settings: Settings) -> bool:
    found = client[settings.mongodb_database]["persistence_state"]
    return await found.find_one() is not None


@pytest.mark.broker
@pytest.mark.mongo
@pytest.mark.parametrize("kind", LOSSES)
async def test_what_was_lost_while_persistence_was_down_is_filled_at_the_start(
    kind: str, bus: Bus, settings: Settings, mongo_store: MongoStore, mongo: MongoServer
) -> None:
    async with running(settings):
        await append(bus, told(interview()))
        await until(lambda: is_shown(bus, KEY, 18))
        await until(lambda: _is_noted(mongo_store))
    client = build_client(mongo.uri)
    await LOSSES[kind](client, settings.mongodb_database)
    await client.close()
    async with running(settings):
        await until(lambda: is_whole(settings))


async def _is_noted(store: MongoStore) -> bool:
    """Whether the monitor has looked at what is there by now."""
    return await store.marked() == await store.look()


@pytest.mark.broker
@pytest.mark.mongo
async def test_a_first_start_fills_nothing_twice(
    bus: Bus, settings: Settings, mongo_store: MongoStore, caplog: pytest.LogCaptureFixture
) -> None:
    await append(bus, told(interview()))
    async with running(settings):
        await until(lambda: is_shown(bus, KEY, 18))
        await asyncio.sleep(0.3)
    assert await mongo_store.marked() == await mongo_store.look()
    assert "MongoDB lost data" not in caplog.text


@pytest.mark.broker
@pytest.mark.mongo
@pytest.mark.parametrize("how", ["deleted", "purged"])
async def test_chat_lists_that_are_deleted_are_made_again_and_filled(
    how: str, bus: Bus, settings: Settings, mongo_store: MongoStore
) -> None:
    del mongo_store
    stream = subjects.bucket_stream(subjects.CHATS)
    async with running(settings):
        place = await append(bus, told(interview())[:9])
        await append(bus, told(hello(), NEW))
        await until(lambda: is_shown(bus, KEY, 9))
        await until(lambda: is_shown(bus, NEW, 6))
        await asyncio.sleep(0.5)
        if how == "deleted":
            await bus.js.delete_stream(stream)
        else:
            await bus.js.purge_stream(stream)
        await append(bus, told(interview())[9:], place)
        await until(lambda: is_shown(bus, NEW, 6))
        await until(lambda: is_shown(bus, KEY, 18))
    assert not await _buried(bus)


@pytest.mark.broker
@pytest.mark.mongo
async def test_a_bucket_that_may_not_be_made_is_named_and_filled_once_it_is_there(
    bus: Bus, settings: Settings, mongo_store: MongoStore
) -> None:
    del mongo_store
    async with running(settings.model_copy(update={"ensure_streams": False})) as probes:
        await append(bus, told(hello()))
        await until(lambda: is_shown(bus, KEY, 6))
        await bus.js.delete_stream(subjects.bucket_stream(subjects.CHATS))

        async def named() -> bool:
            return "KV_chats" in trouble(probes)

        await until(named)
        await ensure_streams(bus.nc, replicas=1)
        await until(lambda: is_shown(bus, KEY, 6))

        async def ready() -> bool:
            return '"ready": true' in trouble(probes)

        await until(ready)


@pytest.mark.broker
@pytest.mark.mongo
async def test_a_consumer_that_is_deleted_is_made_again_and_nothing_is_lost(
    bus: Bus, settings: Settings, mongo_store: MongoStore
) -> None:
    async with running(settings):
        place = await append(bus, told(interview())[:9])
        await until(lambda: is_shown(bus, KEY, 9))
        await bus.js.delete_consumer(subjects.EVENTS, DURABLE)
        with pytest.raises(NotFoundError):
            await bus.js.consumer_info(subjects.EVENTS, DURABLE)
        await append(bus, told(interview())[9:], place)
        await until(lambda: is_shown(bus, KEY, 18))
    assert (await mongo_store.sessions([KEY]))[KEY].status == "completed"
    assert not await _buried(bus)


@pytest.mark.broker
@pytest.mark.mongo
async def test_a_mongodb_that_comes_back_empty_is_filled_again(
    bus: Bus, settings: Settings, tmp_path: Path
) -> None:
    own = MongoServer(tmp_path / "mongo")
    own.start()
    client = build_client(own.uri)
    mine = settings.model_copy(update={"mongodb_uri": own.uri})
    try:
        async with running(mine):
            await append(bus, told(interview()))
            await until(lambda: is_shown(bus, KEY, 18))
            own.kill()
            own.start()
            await client.drop_database(mine.mongodb_database)
            await until(lambda: is_whole(mine))
    finally:
        await client.close()
        own.stop()


async def _buried(bus: Bus) -> bool:
    return bool((await bus.js.stream_info(subjects.DEAD_LETTERS)).state.messages)
