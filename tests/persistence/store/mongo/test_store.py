"""What only MongoDB has: an age, an absence, and races between two writers."""

import asyncio
import json
import socket
from pathlib import Path

import pytest
from bson import Binary

from contracts.ids import AppId, ChatId, ChatKey, WorkflowName
from infra.servers import MongoServer
from services.persistence.domain.projection import advance
from services.persistence.store.interface import StoreIncompatibleError, StoreUnavailableError
from services.persistence.store.mongo.client import build_client, why_unavailable
from services.persistence.store.mongo.compatibility import (
    LAYOUT,
    check_server_version,
)
from services.persistence.store.mongo.documents import PersistenceState, stats_collection_name
from services.persistence.store.mongo.store import MongoStore, open_store
from tests.persistence.story import KEY, altered, archived_events, decisions_of, interview

WRITES = 300
"""More than a mongod puts into its journal at once of its own accord: the last of them are at stake."""


def test_a_mongodb_that_is_too_old_is_rejected_by_its_version() -> None:
    with pytest.raises(StoreIncompatibleError, match=r"MONGODB_URI: this is MongoDB 5\.0\.14"):
        check_server_version("5.0.14")


@pytest.mark.parametrize("version", ["6.0.5", "7.0.0", "8.2.1-rc0"])
def test_a_mongodb_of_version_6_0_or_newer_is_accepted(version: str) -> None:
    check_server_version(version)


def test_a_statistics_collection_has_a_legal_name_for_any_id() -> None:
    assert (
        stats_collection_name(AppId("acme_corp"), WorkflowName("Gen"))
        == "workflow_stats_acme_corp_Gen"
    )
    assert "$" not in stats_collection_name(AppId("$a b/ü"), WorkflowName("system."))


async def test_a_mongodb_that_does_not_answer_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        client = build_client(f"mongodb://127.0.0.1:{mute.getsockname()[1]}")
        with pytest.raises(StoreUnavailableError, match="MongoDB: ServerSelectionTimeoutError"):
            await open_store(client, "nowhere")
        assert why_unavailable(client) == "MongoDB is unavailable"
        await client.close()


@pytest.mark.mongo
async def test_of_many_writers_at_once_the_newest_wins(mongo_store: MongoStore) -> None:
    events = archived_events(decisions_of(interview()))
    changes = [advance(None, events[: n + 1]) for n in range(len(events))]
    await asyncio.gather(*(mongo_store.save([made]) for made in changes if made is not None))
    assert (await mongo_store.sessions([KEY]))[KEY].last_seq == 18
    assert len(await mongo_store.messages(KEY)) == 4
    totals = await mongo_store.workflow_totals(KEY.app, WorkflowName("Generator"))
    assert (totals.chats, totals.totals.agent_turns) == ({"completed": 1}, 2)


@pytest.mark.mongo
async def test_chats_of_an_unreadable_layout_are_rejected_by_the_name_of_the_database(
    mongo: MongoServer, mongo_store: MongoStore, database: str
) -> None:
    made = advance(None, archived_events(decisions_of(interview())))
    assert made is not None
    await mongo_store.save([made])
    client = build_client(mongo.uri)
    await client[database]["chat_sessions"].update_many({}, {"$unset": {"last_digest": ""}})
    with pytest.raises(
        StoreIncompatibleError, match=f"MONGODB_DATABASE: {database} holds .* drop this"
    ):
        await open_store(client, database)
    await client.close()


@pytest.mark.mongo
async def test_an_archive_without_a_chain_is_rejected_too(
    mongo: MongoServer, mongo_store: MongoStore, database: str
) -> None:
    del mongo_store
    client = build_client(mongo.uri)
    old = {
        "event_id": "e",
        "seq": 2,
        **json.loads(altered(decisions_of(interview())[1], previous=None)),
    }
    await client[database]["chat_events"].insert_one(
        {"seq": 2, "raw": Binary(json.dumps(old).encode())}
    )
    with pytest.raises(StoreIncompatibleError, match="MONGODB_DATABASE"):
        await open_store(client, database)
    await client.close()


@pytest.mark.mongo
async def test_a_database_of_a_newer_release_is_rejected(
    mongo: MongoServer, mongo_store: MongoStore, database: str
) -> None:
    await mongo_store.save_state(await mongo_store.state())
    client = build_client(mongo.uri)
    await open_store(client, database)
    await client[database][PersistenceState.Settings.name].update_one(
        {}, {"$set": {"layout": LAYOUT + 1}}
    )
    with pytest.raises(
        StoreIncompatibleError, match=f"MONGODB_DATABASE: {database} is written by a newer"
    ):
        await open_store(client, database)
    await client.close()


@pytest.mark.mongo
async def test_a_damaged_session_is_none_and_the_next_event_replaces_it(
    mongo: MongoServer, mongo_store: MongoStore, database: str
) -> None:
    made = advance(None, archived_events(decisions_of(interview())))
    assert made is not None
    await mongo_store.save([made])
    client = build_client(mongo.uri)
    damage = {"$set": {"status": 7}, "$unset": {"last_seq": ""}}
    await client[database]["chat_sessions"].update_one({}, damage)
    assert await mongo_store.sessions([KEY]) == {}
    assert [one async for one in mongo_store.all_sessions()] == []
    await mongo_store.save([made])
    assert await mongo_store.sessions([KEY]) == {KEY: made.session}
    await client.close()


@pytest.mark.mongo
async def test_an_archived_event_is_repaired_if_another_document_has_its_place(
    mongo: MongoServer, mongo_store: MongoStore, database: str
) -> None:
    events = archived_events(decisions_of(interview()))
    await mongo_store.archive(events)
    client = build_client(mongo.uri)
    collection = client[database]["event_archive"]
    taken = await collection.find_one({"seq": 3})
    assert taken is not None
    await collection.delete_one({"seq": 3})
    await collection.insert_one({**taken, "_id": f"{taken['_id']}x", "raw": Binary(b"{}")})
    await mongo_store.repair_archive(events)
    found = [line.data async for line in mongo_store.archive_records(KEY)]
    assert found == [event.data for event in events]
    await client.close()


@pytest.mark.mongo
async def test_what_was_saved_survives_a_mongod_that_is_killed_at_once(
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
            await store.archive(archived_events(decisions_of(interview(key)[:1], key)))
        server.kill()
        await client.close()
        server.start()
        client = build_client(server.uri)
        store = await open_store(client, "killed")
        assert {key async for key in store.archived_chats()} == set(chats)
        await client.close()
    finally:
        server.kill()
