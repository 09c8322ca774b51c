"""Every query of the store on MongoDB: it names its app, and no plan scans a collection."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson.codec_options import CodecOptions, DatetimeConversion

from contracts.chat_pages import ChatCursor, ChatStart
from contracts.events.chat_list import ChatDeleted
from contracts.ids import AppId, ChatId, ChatKey, Seq, UserId, WorkflowName
from contracts.lookups import InboxCursor
from services.persistence.domain.projection import advance
from services.persistence.store.interface import ChatFilter, EffectPlace, StartedChats, TimeSpan
from services.persistence.store.mongo.store import MongoStore
from tests.persistence.query_watch import QueryWatch, filters, plans, violations
from tests.persistence.story import (
    ANN,
    KEY,
    archived_events,
    asked,
    charges,
    decisions_of,
    interview,
)

pytestmark = pytest.mark.mongo

ANY_TIME: CodecOptions[Any] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)
"""The bounds of an index may be before the first year and after the last."""
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
UNTIL = datetime(2030, 1, 1, tzinfo=UTC)
SPAN = TimeSpan(SINCE, UNTIL)
MINE = ChatFilter(KEY.app, ANN)
STARTED = StartedChats(KEY.app, ANN, WorkflowName("Generator"))
AFTER = ChatCursor(updated_at=UNTIL, chat_id=KEY.chat)
MIDDLE = ChatCursor(updated_at=SINCE + timedelta(minutes=60), chat_id=ChatId("chat 060"))
START = ChatStart(created_at=MIDDLE.updated_at, chat_id=MIDDLE.chat_id)
WAITING = InboxCursor(since=SINCE, chat_id=KEY.chat)
PLACE = EffectPlace(SINCE, "acme.c", Seq(1))
Query = Callable[[MongoStore], Awaitable[object]]


async def every(found: Any) -> list[Any]:
    return [one async for one in found]


QUERIES: dict[str, Query] = {
    "sessions": lambda store: store.sessions([KEY, ChatKey(KEY.app, ChatId("other"))]),
    "transcript": lambda store: store.messages(KEY),
    "transcript from an event": lambda store: every(store.messages_from(KEY, Seq(5))),
    "archive": lambda store: every(store.archive_records(KEY)),
    "archived value": lambda store: store.archived_value(KEY, "d" * 64),
    "what is not archived": lambda store: store.not_archived([KEY]),
    "statistics of a chat": lambda store: store.stats(KEY, WorkflowName("Generator")),
    "statistics of a workflow": lambda store: store.workflow_totals(
        KEY.app, WorkflowName("Generator")
    ),
    "inbox of a user": lambda store: store.waiting(KEY.app, ["user:ann"], None, 10),
    "next page of an inbox": lambda store: store.waiting(KEY.app, ["user:ann"], WAITING, 10),
    "inbox of an app": lambda store: store.waiting(KEY.app, None, None, 10),
    "effects of a chat": lambda store: store.chat_effect_starts(KEY, Seq(0), 10),
    "effects of turns": lambda store: store.effect_records(KEY, [1]),
    "effects of an app": lambda store: store.app_effect_starts(KEY.app, SPAN, None, 10),
    "next page of effects": lambda store: store.app_effect_starts(KEY.app, SPAN, PLACE, 10),
    "chats of a user": lambda store: store.chats(MINE, None, 10),
    "next page of chats": lambda store: store.chats(
        ChatFilter(KEY.app, ANN, "archived", ("running",), (WorkflowName("Generator"),)), AFTER, 10
    ),
    "words in messages": lambda store: store.newest_with_words(KEY, ["plants"], []),
    "ids of an app": lambda store: store.chat_ids(KEY.app, None, None, 10),
    "ids of a user": lambda store: store.chat_ids(KEY.app, ANN, KEY.chat, 10),
    "chats to erase": lambda store: store.not_erased(KEY.app, ANN, None, 10),
    "all chats of an app": lambda store: store.not_erased(KEY.app, None, KEY.chat, 10),
    "chats in the order of their starts": lambda store: store.started(STARTED, 10),
    "next page of started chats": lambda store: store.started(
        replace(STARTED, before=ChatStart(created_at=UNTIL, chat_id=KEY.chat)), 10
    ),
    "number of a chat": lambda store: store.count_started(STARTED),
    "forks": lambda store: store.forks_of(KEY, None, 10),
    "next page of forks": lambda store: store.forks_of(KEY, KEY.chat, 10),
    "what is due for erasure": lambda store: store.erasable(UNTIL, 10),
}


@pytest.fixture
async def filled(mongo_store: MongoStore) -> MongoStore:
    for number in range(3):
        key = ChatKey(KEY.app, ChatId(f"chat {number}"))
        for events in (interview(key), [*charges(2, key), asked(key)]):
            told = [*events, ChatDeleted(user_id=ANN, grace_seconds=1)] if number == 2 else events
            archived = archived_events(decisions_of(told, key))
            update = advance(None, archived)
            assert update is not None
            await mongo_store.project(archived, [update])
            await mongo_store.replace(update)
            await mongo_store.repair_archive(archived)
    return mongo_store


async def test_no_query_of_the_product_scans_a_collection(
    filled: MongoStore, query_watch: QueryWatch
) -> None:
    scanned: list[str] = []
    for name, ask in QUERIES.items():
        query_watch.clear()
        await ask(filled)
        asked_of = [one for one in query_watch.commands if {"find", "aggregate"} & one.keys()]
        assert asked_of, name
        for command in asked_of:
            told = {k: v for k, v in command.items() if not k.startswith(("$", "lsid", "txn"))}
            if "aggregate" in told:
                told["cursor"] = {}
            explained = await filled._database.command(
                {"explain": told, "verbosity": "queryPlanner"}
            )
            if "COLLSCAN" in plans(explained):
                scanned.append(f"{name}: {told}")
    assert scanned == []


PAGES: dict[str, Query] = {
    "chats of a user": lambda store: store.chats(MINE, None, 10),
    "next page of chats": lambda store: store.chats(MINE, MIDDLE, 10),
    "archived chats": lambda store: store.chats(replace(MINE, place="archived"), None, 10),
    "deleted chats": lambda store: store.chats(replace(MINE, place="deleted"), None, 10),
    "chats of a rare workflow": lambda store: store.chats(
        replace(MINE, workflows=(WorkflowName("Rare"),)), None, 10
    ),
    "chats in the order of their starts": lambda store: store.started(STARTED, 10),
    "next page of started chats": lambda store: store.started(replace(STARTED, before=START), 10),
    "ids of an app": lambda store: store.chat_ids(KEY.app, None, ChatId("chat 050"), 10),
    "ids of a user": lambda store: store.chat_ids(KEY.app, ANN, ChatId("chat 050"), 10),
    "chats of a user to erase": lambda store: store.not_erased(KEY.app, ANN, None, 10),
    "chats of an app to erase": lambda store: store.not_erased(KEY.app, None, None, 10),
}
"""Pages of lists that grow with the chats of a user or an app."""


async def fetched(store: MongoStore, query_watch: QueryWatch) -> int:
    """How many documents the queries that were watched fetch, by their plans."""
    asked = [one for one in query_watch.commands if {"find", "aggregate"} & one.keys()]
    assert asked
    count = 0
    for command in asked:
        told = {k: v for k, v in command.items() if not k.startswith(("$", "lsid", "txn"))}
        explained = await store._database.command(
            {"explain": told, "verbosity": "executionStats"}, codec_options=ANY_TIME
        )
        count += max(documents_examined(explained))
    return count


def documents_examined(explained: Any) -> Iterator[int]:
    """What each part of an explained plan says of it."""
    match explained:
        case dict():
            for name, value in explained.items():
                if name in ("totalDocsExamined", "docsExamined"):
                    yield value
                yield from documents_examined(value)
        case list():
            for value in explained:
                yield from documents_examined(value)
        case _:
            pass


async def test_a_page_of_a_list_fetches_no_more_chats_than_it_has(
    mongo_store: MongoStore, query_watch: QueryWatch
) -> None:
    """Out of 120 chats, of which half are archived, a few deleted and one is of a rare workflow."""
    first = advance(None, archived_events(decisions_of(interview(KEY), KEY)))
    assert first is not None
    stored = [
        replace(
            first.session,
            chat_id=ChatId(f"chat {number:03}"),
            created_at=SINCE + timedelta(minutes=number),
            last_updated_at=SINCE + timedelta(minutes=number),
            is_archived=number % 2 == 0,
            deleted_at=SINCE if number % 30 == 1 else None,
            workflow_name=WorkflowName("Rare" if number == 77 else "Generator"),
        )
        for number in range(120)
    ]
    await mongo_store.save([replace(first, session=one, messages=()) for one in stored])
    for name, ask in PAGES.items():
        query_watch.clear()
        found = await ask(mongo_store)
        assert isinstance(found, list)
        assert 0 < len(found) <= 10, name
        # The one at which the page before ended may be read again.
        assert await fetched(mongo_store, query_watch) - len(found) in (0, 1), name
    for counted, count in ((STARTED, 119), (replace(STARTED, before=START), 60)):
        query_watch.clear()
        assert await mongo_store.count_started(counted) == count
        assert await fetched(mongo_store, query_watch) == 0


async def test_every_write_names_its_app_and_every_upsert_the_shard_key(
    filled: MongoStore, query_watch: QueryWatch
) -> None:
    writes = {name for one in query_watch.commands for name in ("insert", "update") if name in one}
    assert writes == {"insert", "update"}
    documents = [
        document
        for one in query_watch.commands
        if "insert" in one
        for document in one.get("documents", ())
    ]
    assert all("app_id" in one and "chat_id" in one for one in documents)
    assert query_watch.violations == []
    assert filled is not None


def test_a_query_without_an_app_is_found() -> None:
    told = {"find": "chat_sessions", "filter": {"user_id": UserId("ann")}}
    assert list(violations("find", told))
    assert not list(
        violations("find", {**told, "filter": {"app_id": AppId("a"), "user_id": "ann"}})
    )
    update = {"q": {"_id": "x", "app_id": "a"}, "u": [], "upsert": True}
    assert "shard key" in next(
        violations("update", {"update": "chat_sessions", "updates": [update]})
    )
    deleted = {"delete": "chat_sessions", "deletes": [{"q": {"_id": "x"}}]}
    assert list(violations("delete", deleted))
    totals = {"aggregate": "workflow_stats_a_b", "pipeline": [{"$group": {"_id": None}}]}
    assert list(violations("aggregate", totals))
    assert filters("ping", {"ping": 1}) == []
