"""A database of layout 3 is moved to layout 4 without a loss, once or interrupted and again."""

from collections.abc import AsyncIterator

import pytest

from contracts.envelope import event_id
from contracts.ids import AppId, ChatId, ChatKey
from infra.servers import MongoServer
from services.persistence.domain.projection import advance
from services.persistence.store.interface import (
    ArchivedEvent,
    ProjectionUpdate,
    StoreIncompatibleError,
)
from services.persistence.store.mongo.client import Client, Record, build_client
from services.persistence.store.mongo.documents import message_record, session_record
from services.persistence.store.mongo.migration import move_older_documents
from services.persistence.store.mongo.store import open_store
from tests import logs
from tests.persistence.story import KEY, interview

pytestmark = pytest.mark.mongo
OTHER = ChatKey(AppId("other.corp"), ChatId("chat 2"))


def events_of(key: ChatKey) -> list[ArchivedEvent]:
    """An interview whose first three events are one message."""
    events = interview(key)
    decisions = logs.decisions([events[:3], *events[3:]], key)
    return [
        ArchivedEvent(one, message.position)
        for decision, message in zip(decisions, logs.messages(decisions), strict=True)
        for one in decision.events
    ]


EVENTS = {key: events_of(key) for key in (KEY, OTHER)}


def update_of(key: ChatKey) -> ProjectionUpdate:
    made = advance(None, EVENTS[key])
    assert made is not None
    return made


def event_of_layout_3(one: ArchivedEvent) -> Record:
    envelope = one.envelope
    return {
        "_id": event_id(envelope.key, envelope.seq),
        "app_id": envelope.app_id,
        "chat_id": envelope.chat_id,
        "seq": envelope.seq,
        "type": envelope.type,
        "version": envelope.version,
        "category": envelope.category,
        "workflow_name": envelope.workflow_name,
        "time": envelope.time,
        "position": one.position,
        "raw": one.data,
    }


@pytest.fixture
async def client(mongo: MongoServer, database: str) -> AsyncIterator[Client]:
    """A client of a server that has a database of layout 3."""
    client = build_client(mongo.uri)
    old = client[database]
    for key, events in EVENTS.items():
        made = update_of(key)
        await old["chat_events"].insert_many([event_of_layout_3(one) for one in events])
        messages = [message_record(one) for one in made.messages]
        await old["chat_messages"].insert_many(
            [{**one, "_id": event_id(key, one["seq"])} for one in messages]
        )
        await old["chat_sessions"].insert_one(session_record(made.session))
    await old["chat_sessions"].create_index(
        [("app_id", 1), ("chat_id", 1)], name="app_chat", unique=True
    )
    ids = dict.fromkeys(("chat_events", "chat_messages", "chat_sessions"), "old")
    await old["persistence_state"].insert_one(
        {"_id": "layout", "layout": 3, "collections": ids, "filled": sorted(ids)}
    )
    yield client
    await client.drop_database(database)
    await client.close()


async def check_moved(client: Client, database: str) -> None:
    store = await open_store(client, database)
    for key, events in EVENTS.items():
        records = [(one.seq, one.position, one.data) async for one in store.archive_records(key)]
        assert records == [(one.envelope.seq, one.position, one.data) for one in events]
        assert await store.messages(key) == list(update_of(key).messages)
        assert await store.sessions([key]) == {key: update_of(key).session}
    assert [key async for key in store.archived_chats()] == sorted(EVENTS)
    documents = await client[database]["event_archive"].count_documents({})
    assert documents == 2 * 16  # a document for each message
    names = await client[database].list_collection_names()
    assert not {"chat_events", "chat_messages"} & set(names)
    assert "app_chat" not in await client[database]["chat_sessions"].index_information()


async def test_documents_of_layout_3_are_moved_when_the_database_is_opened(
    client: Client, database: str
) -> None:
    await check_moved(client, database)


async def test_a_move_that_was_interrupted_is_completed(client: Client, database: str) -> None:
    events = [event_of_layout_3(one) for one in EVENTS[KEY]]
    messages = [message_record(one) for one in update_of(KEY).messages]
    await move_older_documents(client[database])
    await client[database]["chat_events"].insert_many(events)
    await client[database]["chat_messages"].insert_many(
        [{**one, "_id": event_id(KEY, one["seq"])} for one in messages]
    )
    await client[database]["event_archive"].delete_many({"app_id": KEY.app, "seq": {"$gt": 4}})
    await client[database]["transcript_messages"].delete_many({"app_id": KEY.app})
    await check_moved(client, database)


async def test_a_moved_database_is_not_filled_again_from_the_log(
    client: Client, database: str
) -> None:
    store = await open_store(client, database)
    saved, found = await store.saved_state(), await store.state()
    assert saved is not None
    assert saved.filled == found.filled
    for name in ("event_archive", "transcript_messages"):
        assert saved.collections[name] == found.collections[name]


async def test_the_documents_of_layout_2_are_moved_and_filled_again(
    client: Client, database: str
) -> None:
    await client[database]["persistence_state"].update_one({}, {"$set": {"layout": 2}})
    store = await open_store(client, database)
    assert [key async for key in store.archived_chats()] == sorted(EVENTS)
    assert await store.saved_state() is None


async def test_a_damaged_document_is_left_out(client: Client, database: str) -> None:
    await client[database]["chat_events"].insert_one({"_id": "x", "app_id": 7, "raw": b"x"})
    await client[database]["chat_messages"].insert_one({"_id": "x", "seq": "first"})
    await check_moved(client, database)


async def test_a_command_that_changes_nothing_names_what_has_to_be_moved_first(
    client: Client, database: str
) -> None:
    with pytest.raises(StoreIncompatibleError, match=f"{database} holds collections of an older"):
        await open_store(client, database, reads_only=True)
