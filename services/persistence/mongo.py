"""The store on MongoDB: Beanie says what the collections are, PyMongo writes them in bulk.

Nothing here is newer than MongoDB 6.0 offers, and every query names its tenant.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from beanie import Document, init_beanie
from bson import Binary
from bson.errors import BSONError
from pydantic import TypeAdapter
from pymongo import ASCENDING, DESCENDING, AsyncMongoClient, IndexModel, UpdateOne
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

from contracts import codec
from contracts.ids import AppId, ChatId, ChatKey, Seq, StreamSeq, WorkflowName
from contracts.subjects import token
from services.persistence.lookups import Asked, UnaskableError
from services.persistence.store import (
    PAGE,
    Archived,
    Change,
    ChatStats,
    Message,
    Session,
    StoreAwayError,
    StoreUnfitError,
    WorkflowTotals,
)

OLDEST = (6, 0)
AWAY_MILLISECONDS = 2000
"""How long a server may be unreachable before an operation gives up."""
SLOW_MILLISECONDS = 20_000
"""How long one operation may take on a server that answers."""

_DUPLICATE = 11000
_STATS = "workflow_stats_"
_SESSION: TypeAdapter[Session] = TypeAdapter(Session)

Record = dict[str, Any]
Client = AsyncMongoClient[Record]


class ChatEvent(Document):
    """The archive. `raw` is the message byte for byte; the other fields only find it."""

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


def build_client(uri: str, **options: Any) -> Client:
    """A client that gives up on a server that is away soon, and notices its return as soon.

    `options` are the driver's own.
    """
    return AsyncMongoClient(
        uri,
        **options,
        tz_aware=True,
        appname="mozaiks-persistence",
        serverSelectionTimeoutMS=AWAY_MILLISECONDS,
        connectTimeoutMS=AWAY_MILLISECONDS,
        heartbeatFrequencyMS=AWAY_MILLISECONDS,
        socketTimeoutMS=SLOW_MILLISECONDS,
    )


def away(client: Client) -> str | None:
    """Whether the driver's own monitor last saw a server to write to: asks nobody."""
    return None if client.topology_description.has_writable_server() else "MongoDB is away"


async def open_store(client: Client, database: str) -> "MongoStore":
    """The store, its indexes in place. Raises StoreAwayError, StoreUnfitError."""
    with _reaching_mongo():
        build = await client.server_info()
        refuse_older(build["version"])
        await init_beanie(
            database=client[database], document_models=[ChatEvent, ChatSession, ChatMessage]
        )
    return MongoStore(client[database])


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

    async def sessions(self, keys: Collection[ChatKey]) -> dict[ChatKey, Session]:
        chats: defaultdict[AppId, list[ChatId]] = defaultdict(list)
        for key in keys:
            chats[key.app].append(key.chat)
        found: dict[ChatKey, Session] = {}
        for app, wanted in chats.items():
            query = {"app_id": app, "chat_id": {"$in": wanted}}
            with _reaching_mongo():
                records = await self._sessions.find(query).to_list()
            sessions = (_SESSION.validate_python(record) for record in records)
            found.update({session.key: session for session in sessions})
        return found

    async def messages(self, key: ChatKey) -> list[Message]:
        query = {"app_id": key.app, "chat_id": key.chat}
        lines = self._messages.find(query).sort("seq")
        with _reaching_mongo():
            return [Message.model_validate(r) for r in await lines.to_list()]

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

    async def archived(self, key: ChatKey, *, after: Seq) -> AsyncIterator[Archived]:
        while True:
            query = {"app_id": key.app, "chat_id": key.chat, "seq": {"$gt": after}}
            with _reaching_mongo():
                page = await self._events.find(query).sort("seq").limit(PAGE).to_list()
            for record in page:
                after = Seq(record["seq"])
                raw: bytes = record["raw"]
                yield Archived(codec.decode(raw), StreamSeq(record["position"]), raw)
            if len(page) < PAGE:
                return

    async def archived_chats(self) -> AsyncIterator[ChatKey]:
        with _reaching_mongo():
            apps = await self._events.distinct("app_id")
        for app in apps:
            after = ""
            while True:
                query = {"app_id": app, "chat_id": {"$gt": after}, "seq": 1}
                with _reaching_mongo():
                    page = (
                        await self._events.find(query, ["chat_id"])
                        .sort("chat_id")
                        .limit(PAGE)
                        .to_list()
                    )
                for record in page:
                    after = record["chat_id"]
                    yield ChatKey(AppId(app), ChatId(after))
                if len(page) < PAGE:
                    break

    async def drop_projections(self) -> None:
        with _reaching_mongo():
            await self._sessions.delete_many({})
            await self._messages.delete_many({})
            named = {"name": {"$regex": f"^{_STATS}"}}
            for name in await self._database.list_collection_names(filter=named):
                await self._database[name].drop()


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


def _insert(record: Record) -> UpdateOne:
    place = {name: record[name] for name in ("_id", "app_id", "chat_id", "seq")}
    return UpdateOne(place, {"$setOnInsert": record}, upsert=True)


async def _supersede(
    collection: AsyncCollection[Record], kept: Sequence[Session] | Sequence[ChatStats]
) -> None:
    """Replace what is older, insert what is not there, and leave what is newer.

    A refused insert says only that there is one by now, which may be the older: look once more.
    """
    refused = await _refused(collection, [_replacement(one, upsert=True) for one in kept])
    await _refused(collection, [_replacement(kept[i], upsert=False) for i in refused])


def _replacement(kept: Session | ChatStats, *, upsert: bool) -> UpdateOne:
    place = {
        "_id": _chat_record_id(kept.app_id, kept.chat_id),
        "app_id": kept.app_id,
        "last_seq": {"$lt": kept.last_seq},
    }
    return UpdateOne(place, {"$set": asdict(kept)}, upsert=upsert)


async def _refused(collection: AsyncCollection[Record], writes: Sequence[UpdateOne]) -> list[int]:
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
