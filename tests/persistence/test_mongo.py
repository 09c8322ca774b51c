"""What only MongoDB has: an age, an absence, and races between two writers."""

import asyncio
import json
import socket
from pathlib import Path

import pytest
from bson import Binary

from contracts.ids import AppId, ChatId, ChatKey, Seq, WorkflowName
from infra.servers import MongoServer
from services.persistence.mongo import (
    LAYOUT,
    MARKER,
    MongoStore,
    away,
    build_client,
    open_store,
    refuse_older,
    stats_name,
)
from services.persistence.projection import advance
from services.persistence.store import StoreAwayError, StoreUnfitError
from tests.persistence.story import KEY, altered, interview, kept, told

WRITES = 300
"""More than a mongod puts into its journal at once of its own accord: the last of them are at stake."""


def test_a_mongodb_that_is_too_old_is_refused_by_its_version() -> None:
    with pytest.raises(StoreUnfitError, match=r"MONGODB_URI: this is MongoDB 5\.0\.14"):
        refuse_older("5.0.14")


@pytest.mark.parametrize("version", ["6.0.5", "7.0.0", "8.2.1-rc0"])
def test_a_mongodb_from_6_0_on_is_taken(version: str) -> None:
    refuse_older(version)


def test_a_statistics_collection_has_a_legal_name_for_any_id() -> None:
    assert stats_name(AppId("acme_corp"), WorkflowName("Gen")) == "workflow_stats_acme_corp_Gen"
    assert "$" not in stats_name(AppId("$a b/ü"), WorkflowName("system."))


async def test_a_mongodb_that_does_not_answer_is_away_and_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        client = build_client(f"mongodb://127.0.0.1:{mute.getsockname()[1]}")
        with pytest.raises(StoreAwayError, match="MongoDB: ServerSelectionTimeoutError"):
            await open_store(client, "nowhere")
        assert away(client) == "MongoDB is away"
        await client.close()


@pytest.mark.mongo
async def test_of_many_writers_at_once_the_newest_wins(mongo_store: MongoStore) -> None:
    events = kept(told(interview()))
    changes = [advance(None, events[: n + 1]) for n in range(len(events))]
    await asyncio.gather(*(mongo_store.keep([made]) for made in changes if made is not None))
    assert (await mongo_store.sessions([KEY]))[KEY].last_seq == 18
    assert len(await mongo_store.messages(KEY)) == 4
    totals = await mongo_store.workflow_totals(KEY.app, WorkflowName("Generator"))
    assert (totals.chats, totals.agent_turns) == (1, 2)


@pytest.mark.mongo
async def test_chats_of_an_older_layout_are_refused_by_the_name_of_the_database(
    mongo: MongoServer, mongo_store: MongoStore, database: str
) -> None:
    made = advance(None, kept(told(interview())))
    assert made is not None
    await mongo_store.keep([made])
    client = build_client(mongo.uri)
    await client[database]["chat_sessions"].update_many({}, {"$unset": {"last_digest": ""}})
    with pytest.raises(StoreUnfitError, match=f"MONGODB_DATABASE: {database} holds .* drop this"):
        await open_store(client, database)
    await client.close()


@pytest.mark.mongo
async def test_an_archive_without_a_chain_is_refused_too(
    mongo: MongoServer, mongo_store: MongoStore, database: str
) -> None:
    await mongo_store.archive(kept(told(interview())))
    client = build_client(mongo.uri)
    old = {"event_id": "e", "seq": 2, **json.loads(altered(told(interview())[1], previous=None))}
    change = {"$set": {"raw": Binary(json.dumps(old).encode())}}
    await client[database]["chat_events"].update_one({"seq": 2}, change)
    with pytest.raises(StoreUnfitError, match="MONGODB_DATABASE"):
        await open_store(client, database)
    await client.close()


@pytest.mark.mongo
async def test_a_database_of_a_newer_release_is_refused(
    mongo: MongoServer, mongo_store: MongoStore, database: str
) -> None:
    await mongo_store.mark(await mongo_store.look())
    client = build_client(mongo.uri)
    await open_store(client, database)
    await client[database][MARKER].update_one({}, {"$set": {"layout": LAYOUT + 1}})
    with pytest.raises(
        StoreUnfitError, match=f"MONGODB_DATABASE: {database} is written by a newer"
    ):
        await open_store(client, database)
    await client.close()


@pytest.mark.mongo
async def test_a_damaged_session_is_none_and_the_next_event_replaces_it(
    mongo: MongoServer, mongo_store: MongoStore, database: str
) -> None:
    made = advance(None, kept(told(interview())))
    assert made is not None
    await mongo_store.keep([made])
    client = build_client(mongo.uri)
    damage = {"$set": {"status": 7}, "$unset": {"last_seq": ""}}
    await client[database]["chat_sessions"].update_one({}, damage)
    assert await mongo_store.sessions([KEY]) == {}
    assert [one async for one in mongo_store.all_sessions()] == []
    await mongo_store.keep([made])
    assert await mongo_store.sessions([KEY]) == {KEY: made.session}
    await client.close()


@pytest.mark.mongo
async def test_an_archived_event_whose_place_is_taken_is_rewritten(
    mongo: MongoServer, mongo_store: MongoStore, database: str
) -> None:
    events = kept(told(interview()))
    await mongo_store.archive(events)
    client = build_client(mongo.uri)
    collection = client[database]["chat_events"]
    taken = await collection.find_one({"seq": 3})
    assert taken is not None
    await collection.delete_one({"seq": 3})
    await collection.insert_one({**taken, "_id": "of nobody", "raw": Binary(b"{}")})
    await mongo_store.rewrite(events)
    found = [line.data async for line in mongo_store.archived(KEY, after=Seq(0))]
    assert found == [event.data for event in events]
    await client.close()


@pytest.mark.mongo
async def test_what_was_kept_outlasts_a_mongod_that_is_killed_in_the_same_moment(
    mongo: MongoServer, tmp_path: Path
) -> None:
    assert mongo.child.running
    chats = [ChatKey(KEY.app, ChatId(f"chat {number}")) for number in range(WRITES)]
    server = MongoServer(tmp_path / "mongodb")
    server.start()
    try:
        client = build_client(server.uri)
        store = await open_store(client, "killed")
        for key in chats:
            await store.archive(kept(told(interview(key)[:1], key)))
        server.kill()
        await client.close()
        server.start()
        client = build_client(server.uri)
        store = await open_store(client, "killed")
        assert {key async for key in store.archived_chats()} == set(chats)
        await client.close()
    finally:
        server.kill()
