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
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.process.probes import Probes
from services.chassis.streams.ensure import ensure_streams
from services.persistence import read_model_monitor
from services.persistence.chat_summaries import BucketState, ChatSummaryBucket
from services.persistence.maintenance import verifier
from services.persistence.maintenance.rebuilder import Rebuilder, Rebuilt
from services.persistence.nats_permissions import DURABLE
from services.persistence.read_model_monitor import ReadModelMonitor, is_emptied, lost_collections
from services.persistence.settings import Settings
from services.persistence.store.interface import DatabaseState
from services.persistence.store.mongo.client import Client, build_client
from services.persistence.store.mongo.store import MongoStore
from services.persistence.verify import verify
from tests.patience import PATIENCE_SECONDS
from tests.persistence.live import append, is_published, running, until
from tests.persistence.story import KEY, decisions_of, hello, interview

NEW = ChatKey(AppId("new"), ChatId("1"))
BEFORE = datetime(2026, 3, 1, 12, tzinfo=UTC)
WHOLE = DatabaseState(
    {"event_archive": "1", "chat_sessions": "2", "workflow_stats_a_b": "3"},
    frozenset({"event_archive", "chat_sessions"}),
)
EMPTY = DatabaseState({}, frozenset())


@pytest.mark.parametrize(
    ("before", "now", "lost"),
    [
        (WHOLE, WHOLE, []),
        (EMPTY, WHOLE, []),
        (WHOLE, DatabaseState({**WHOLE.collections, "workflow_stats_c_d": "4"}, WHOLE.filled), []),
        (None, WHOLE, ["read models of this layout"]),
        (
            WHOLE,
            DatabaseState({**WHOLE.collections, "workflow_stats_a_b": "9"}, WHOLE.filled),
            ["workflow_stats_a_b"],
        ),
        (WHOLE, DatabaseState(WHOLE.collections, frozenset({"event_archive"})), ["chat_sessions"]),
        (WHOLE, EMPTY, ["chat_sessions", "event_archive", "workflow_stats_a_b"]),
    ],
)
def test_what_is_lost_is_seen_by_comparing_two_states(
    before: DatabaseState | None, now: DatabaseState, lost: list[str]
) -> None:
    assert lost_collections(before, now) == lost


def test_a_bucket_is_emptied_if_it_was_recreated_or_lost_all_values() -> None:
    filled = BucketState(BEFORE, 3)
    assert not is_emptied(filled, BucketState(BEFORE, 4))
    assert is_emptied(filled, BucketState(BEFORE, 0))
    assert is_emptied(filled, BucketState(BEFORE.replace(hour=13), 3))
    assert is_emptied(None, BucketState(BEFORE, 0))
    assert not is_emptied(None, filled)
    assert not is_emptied(BucketState(BEFORE, 0), BucketState(BEFORE, 0))


class EmptyDatabase:
    """A database that is empty until it is marked."""

    def __init__(self) -> None:
        self._marked: DatabaseState | None = None

    async def state(self) -> DatabaseState:
        return EMPTY

    async def saved_state(self) -> DatabaseState | None:
        return self._marked

    async def prepare(self) -> None:
        return

    async def save_state(self, state: DatabaseState) -> None:
        self._marked = state


async def test_readiness_names_what_is_lost_until_it_is_filled_again() -> None:
    begun, allowed = asyncio.Event(), asyncio.Event()

    class SlowRebuilder:
        async def all(self) -> Rebuilt:
            begun.set()
            await allowed.wait()
            return Rebuilt()

        async def publish_all(self) -> int:
            return 0

    class WholeBucket:
        async def state(self) -> BucketState:
            return BucketState(BEFORE, 1)

    watched = ReadModelMonitor(
        EmptyDatabase(), cast(ChatSummaryBucket, WholeBucket()), cast(Rebuilder, SlowRebuilder())
    )
    watched.start()
    await begun.wait()
    assert watched.problem() == "MongoDB lacks read models of this layout; filling it from the log"
    allowed.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while watched.problem() is not None:  # noqa: ASYNC110  it is asked, and sets no event
            await asyncio.sleep(0)
    await watched.stop()


# -- on real servers -------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_model_monitor, "INSPECTION_SECONDS", 0.1)
    monkeypatch.setattr("services.chassis.streams.monitor.CHECK_SECONDS", 0.1)
    monkeypatch.setattr(verifier, "LAG_SECONDS", 0.05)


async def is_whole(settings: Settings) -> bool:
    return await verify(None, None, settings) == 0


def trouble(probes: Probes) -> str:
    page = probes.page("/ready")
    assert page is not None
    return page[2].decode()


async def _empty(client: Client, database: str) -> None:
    for name in await client[database].list_collection_names():
        await client[database][name].delete_many({})


async def _drop_statistics(client: Client, database: str) -> None:
    for name in await client[database].list_collection_names():
        if name.startswith("workflow_stats_"):
            await client[database][name].drop()


async def _rewrite_in_older_layout(client: Client, database: str) -> None:
    found = client[database]
    older = {
        "$unset": {"turn_started_at": "", "last_artifact": ""},
        "$set": {"open_questions": ["q"]},
    }
    await found["chat_sessions"].update_many({}, older)
    await found["transcript_messages"].update_many({}, {"$unset": {"agent": "", "hidden": ""}})
    await found["persistence_state"].update_one({}, {"$set": {"layout": 2}})


Loss = Callable[[Client, str], Awaitable[Any]]
LOSSES: dict[str, Loss] = {
    "the database is dropped": lambda client, name: client.drop_database(name),
    "all collections are emptied": _empty,
    "the archive is dropped": lambda client, name: client[name]["event_archive"].drop(),
    "the sessions are emptied": lambda client, name: client[name]["chat_sessions"].delete_many({}),
    "the messages are dropped": lambda client, name: client[name]["transcript_messages"].drop(),
    "statistics are dropped": _drop_statistics,
    "read models are of an older layout": _rewrite_in_older_layout,
}


@pytest.mark.broker
@pytest.mark.mongo
@pytest.mark.parametrize("kind", LOSSES)
async def test_what_mongodb_loses_is_filled_again_while_new_events_are_kept(
    kind: str,
    gateway: JetStreamGateway,
    settings: Settings,
    mongo: MongoServer,
    mongo_store: MongoStore,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, inspecting = build_client(mongo.uri), asyncio.Lock()
    inspect = ReadModelMonitor._inspect_database

    async def inspect_in_turn(monitor: ReadModelMonitor) -> None:
        async with inspecting:
            await inspect(monitor)

    async def is_noticed() -> bool:
        return "MongoDB lacks data" in caplog.text

    monkeypatch.setattr(ReadModelMonitor, "_inspect_database", inspect_in_turn)
    async with running(settings):
        place = await append(gateway, decisions_of(interview())[:9])
        await append(gateway, decisions_of(hello(), NEW))
        await until(lambda: is_published(gateway, KEY, 9))
        await until(lambda: _is_noted(mongo_store))
        # What is emptied is not missed once new events have filled it: the loss comes at one moment.
        async with inspecting:
            await LOSSES[kind](client, settings.mongodb_database)
        await until(is_noticed)
        await append(gateway, decisions_of(interview())[9:], place)
        await until(lambda: is_whole(settings))
        await until(lambda: _marked(client, settings))
    indexes = await client[settings.mongodb_database]["chat_sessions"].index_information()
    assert "app_user_changed" in indexes
    await client.drop_database(settings.mongodb_database)
    await client.close()


async def _marked(client: Client, settings: Settings) -> bool:
    found = client[settings.mongodb_database]["persistence_state"]
    return await found.find_one() is not None


@pytest.mark.broker
@pytest.mark.mongo
@pytest.mark.parametrize("kind", LOSSES)
async def test_what_was_lost_while_persistence_was_down_is_filled_at_the_start(
    kind: str,
    gateway: JetStreamGateway,
    settings: Settings,
    mongo_store: MongoStore,
    mongo: MongoServer,
) -> None:
    async with running(settings):
        await append(gateway, decisions_of(interview()))
        await until(lambda: is_published(gateway, KEY, 18))
        await until(lambda: _is_noted(mongo_store))
    client = build_client(mongo.uri)
    await LOSSES[kind](client, settings.mongodb_database)
    await client.close()
    async with running(settings):
        await until(lambda: is_whole(settings))


async def _is_noted(store: MongoStore) -> bool:
    """Whether the monitor has looked at what is there by now."""
    return await store.saved_state() == await store.state()


@pytest.mark.broker
@pytest.mark.mongo
async def test_a_first_start_does_not_rebuild(
    gateway: JetStreamGateway,
    settings: Settings,
    mongo_store: MongoStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await append(gateway, decisions_of(interview()))
    async with running(settings):
        await until(lambda: is_published(gateway, KEY, 18))
        await asyncio.sleep(0.3)
    assert await mongo_store.saved_state() == await mongo_store.state()
    assert "MongoDB lacks data" not in caplog.text


@pytest.mark.broker
@pytest.mark.mongo
@pytest.mark.parametrize("how", ["deleted", "purged"])
async def test_deleted_chat_lists_are_recreated_and_filled(
    how: str, gateway: JetStreamGateway, settings: Settings, mongo_store: MongoStore
) -> None:
    del mongo_store
    stream = subjects.bucket_stream(subjects.CHATS)
    async with running(settings):
        place = await append(gateway, decisions_of(interview())[:9])
        await append(gateway, decisions_of(hello(), NEW))
        await until(lambda: is_published(gateway, KEY, 9))
        await until(lambda: is_published(gateway, NEW, 6))
        await asyncio.sleep(0.5)
        if how == "deleted":
            await gateway.js.delete_stream(stream)
        else:
            await gateway.js.purge_stream(stream)
        await append(gateway, decisions_of(interview())[9:], place)
        await until(lambda: is_published(gateway, NEW, 6))
        await until(lambda: is_published(gateway, KEY, 18))
    assert not await _buried(gateway)


@pytest.mark.broker
@pytest.mark.mongo
async def test_a_bucket_that_may_not_be_created_is_reported_and_filled_once_it_exists(
    gateway: JetStreamGateway, settings: Settings, mongo_store: MongoStore
) -> None:
    del mongo_store
    async with running(settings.model_copy(update={"ensure_streams": False})) as probes:
        await append(gateway, decisions_of(hello()))
        await until(lambda: is_published(gateway, KEY, 6))
        await gateway.js.delete_stream(subjects.bucket_stream(subjects.CHATS))

        async def named() -> bool:
            return "KV_chats" in trouble(probes)

        await until(named)
        await ensure_streams(gateway.nc, replicas=1)
        await until(lambda: is_published(gateway, KEY, 6))

        async def ready() -> bool:
            return '"ready": true' in trouble(probes)

        await until(ready)


@pytest.mark.broker
@pytest.mark.mongo
async def test_a_deleted_consumer_is_recreated_and_nothing_is_lost(
    gateway: JetStreamGateway, settings: Settings, mongo_store: MongoStore
) -> None:
    async with running(settings):
        place = await append(gateway, decisions_of(interview())[:9])
        await until(lambda: is_published(gateway, KEY, 9))
        await gateway.js.delete_consumer(subjects.EVENTS, DURABLE)
        with pytest.raises(NotFoundError):
            await gateway.js.consumer_info(subjects.EVENTS, DURABLE)
        await append(gateway, decisions_of(interview())[9:], place)
        await until(lambda: is_published(gateway, KEY, 18))
    assert (await mongo_store.sessions([KEY]))[KEY].status == "completed"
    assert not await _buried(gateway)


@pytest.mark.broker
@pytest.mark.mongo
async def test_a_mongodb_that_comes_back_empty_is_filled_again(
    gateway: JetStreamGateway, settings: Settings, tmp_path: Path
) -> None:
    own = MongoServer(tmp_path / "mongo")
    own.start()
    client = build_client(own.uri)
    mine = settings.model_copy(update={"mongodb_uri": own.uri})
    try:
        async with running(mine):
            await append(gateway, decisions_of(interview()))
            await until(lambda: is_published(gateway, KEY, 18))
            own.kill()
            own.start()
            await client.drop_database(mine.mongodb_database)
            await until(lambda: is_whole(mine))
    finally:
        await client.close()
        own.stop()


async def _buried(gateway: JetStreamGateway) -> bool:
    return bool((await gateway.js.stream_info(subjects.DEAD_LETTERS)).state.messages)
