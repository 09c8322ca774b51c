"""Queries for documents: what is allowed, what is found in memory and MongoDB alike, which value is returned."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Decimal128, ObjectId

from contracts.ids import AppId, ChatId
from contracts.lookups import DataRequested
from infra.servers import MongoServer
from services.persistence.store.document_query import (
    MAX_CONDITIONS,
    MAX_VALUE_BYTES,
    DocumentQuery,
    DocumentReader,
    QueryRejectedError,
    allowed_sources,
    build_query,
    select_value,
)
from services.persistence.store.memory import MemoryDocumentReader
from services.persistence.store.mongo.client import build_client
from services.persistence.store.mongo.document_reader import MongoDocumentReader

ACME = AppId("acme")
OURS = "MozaiksAI"

Put = Callable[..., Awaitable[None]]
Documents = tuple[DocumentReader, Put, str]


@pytest.fixture(params=["memory", pytest.param("mongo", marks=pytest.mark.mongo)])
async def documents(request: pytest.FixtureRequest, database: str) -> AsyncIterator[Documents]:
    """A reader, what puts documents into its collection `menus`, and the name of the database."""
    if request.param == "memory":
        reader = MemoryDocumentReader()

        async def remember(*added: dict[str, Any]) -> None:
            reader.documents.setdefault(f"{database}.menus", []).extend(added)

        yield reader, remember, database
        return
    server: MongoServer = request.getfixturevalue("mongo")
    client = build_client(server.uri)

    async def insert(*added: dict[str, Any]) -> None:
        for document in added:
            await client[database]["menus"].insert_one(dict(document))

    yield MongoDocumentReader(client), insert, database
    await client.drop_database(database)
    await client.close()


def query(database: str, *roots: str, app: AppId = ACME, **equal: Any) -> DocumentQuery:
    return DocumentQuery(app, database, "menus", equal, roots)


async def test_the_newest_document_whose_fields_are_equal_is_found(documents: Documents) -> None:
    reader, put, database = documents
    await put(
        {"app_id": "acme", "day": "monday", "soup": "old"},
        {"app_id": "acme", "day": "monday", "soup": "new"},
        {"app_id": "acme", "day": "tuesday", "soup": "other"},
    )
    found = await reader.newest(query(database, day="monday"))
    assert found is not None
    assert found["soup"] == "new"
    assert await reader.newest(query(database, day="sunday")) is None


async def test_an_app_finds_only_its_own_documents_whatever_it_asks_for(
    documents: Documents,
) -> None:
    reader, put, database = documents
    await put({"app_id": "other", "day": "monday", "soup": "secret"}, {"day": "monday"})
    assert await reader.newest(query(database, day="monday")) is None
    assert await reader.newest(query(database, app_id="other")) is None
    theirs = await reader.newest(query(database, app=AppId("other"), day="monday"))
    assert theirs is not None


async def test_fields_inside_of_documents_and_lists_are_compared(documents: Documents) -> None:
    reader, put, database = documents
    await put({"app_id": "acme", "chef": {"name": "Ann"}, "tags": ["hot", "new"], "n": 1})
    for equal in ({"chef.name": "Ann"}, {"tags": "hot"}, {"chef": {"name": "Ann"}}):
        assert await reader.newest(DocumentQuery(ACME, database, "menus", equal)) is not None, equal
    assert await reader.newest(DocumentQuery(ACME, database, "menus", {"chef.name": "Bob"})) is None


HOSTILE: list[Any] = [
    {"$gt": ""},
    {"$ne": None},
    {"$where": "sleep(1000) || true"},
    {"$regex": ".*"},
    {"$in": ["monday"]},
]


@pytest.mark.parametrize("value", HOSTILE, ids=json.dumps)
async def test_an_operator_in_a_value_is_data_that_nothing_equals(
    documents: Documents, value: Any
) -> None:
    reader, put, database = documents
    await put({"app_id": "acme", "day": "monday"})
    assert await reader.newest(query(database, day=value)) is None


async def test_only_the_wanted_fields_are_fetched(documents: Documents) -> None:
    reader, put, database = documents
    await put({"app_id": "acme", "soup": {"name": "leek", "price": 3}, "cake": "no"})
    found = await reader.newest(query(database, "soup"))
    assert found is not None
    assert {name for name in found if name != "_id"} == {"soup"}


@pytest.mark.mongo
async def test_what_mongodb_cannot_compare_is_rejected(mongo: MongoServer, database: str) -> None:
    client = build_client(mongo.uri)
    reader = MongoDocumentReader(client)
    deep: Any = "bottom"
    for _ in range(300):
        deep = {"a": deep}
    for odd in (query(database, n=2**70), query(database, n=deep), query("a b", n=1)):
        with pytest.raises(QueryRejectedError, match="MongoDB refuses this query"):
            await reader.newest(odd)
    await client.close()


# -- what is allowed ----------------------------------------------------------------------------


def request(database: str = "shop", collection: str = "menus", **more: Any) -> DataRequested:
    return DataRequested(
        request_id="r1",
        app_id=ACME,
        chat_id=ChatId("chat 1"),
        database=database,
        collection=collection,
        **more,
    )


ALLOWED = allowed_sources("shop, crm.customers,MozaiksAI , admin", OURS)


@pytest.mark.parametrize(
    ("database", "collection", "allowed"),
    [
        ("shop", "menus", True),
        ("crm", "customers", True),
        ("crm", "secrets", False),
        ("elsewhere", "menus", False),
        (OURS, "chat_events", False),
        ("admin", "users", False),
        ("shop", "system.users", False),
        ("", "", False),
    ],
)
def test_only_what_the_settings_name_is_read_and_never_our_own_database(
    database: str, collection: str, *, allowed: bool
) -> None:
    if allowed:
        assert build_query(request(database, collection), ALLOWED).app == ACME
        return
    with pytest.raises(QueryRejectedError, match="is not among DATA_REFERENCE_DATABASES"):
        build_query(request(database, collection), ALLOWED)


def test_without_a_setting_no_source_is_allowed() -> None:
    with pytest.raises(QueryRejectedError):
        build_query(request(), allowed_sources("", OURS))


@pytest.mark.parametrize("name", ["$where", "day.$gt", "", "a..b", "a\0b", "$or"])
def test_an_operator_is_not_a_field_name(name: str) -> None:
    with pytest.raises(QueryRejectedError, match="is not a field name"):
        build_query(request(query={name: 1}), ALLOWED)
    with pytest.raises(QueryRejectedError, match="is not a field name"):
        build_query(request(fields=[name]), ALLOWED)


def test_the_number_of_conditions_is_limited() -> None:
    many = {f"f{n}": n for n in range(MAX_CONDITIONS + 1)}
    with pytest.raises(QueryRejectedError, match="more than 50 conditions"):
        build_query(request(query=many), ALLOWED)


# -- the value ---------------------------------------------------------------------------------

DOCUMENT = {
    "_id": ObjectId("0123456789abcdef01234567"),
    "at": datetime(2026, 11, 25, tzinfo=UTC),
    "price": Decimal128("3.50"),
    "picture": b"\xff\x00",
    "odds": float("nan"),
    "chef": {"name": "Ann", "dishes": [{"name": "leek"}, {"name": "fish"}]},
}


def test_a_document_is_returned_as_json_values() -> None:
    value = select_value(DOCUMENT, [])
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert value["_id"] == "0123456789abcdef01234567"
    assert (value["price"], value["at"]) == ("3.50", "2026-11-25T00:00:00Z")


def test_one_field_is_its_value_and_several_are_an_object() -> None:
    assert select_value(DOCUMENT, ["chef.name"]) == "Ann"
    assert select_value(DOCUMENT, ["chef.dishes.name"]) == ["leek", "fish"]
    assert select_value(DOCUMENT, ["chef.name", "absent"]) == {"chef.name": "Ann", "absent": None}


def test_a_value_that_is_too_large_is_rejected() -> None:
    with pytest.raises(QueryRejectedError, match="at most 200000 are allowed"):
        select_value({"text": "x" * MAX_VALUE_BYTES}, ["text"])
