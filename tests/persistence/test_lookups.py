"""What workflows may ask of data elsewhere, and what they are told: memory and MongoDB alike."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Decimal128, ObjectId
from nats.aio.msg import Msg

from contracts import subjects
from contracts.ids import AppId, ChatId, ChatKey
from contracts.lookups import DataFound, DataRequested
from infra.servers import MongoServer
from services.chassis.listening import Delivery, UnworkableError
from services.persistence.lookups import (
    MAX_CONDITIONS,
    MAX_VALUE_BYTES,
    Answers,
    Asked,
    Finder,
    UnaskableError,
    allowed_places,
    judged,
    told,
)
from services.persistence.memory import MemoryFinder
from services.persistence.mongo import MongoFinder, build_client

ACME = AppId("acme")
OURS = "MozaiksAI"

Put = Callable[..., Awaitable[None]]
Kept = tuple[Finder, Put, str]


@pytest.fixture(params=["memory", pytest.param("mongo", marks=pytest.mark.mongo)])
async def kept(request: pytest.FixtureRequest, database: str) -> AsyncIterator[Kept]:
    """A finder, what puts documents into its collection `menus`, and the name of the database."""
    if request.param == "memory":
        finder = MemoryFinder()

        async def remember(*documents: dict[str, Any]) -> None:
            finder.documents.setdefault(f"{database}.menus", []).extend(documents)

        yield finder, remember, database
        return
    server: MongoServer = request.getfixturevalue("mongo")
    client = build_client(server.uri)

    async def insert(*documents: dict[str, Any]) -> None:
        for document in documents:
            await client[database]["menus"].insert_one(dict(document))

    yield MongoFinder(client), insert, database
    await client.drop_database(database)
    await client.close()


def asked(database: str, *roots: str, app: AppId = ACME, **equal: Any) -> Asked:
    return Asked(app, database, "menus", equal, roots)


async def test_the_newest_document_whose_fields_are_equal_is_found(kept: Kept) -> None:
    finder, put, database = kept
    await put(
        {"app_id": "acme", "day": "monday", "soup": "old"},
        {"app_id": "acme", "day": "monday", "soup": "new"},
        {"app_id": "acme", "day": "tuesday", "soup": "other"},
    )
    found = await finder.newest(asked(database, day="monday"))
    assert found is not None
    assert found["soup"] == "new"
    assert await finder.newest(asked(database, day="sunday")) is None


async def test_an_apps_documents_are_its_own_whatever_it_asks(kept: Kept) -> None:
    finder, put, database = kept
    await put({"app_id": "other", "day": "monday", "soup": "secret"}, {"day": "monday"})
    assert await finder.newest(asked(database, day="monday")) is None
    assert await finder.newest(asked(database, app_id="other")) is None
    theirs = await finder.newest(asked(database, app=AppId("other"), day="monday"))
    assert theirs is not None


async def test_fields_inside_of_documents_and_lists_are_compared(kept: Kept) -> None:
    finder, put, database = kept
    await put({"app_id": "acme", "chef": {"name": "Ann"}, "tags": ["hot", "new"], "n": 1})
    for equal in ({"chef.name": "Ann"}, {"tags": "hot"}, {"chef": {"name": "Ann"}}):
        assert await finder.newest(Asked(ACME, database, "menus", equal)) is not None, equal
    assert await finder.newest(Asked(ACME, database, "menus", {"chef.name": "Bob"})) is None


HOSTILE: list[Any] = [
    {"$gt": ""},
    {"$ne": None},
    {"$where": "sleep(1000) || true"},
    {"$regex": ".*"},
    {"$in": ["monday"]},
]


@pytest.mark.parametrize("value", HOSTILE, ids=json.dumps)
async def test_an_operator_in_a_value_is_data_that_nothing_equals(kept: Kept, value: Any) -> None:
    finder, put, database = kept
    await put({"app_id": "acme", "day": "monday"})
    assert await finder.newest(asked(database, day=value)) is None


async def test_only_the_wanted_fields_are_fetched(kept: Kept) -> None:
    finder, put, database = kept
    await put({"app_id": "acme", "soup": {"name": "leek", "price": 3}, "cake": "no"})
    found = await finder.newest(asked(database, "soup"))
    assert found is not None
    assert {name for name in found if name != "_id"} == {"soup"}


@pytest.mark.mongo
async def test_what_mongodb_cannot_compare_is_refused_and_no_fault(
    mongo: MongoServer, database: str
) -> None:
    client = build_client(mongo.uri)
    finder = MongoFinder(client)
    deep: Any = "bottom"
    for _ in range(300):
        deep = {"a": deep}
    for odd in (asked(database, n=2**70), asked(database, n=deep), asked("a b", n=1)):
        with pytest.raises(UnaskableError, match="MongoDB does not take this question"):
            await finder.newest(odd)
    await client.close()


# -- what may be asked ----------------------------------------------------------------------------


def question(database: str = "shop", collection: str = "menus", **more: Any) -> DataRequested:
    return DataRequested(
        request_id="r1",
        app_id=ACME,
        chat_id=ChatId("chat 1"),
        database=database,
        collection=collection,
        **more,
    )


PLACES = allowed_places("shop, crm.customers,MozaiksAI , admin", OURS)


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
def test_only_what_the_settings_name_is_asked_and_never_our_own(
    database: str, collection: str, *, allowed: bool
) -> None:
    if allowed:
        assert judged(question(database, collection), PLACES).app == ACME
        return
    with pytest.raises(UnaskableError, match="is not among DATA_REFERENCE_DATABASES"):
        judged(question(database, collection), PLACES)


def test_with_no_settings_nothing_may_be_asked() -> None:
    with pytest.raises(UnaskableError):
        judged(question(), allowed_places("", OURS))


@pytest.mark.parametrize("name", ["$where", "day.$gt", "", "a..b", "a\0b", "$or"])
def test_an_operator_is_no_field(name: str) -> None:
    with pytest.raises(UnaskableError, match="is no field"):
        judged(question(query={name: 1}), PLACES)
    with pytest.raises(UnaskableError, match="is no field"):
        judged(question(fields=[name]), PLACES)


def test_conditions_have_a_bound() -> None:
    many = {f"f{n}": n for n in range(MAX_CONDITIONS + 1)}
    with pytest.raises(UnaskableError, match="more than 50 conditions"):
        judged(question(query=many), PLACES)


# -- what is told ---------------------------------------------------------------------------------

DOCUMENT = {
    "_id": ObjectId("0123456789abcdef01234567"),
    "at": datetime(2026, 11, 25, tzinfo=UTC),
    "price": Decimal128("3.50"),
    "picture": b"\xff\x00",
    "odds": float("nan"),
    "chef": {"name": "Ann", "dishes": [{"name": "leek"}, {"name": "fish"}]},
}


def test_a_document_is_told_as_json_has_it() -> None:
    value = told(DOCUMENT, [])
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert value["_id"] == "0123456789abcdef01234567"
    assert (value["price"], value["at"]) == ("3.50", "2026-11-25T00:00:00Z")


def test_one_field_is_its_value_and_several_are_an_object() -> None:
    assert told(DOCUMENT, ["chef.name"]) == "Ann"
    assert told(DOCUMENT, ["chef.dishes.name"]) == ["leek", "fish"]
    assert told(DOCUMENT, ["chef.name", "absent"]) == {"chef.name": "Ann", "absent": None}


def test_a_value_that_is_too_large_is_not_told() -> None:
    with pytest.raises(UnaskableError, match="200000 are taken"):
        told({"text": "x" * MAX_VALUE_BYTES}, ["text"])


# -- the queue ------------------------------------------------------------------------------------


class Desk:
    """Answers over a memory, and what was answered."""

    def __init__(self, *documents: dict[str, Any]) -> None:
        finder = MemoryFinder()
        finder.documents["shop.menus"] = list(documents)
        self.told: list[tuple[ChatKey, DataFound]] = []
        self.answers = Answers(finder, PLACES, self._tell)

    async def _tell(self, key: ChatKey, found: DataFound) -> None:
        self.told.append((key, found))


def delivered(data: bytes, subject: str) -> Delivery:
    message: Any = Msg(_client=None, subject=subject, data=data)  # type: ignore[arg-type]
    return Delivery(message, attempt=1, sequence=1)


def delivery(asked: DataRequested) -> Delivery:
    subject = subjects.lookup(asked.key, asked.request_id)
    return delivered(asked.model_dump_json().encode(), subject)


async def test_every_question_is_answered_found_or_not_or_refused() -> None:
    desk = Desk({"app_id": "acme", "soup": "leek"})
    for one in (
        question(fields=["soup"]),
        question(query={"soup": "fish"}),
        question("elsewhere"),
    ):
        await desk.answers.on_question(delivery(one))
    assert [found for _, found in desk.told] == [
        DataFound(request_id="r1", found=True, value="leek"),
        DataFound(request_id="r1"),
        DataFound(request_id="r1", problem="elsewhere.menus is not among DATA_REFERENCE_DATABASES"),
    ]
    assert {key for key, _ in desk.told} == {ChatKey(ACME, ChatId("chat 1"))}


async def test_a_question_in_another_chats_name_is_buried() -> None:
    desk = Desk()
    forged = subjects.lookup(ChatKey(AppId("other"), ChatId("chat 1")), "r1")
    with pytest.raises(UnworkableError, match="is not what its subject says"):
        await desk.answers.on_question(delivered(question().model_dump_json().encode(), forged))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"request_id": 1}'])
async def test_what_is_no_question_is_buried_and_nobody_waits(data: bytes) -> None:
    desk = Desk()
    with pytest.raises(UnworkableError, match="no question"):
        await desk.answers.on_question(delivered(data, "mozaiks.lookup.acme.chat.r1"))
    await desk.answers.on_given_up(delivered(data, "mozaiks.lookup.acme.chat.r1"), "no question")
    assert desk.told == []


async def test_who_asked_in_vain_is_told() -> None:
    desk = Desk()
    await desk.answers.on_given_up(delivery(question()), "given up after 3 tries")
    assert desk.told[0][1].problem == "it could not be asked"
