"""The store on MongoDB: Beanie says what the collections are, PyMongo writes them in bulk.

Nothing here is newer than MongoDB 6.0 offers, and every query names its tenant.
"""

import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, TypeVar

from beanie import Document, init_beanie
from bson import Binary
from bson.errors import BSONError
from pydantic import TypeAdapter, ValidationError
from pymongo import ASCENDING, DESCENDING, AsyncMongoClient, IndexModel, ReplaceOne, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    InvalidName,
    OperationFailure,
    PyMongoError,
)

from contracts.codec import UnreadableMessageError, describe
from contracts.envelope import event_id
from contracts.event_log import read_event
from contracts.ids import AppId, ChatId, ChatKey, Seq, StreamSeq, WorkflowName
from contracts.subjects import token
from services.persistence.lookups import Asked, UnaskableError
from services.persistence.store import (
    PAGE,
    Archived,
    Change,
    ChatStats,
    Line,
    Look,
    Message,
    Session,
    StoreAwayError,
    StoreUnfitError,
    WorkflowTotals,
)

log = logging.getLogger(__name__)

OLDEST = (6, 0)
AWAY_MILLISECONDS = 2000
"""How long a server may be unreachable before an operation gives up."""
SLOW_MILLISECONDS = 20_000
"""How long one operation may take on a server that answers."""

LAYOUT = 2
"""Of the documents: since 2 events form a chain. 1 had no marker."""
MARKER = "persistence_state"
"""A collection of one document: where it is missing, somebody has emptied the database."""
_MARKED = "layout"

_DUPLICATE = 11000
_STATS = "workflow_stats_"
_SESSION: TypeAdapter[Session] = TypeAdapter(Session)
_STATS_OF_CHAT: TypeAdapter[ChatStats] = TypeAdapter(ChatStats)
T = TypeVar("T")

Record = dict[str, Any]
Client = AsyncMongoClient[Record]


class ChatEvent(Document):
    """The archive. `raw` is the event's line of its message, byte for byte; the rest only finds it."""

    id: str  # type: ignore[assignment]  # the event's own id, not one that MongoDB made up
    app_id: str
    chat_id: str
    seq: int
    type: str
    version: int
    category: str
    workflow_name: str
    time: datetime
    position: int
    raw: bytes

    class Settings:
        name = "chat_events"
        indexes = (
            IndexModel(
                [("app_id", ASCENDING), ("chat_id", ASCENDING), ("seq", ASCENDING)],
                name="app_chat_seq",
                unique=True,
            ),
        )


class ChatSession(Document):
    """What sessions are found by; the rest of a document is the fields of `store.Session`."""

    id: str  # type: ignore[assignment]
    app_id: str
    chat_id: str
    user_id: str | None
    workflow_name: str
    status: str
    created_at: datetime
    last_updated_at: datetime
    last_seq: int

    class Settings:
        name = "chat_sessions"
        indexes = (
            IndexModel(
                [("app_id", ASCENDING), ("chat_id", ASCENDING)], name="app_chat", unique=True
            ),
            IndexModel(
                [("app_id", ASCENDING), ("user_id", ASCENDING), ("last_updated_at", DESCENDING)],
                name="app_user_updated",
            ),
            IndexModel(
                [("app_id", ASCENDING), ("workflow_name", ASCENDING), ("created_at", DESCENDING)],
                name="app_workflow_created",
            ),
        )


class ChatMessage(Document):
    """What messages are found by; the rest of a document is the fields of `store.Message`."""

    id: str  # type: ignore[assignment]
    app_id: str
    chat_id: str
    seq: int

    class Settings:
        name = "chat_messages"
        indexes = (
            IndexModel(
                [("app_id", ASCENDING), ("chat_id", ASCENDING), ("seq", ASCENDING)],
                name="app_chat_seq",
                unique=True,
            ),
        )


_COLLECTIONS = tuple(one.Settings.name for one in (ChatEvent, ChatSession, ChatMessage))


def build_client(uri: str, **options: Any) -> Client:
    """A client that gives up on a server that is away soon, and notices its return as soon.

    A write is done when it is in the journal: what we acknowledge to the log must outlast a mongod
    that is killed, which by default takes the last tenth of a second with it. `options` are the
    driver's own.
    """
    return AsyncMongoClient(
        uri,
        **options,
        tz_aware=True,
        appname="mozaiks-persistence",
        journal=True,
        serverSelectionTimeoutMS=AWAY_MILLISECONDS,
        connectTimeoutMS=AWAY_MILLISECONDS,
        heartbeatFrequencyMS=AWAY_MILLISECONDS,
        socketTimeoutMS=SLOW_MILLISECONDS,
    )


def away(client: Client) -> str | None:
    """Whether the driver's own monitor last saw a server to write to: asks nobody."""
    return None if client.topology_description.has_writable_server() else "MongoDB is away"


async def open_store(client: Client, database: str, *, reads_only: bool = False) -> "MongoStore":
    """The store, its indexes in place unless it `reads_only`.

    Raises StoreAwayError, StoreUnfitError.
    """
    with _reaching_mongo():
        build = await client.server_info()
        refuse_older(build["version"])
        await _refuse_older_layout(client[database])
    store = MongoStore(client[database])
    if not reads_only:
        await store.prepare()
    return store


async def _refuse_older_layout(database: AsyncDatabase[Record]) -> None:
    """Raises StoreUnfitError. One document of a kind tells: nobody writes beside older ones."""
    marker = await database[MARKER].find_one({"_id": _MARKED})
    if marker is not None:
        if marker["layout"] > LAYOUT:
            raise StoreUnfitError(
                f"MONGODB_DATABASE: {database.name} is written by a newer release (layout"
                f" {marker['layout']}, this one writes {LAYOUT}); start that release, or name"
                " another database"
            )
        return
    session = await database[ChatSession.Settings.name].find_one()
    event = await database[ChatEvent.Settings.name].find_one({"seq": {"$gt": 1}})
    if (session and "last_digest" not in session) or (event and not _is_chained(event["raw"])):
        raise StoreUnfitError(
            f"MONGODB_DATABASE: {database.name} holds chats in the layout of an older release, which"
            " this one cannot read; name another database, or drop this one"
        )


def _is_chained(raw: bytes) -> bool:
    try:
        return read_event(raw).envelope.previous is not None
    except UnreadableMessageError:  # damage, which says nothing of the layout
        return True


def refuse_older(version: str) -> None:
    """Raises StoreUnfitError for a MongoDB that lacks what is used here."""
    major, minor = (int(part) for part in version.split(".")[:2])
    if (major, minor) < OLDEST:
        raise StoreUnfitError(
            f"MONGODB_URI: this is MongoDB {version}; persistence needs 6.0 or newer"
        )


class MongoStore:
    """Sessions and statistics are replaced by newer ones only; events and messages never."""

    def __init__(self, database: AsyncDatabase[Record]) -> None:
        # Not by the document classes: those belong to whichever store was opened last.
        self._database = database
        self._events = database[ChatEvent.Settings.name]
        self._sessions = database[ChatSession.Settings.name]
        self._messages = database[ChatMessage.Settings.name]

    async def archive(self, events: Sequence[Archived]) -> None:
        writes = [_insert(_event_record(event)) for event in events]
        await _refused(self._events, writes)

    async def keep(self, changes: Sequence[Change]) -> None:
        # Messages first: a session at n promises what was said up to n.
        said = [_insert(_message_record(m)) for change in changes for m in change.messages]
        await _refused(self._messages, said)
        sessions = [change.session for change in changes]
        await _supersede(self._sessions, sessions)
        counted: defaultdict[str, list[ChatStats]] = defaultdict(list)
        for change in changes:
            stats = change.stats
            counted[stats_name(stats.app_id, stats.workflow_name)].append(stats)
        for name, rows in counted.items():
            await _supersede(self._database[name], rows)

    async def rewrite(self, events: Sequence[Archived]) -> None:
        records = [_event_record(event) for event in events]
        refused = await _refused(self._events, [_put(record) for record in records])
        for record in (records[i] for i in refused):  # its place is taken by a document of no event
            place = {name: record[name] for name in ("app_id", "chat_id", "seq")}
            with _reaching_mongo():
                await self._events.delete_many({**place, "_id": {"$ne": record["_id"]}})
        await _refused(self._events, [_put(records[i]) for i in refused])

    async def replace(self, whole: Change) -> None:
        key, reached = whole.session.key, whole.session.last_seq
        await _refused(self._messages, [_put(_message_record(m)) for m in whole.messages])
        await _refused(self._sessions, [_replacement(whole.session, whole=True)])
        stats = whole.stats
        statistics = self._database[stats_name(stats.app_id, stats.workflow_name)]
        await _refused(statistics, [_replacement(stats, whole=True)])
        said = [message.seq for message in whole.messages]
        never_said = {"seq": {"$nin": said, "$not": {"$gt": reached}}}
        with _reaching_mongo():
            query = {"app_id": key.app, "chat_id": key.chat, **never_said}
            await self._messages.delete_many(query)

    async def sessions(self, keys: Collection[ChatKey]) -> dict[ChatKey, Session]:
        chats: defaultdict[AppId, list[ChatId]] = defaultdict(list)
        for key in keys:
            chats[key.app].append(key.chat)
        found: dict[ChatKey, Session] = {}
        for app, wanted in chats.items():
            query = {"app_id": app, "chat_id": {"$in": wanted}}
            with _reaching_mongo():
                records = await self._sessions.find(query).to_list()
            sessions = [_session(record) for record in records]
            found.update({session.key: session for session in sessions if session is not None})
        return found

    async def all_sessions(self) -> AsyncIterator[Session]:
        after = ""
        while True:
            with _reaching_mongo():
                page = await (
                    self._sessions.find({"_id": {"$gt": after}}).sort("_id").limit(PAGE).to_list()
                )
            for record in page:
                after = record["_id"]
                if (session := _session(record)) is not None:
                    yield session
            if len(page) < PAGE:
                return

    async def messages(self, key: ChatKey) -> list[Message]:
        query = {"app_id": key.app, "chat_id": key.chat}
        lines = self._messages.find(query).sort("seq")
        with _reaching_mongo():
            return [Message.model_validate(r) for r in await lines.to_list()]

    async def stats(self, key: ChatKey, workflow: WorkflowName) -> ChatStats | None:
        query = {"_id": _chat_record_id(key.app, key.chat), "app_id": key.app}
        with _reaching_mongo():
            record = await self._database[stats_name(key.app, workflow)].find_one(query)
        return None if record is None else _read(_STATS_OF_CHAT, record)

    async def workflow_totals(self, app: AppId, workflow: WorkflowName) -> WorkflowTotals:
        summed = [field.name for field in fields(WorkflowTotals) if field.name != "chats"]
        steps: list[Record] = [
            {"$match": {"app_id": app, "workflow_name": workflow}},
            {
                "$group": {
                    "_id": None,
                    "chats": {"$sum": 1},
                    **{name: {"$sum": f"${name}"} for name in summed},
                }
            },
            {"$unset": "_id"},
        ]
        with _reaching_mongo():
            cursor = await self._database[stats_name(app, workflow)].aggregate(steps)
            rows = await cursor.to_list()
        return WorkflowTotals(**rows[0]) if rows else WorkflowTotals()

    async def archived(self, key: ChatKey, *, after: Seq) -> AsyncIterator[Line]:
        while True:
            query = {"app_id": key.app, "chat_id": key.chat, "seq": {"$gt": after}}
            with _reaching_mongo():
                page = await self._events.find(query).sort("seq").limit(PAGE).to_list()
            for record in page:
                after = Seq(record["seq"])
                yield Line(after, StreamSeq(record.get("position", 0)), record.get("raw", b""))
            if len(page) < PAGE:
                return

    async def archived_chats(self) -> AsyncIterator[ChatKey]:
        """One index key a chat is looked up, however many events it has."""
        after: Record = {}
        while True:
            with _reaching_mongo():
                found = await self._events.find_one(
                    after, ["app_id", "chat_id"], sort=[("app_id", 1), ("chat_id", 1)]
                )
            if found is None:
                return
            app, chat = found["app_id"], found["chat_id"]
            yield ChatKey(AppId(app), ChatId(chat))
            after = {"$or": [{"app_id": {"$gt": app}}, {"app_id": app, "chat_id": {"$gt": chat}}]}

    async def unbegun(self, keys: Collection[ChatKey]) -> set[ChatKey]:
        events = {event_id(key, Seq(1)): key for key in keys}
        query = {"_id": {"$in": list(events)}, "app_id": {"$in": list({key.app for key in keys})}}
        with _reaching_mongo():
            begun = await self._events.find(query, ["_id"]).to_list()
        return set(keys) - {events[record["_id"]] for record in begun}

    async def look(self) -> Look:
        """What the database holds, at small cost."""
        with _reaching_mongo():
            listed = await (await self._database.list_collections()).to_list()
            filled = [
                collection.name
                for collection in (self._events, self._sessions, self._messages)
                if await collection.find_one({}, ["_id"]) is not None
            ]
        collections = {
            one["name"]: str(one["info"].get("uuid", ""))
            for one in listed
            if one["name"].startswith(_STATS) or one["name"] in _COLLECTIONS
        }
        return Look(collections, frozenset(filled))

    async def marked(self) -> Look | None:
        with _reaching_mongo():
            marker = await self._database[MARKER].find_one({"_id": _MARKED})
        if marker is None:
            return None
        return Look(marker.get("collections", {}), frozenset(marker.get("filled", ())))

    async def mark(self, look: Look) -> None:
        """Note that the database holds all that the log had until now, and where."""
        marker = {
            "layout": LAYOUT,
            "collections": dict(look.collections),
            "filled": sorted(look.filled),
        }
        with _reaching_mongo():
            await self._database[MARKER].update_one({"_id": _MARKED}, {"$set": marker}, upsert=True)

    async def prepare(self) -> None:
        """Put the collections and their indexes in place."""
        with _reaching_mongo():
            models = [ChatEvent, ChatSession, ChatMessage]
            await init_beanie(database=self._database, document_models=models)


class MongoFinder:
    """Documents of other databases on the same server, read and never written."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def newest(self, asked: Asked) -> Record | None:
        own: Record = {"app_id": {"$eq": asked.app}}
        # What a value holds is compared, whatever it looks like: as an operand of $eq it is data.
        query = {"$and": [own, *({name: {"$eq": value}} for name, value in asked.equal.items())]}
        shown = dict.fromkeys(asked.roots, 1) or None
        with _reaching_mongo():
            try:
                collection = self._client[asked.database][asked.collection]
                return await collection.find_one(
                    query, shown, sort=[("_id", DESCENDING)], max_time_ms=asked.milliseconds
                )
            except ExecutionTimeout as slow:
                raise UnaskableError(f"took longer than {asked.milliseconds} ms") from slow
            except (BSONError, OverflowError, OperationFailure, InvalidName) as refused:
                why = type(refused).__name__
                raise UnaskableError(f"MongoDB does not take this question: {why}") from refused


def stats_name(app: AppId, workflow: WorkflowName) -> str:
    """The collection of one app's workflow; documents in it say themselves whose they are.

    They must, since two pairs can share a name: `a_b` with `c`, and `a` with `b_c`.
    """
    return f"{_STATS}{token(app, 'app_id')}_{token(workflow, 'workflow_name')}"


def _chat_record_id(app: AppId, chat: ChatId) -> str:
    return f"{token(app, 'app_id')}.{token(chat, 'chat_id')}"


def _event_record(event: Archived) -> Record:
    outside = event.envelope
    return {
        "_id": outside.event_id,
        "app_id": outside.app_id,
        "chat_id": outside.chat_id,
        "seq": outside.seq,
        "type": outside.type,
        "version": outside.version,
        "category": outside.category,
        "workflow_name": outside.workflow_name,
        "time": outside.time,
        "position": event.position,
        "raw": Binary(event.data),
    }


def _message_record(message: Message) -> Record:
    place = f"{_chat_record_id(message.app_id, message.chat_id)}.{message.seq}"
    line = message.model_dump(exclude_none=True)
    return {"_id": place, "content": None, **line}  # a message without words still has the field


def _put(record: Record) -> ReplaceOne[Record]:
    place = {name: record[name] for name in ("_id", "app_id")}
    return ReplaceOne(place, record, upsert=True)


def _session(record: Record) -> Session | None:
    return _read(_SESSION, record)


def _read(kind: TypeAdapter[T], record: Record) -> T | None:
    """What a document holds; none where somebody else has changed it so that nobody can say."""
    try:
        return kind.validate_python(record)
    except ValidationError as broken:
        told = {"id": record.get("_id"), "why": describe(broken)}
        log.warning("a document is damaged: python -m services.persistence.rebuild", extra=told)
        return None


def _insert(record: Record) -> UpdateOne:
    place = {name: record[name] for name in ("_id", "app_id", "chat_id", "seq")}
    return UpdateOne(place, {"$setOnInsert": record}, upsert=True)


async def _supersede(
    collection: AsyncCollection[Record], kept: Sequence[Session] | Sequence[ChatStats]
) -> None:
    """Replace what is older, insert what is not there, and leave what is newer.

    A refused insert says only that there is one by now, which may be the older: look once more.
    """
    refused = await _refused(collection, [_replacement(one) for one in kept])
    await _refused(collection, [_replacement(kept[i], upsert=False) for i in refused])


def _replacement(
    kept: Session | ChatStats, *, upsert: bool = True, whole: bool = False
) -> UpdateOne:
    """Replaces what is older; with `whole` also what is of the same event, as it may be damaged."""
    newer = "$gt" if whole else "$gte"
    place = {
        "_id": _chat_record_id(kept.app_id, kept.chat_id),
        "app_id": kept.app_id,
        "last_seq": {"$not": {newer: kept.last_seq}},  # also where there is none any more
    }
    return UpdateOne(place, {"$set": asdict(kept)}, upsert=upsert)


async def _refused(
    collection: AsyncCollection[Record], writes: Sequence[UpdateOne | ReplaceOne[Record]]
) -> list[int]:
    """Write in one go; which writes met a record of the same id. Raises what else went wrong."""
    if not writes:
        return []
    try:
        with _reaching_mongo():
            await collection.bulk_write(writes, ordered=False)
    except BulkWriteError as partly:
        errors = partly.details["writeErrors"]
        if any(error["code"] != _DUPLICATE for error in errors):
            raise
        if partly.details["writeConcernErrors"]:
            raise StoreAwayError("MongoDB took a write and could not confirm it") from partly
        return [error["index"] for error in errors]
    return []


@contextmanager
def _reaching_mongo() -> Iterator[None]:
    try:
        yield
    except PyMongoError as trouble:
        if isinstance(trouble, ConnectionFailure) or trouble.timeout:
            raise StoreAwayError(f"MongoDB: {type(trouble).__name__}") from trouble
        raise
