"""New collections are clustered and compressed; a server that refuses the options gets ordinary ones."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from infra.servers import MongoServer
from services.persistence.store.mongo import collections
from services.persistence.store.mongo.client import Client, build_client
from services.persistence.store.mongo.collections import OPTIONS, create_collections
from services.persistence.store.mongo.store import open_store

pytestmark = pytest.mark.mongo


@pytest.fixture
async def client(mongo: MongoServer, database: str) -> AsyncIterator[Client]:
    client = build_client(mongo.uri)
    yield client
    await client.drop_database(database)
    await client.close()


async def test_two_processes_that_open_a_database_at_once_create_its_collections(
    client: Client, database: str
) -> None:
    await asyncio.gather(*(open_store(client, database) for _ in range(2)))
    listed = await (await client[database].list_collections()).to_list()
    options = {one["name"]: one["options"] for one in listed}
    assert OPTIONS.keys() <= options.keys()
    for name in OPTIONS:
        found = await client[database].command("collStats", name)
        assert "block_compressor=zstd" in found["wiredTiger"]["creationString"]
    for name in ("event_archive", "transcript_messages"):
        assert options[name]["clusteredIndex"]["key"] == {"_id": 1}


async def test_collections_that_exist_stay_as_they_are(client: Client, database: str) -> None:
    await client[database].create_collection("event_archive")
    await open_store(client, database)
    found = await (await client[database].list_collections()).to_list()
    assert {one["name"]: one["options"] for one in found}["event_archive"] == {}


async def test_where_the_options_are_refused_ordinary_collections_are_created(
    client: Client, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: dict[str, Any] = {"storageEngine": {"another": {}}}
    monkeypatch.setattr(collections, "OPTIONS", {"event_archive": refused})
    await create_collections(client[database])
    assert await client[database].list_collection_names() == ["event_archive"]
    monkeypatch.setattr(collections, "OPTIONS", {"system.other": {}})
    with pytest.raises(OperationFailure):
        await create_collections(client[database])
