"""The store on MongoDB: Beanie documents are read, fenced bulk upserts written; every query names its app."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime, timedelta
from functools import reduce
from typing import TypeVar

from beanie import Document, init_beanie
from beanie.odm.queries.find import FindMany
from pydantic import BaseModel, Field, ValidationError
from pymongo.asynchronous.database import AsyncDatabase

from contracts import encryption
from contracts.catalogue import ChatStatus
from contracts.chat_pages import ChatCursor
from contracts.chat_snapshot import NO_TOTALS, ChatTotals
from contracts.codec import describe
from contracts.effects import EffectRecord
from contracts.ids import AgentName, AppId, ChatId, ChatKey, Seq, UserId, WorkflowName
from contracts.large_values import LargeValue
from contracts.lookups import EPOCH, InboxCursor
from contracts.rewinds import DroppedRange
from contracts.runtime_log import ModelCall
from contracts.subjects import token
from services.persistence.store.interface import (
    PAGE,
    ArchivedEvent,
    ArchiveRecord,
    ChatFilter,
    ChatStats,
    DatabaseState,
    EffectPlace,
    EffectStart,
    Message,
    ProjectionUpdate,
    Session,
    StartedChats,
    StoreIncompatibleError,
    TimeSpan,
    WorkflowTotals,
)
from services.persistence.store.mongo.bulk_writes import (
    insert_missing,
    put,
    replace_older,
    supersede,
    write,
)
from services.persistence.store.mongo.chat_filters import (
    chats_filter,
    shown_with_words,
    started_filters,
)
from services.persistence.store.mongo.client import Client, Record, translated_errors
from services.persistence.store.mongo.collections import create_collections
from services.persistence.store.mongo.compatibility import (
    LAYOUT,
    check_layout,
    check_server_version,
)
from services.persistence.store.mongo.documents import (
    IS_FORK,
    IS_WAITING,
    SEQ_DIGITS,
    STATE_ID,
    STATS_PREFIX,
    TOTALS,
    ArchivedMessage,
    ArchivedValue,
    ChatEffect,
    ChatMessage,
    ChatSession,
    PersistenceState,
    RuntimeLogEntry,
    WorkflowChatStats,
    archive_records_of,
    bind,
    chat_range,
    chat_record_id,
    effect_record,
    end_of_range,
    message_record,
    model_call_record,
    ordered_id,
    session_record,
    stats_collection_name,
    stats_record,
    value_id,
    value_record,
    within,
)
from services.persistence.store.mongo.migration import (
    drop_older_indexes,
    has_older_collections,
    move_older_documents,
)
from services.persistence.store.mongo.sealing import (
    opened_effect,
    opened_message,
    opened_session,
    seal_effect,
    seal_message,
    seal_session,
    sealed,
    with_keys,
)
from services.persistence.store.word_search import has_words

log = logging.getLogger(__name__)

FIRST_SINCE = EPOCH + timedelta(milliseconds=1)
"""The first time that IS_WAITING includes."""
SEARCHED_MESSAGES = 200
"""The newest messages of a chat that are searched where they are encrypted."""
MESSAGES_AT_ONCE = 50
"""Each may have some hundred thousand bytes."""
MAX_BOUND_STATS = 256
"""Statistics collections whose document class is kept; any other is bound again when it is read."""

D = TypeVar("D", bound=Document)


async def open_store(client: Client, database: str, *, reads_only: bool = False) -> "MongoStore":
    """The store, with its indexes created unless `reads_only`.

    Raises StoreUnavailableError, StoreIncompatibleError.
    """
    with translated_errors():
        build = await client.server_info()
        check_server_version(build["version"])
        await check_layout(client[database])
        if reads_only and await has_older_collections(client[database]):
            raise StoreIncompatibleError(
                f"MONGODB_DATABASE: {database} holds collections of an older layout: start"
                " persistence of this release once, which moves them"
            )
        store = MongoStore(
            client[database],
            events=await bind(ArchivedMessage, client[database]),
            sessions=await bind(ChatSession, client[database]),
            messages=await bind(ChatMessage, client[database]),
            effects=await bind(ChatEffect, client[database]),
            model_calls=await bind(RuntimeLogEntry, client[database]),
            values=await bind(ArchivedValue, client[database]),
            state=await bind(PersistenceState, client[database]),
        )
    if not reads_only:
        await store.prepare()
        with translated_errors():
            await move_older_documents(client[database])
            await drop_older_indexes(client[database])
    return store


class MongoStore:
    """Sessions and statistics are replaced by newer ones only; events and messages never.

    The classes are documents that are bound to the database.
    """

    def __init__(
        self,
        database: AsyncDatabase[Record],
        *,
        events: type[ArchivedMessage],
        sessions: type[ChatSession],
        messages: type[ChatMessage],
        effects: type[ChatEffect],
        model_calls: type[RuntimeLogEntry],
        values: type[ArchivedValue],
        state: type[PersistenceState],
    ) -> None:
        self._database = database
        self._events = events
        self._sessions = sessions
        self._messages = messages
        self._effects = effects
        self._model_calls = model_calls
        self._values = values
        self._state = state
        self._archived = events.get_pymongo_collection()
        self._stored_sessions = sessions.get_pymongo_collection()
        self._transcripts = messages.get_pymongo_collection()
        self._stats: dict[str, type[WorkflowChatStats]] = {}

    async def prepare(self) -> None:
        """Creates the collections and indexes that are missing."""
        with translated_errors():
            await create_collections(self._database)
            indexed = [self._sessions, self._effects, self._model_calls]
            await init_beanie(database=self._database, document_models=indexed)

    async def archive(self, events: Sequence[ArchivedEvent]) -> None:
        records = archive_records_of(events)
        await insert_missing(self._archived, records)

    async def archive_value(self, key: ChatKey, value: LargeValue) -> None:
        await insert_missing(self._values.get_pymongo_collection(), [value_record(key, value)])

    async def archived_value(self, key: ChatKey, digest: str) -> bytes | None:
        query = {"_id": value_id(key, digest), "app_id": key.app}
        async for document in readable(self._values.find(query)):
            return document.raw
        return None

    async def save(self, updates: Sequence[ProjectionUpdate]) -> None:
        await self.project([], updates)

    async def project(
        self, events: Sequence[ArchivedEvent], updates: Sequence[ProjectionUpdate]
    ) -> None:
        # Messages first: a session at n promises the events and messages up to n.
        messages = await sealed(
            (message_record(one) for update in updates for one in update.messages), seal_message
        )
        effects = await sealed(
            (effect_record(one) for update in updates for one in update.effects), seal_effect
        )
        await asyncio.gather(
            self.archive(events),
            insert_missing(self._transcripts, messages),
            insert_missing(self._effects.get_pymongo_collection(), effects),
            insert_missing(
                self._model_calls.get_pymongo_collection(),
                [model_call_record(one) for update in updates for one in update.model_calls],
            ),
        )
        sessions = await sealed((session_record(one.session) for one in updates), seal_session)
        await asyncio.gather(
            supersede(self._stored_sessions, sessions),
            self._save_stats([update.stats for update in updates]),
        )

    async def _save_stats(self, stats: Sequence[ChatStats]) -> None:
        by_collection: defaultdict[str, list[Record]] = defaultdict(list)
        for one in stats:
            name = stats_collection_name(one.app_id, one.workflow_name)
            by_collection[name].append(stats_record(one))
        for name, records in by_collection.items():
            await supersede(self._database[name], records)

    async def repair_archive(self, events: Sequence[ArchivedEvent]) -> None:
        if not events:
            return
        collection, key = self._archived, events[0].envelope.key
        wanted = {record["_id"]: record for record in archive_records_of(events)}
        beyond = ordered_id(key, events[-1].envelope.seq + 1)
        with translated_errors():
            found = {
                record["_id"]: record
                async for record in collection.find(chat_range(key), batch_size=PAGE)
                if record["_id"] < beyond
            }
        differing = [record for id_, record in wanted.items() if found.get(id_) != record]
        await write(collection, [put(record) for record in differing])
        if superfluous := list(found.keys() - wanted.keys()):
            with translated_errors():
                await collection.delete_many(within(chat_range(key), {"$in": superfluous}))

    async def replace(self, whole: ProjectionUpdate) -> None:
        session, stats = whole.session, whole.stats
        messages = await sealed(map(message_record, whole.messages), seal_message)
        await write(self._transcripts, list(map(put, messages)))
        newest = await sealed([session_record(session)], seal_session)
        await write(self._stored_sessions, [replace_older(one, or_same=True) for one in newest])
        name = stats_collection_name(stats.app_id, stats.workflow_name)
        await write(self._database[name], [replace_older(stats_record(stats), or_same=True)])
        ids = [ordered_id(session.key, message.seq) for message in whole.messages]
        end = ordered_id(session.key, session.last_seq + 1)
        query = within(chat_range(session.key), {"$nin": ids, "$lt": end})
        with translated_errors():
            await self._messages.find(query).delete()
        effects = await sealed(map(effect_record, whole.effects), seal_effect)
        await write(self._effects.get_pymongo_collection(), list(map(put, effects)))
        ids = [ordered_id(session.key, effect.record.seq) for effect in whole.effects]
        query = within(chat_range(session.key), {"$nin": ids, "$lt": end})
        with translated_errors():
            await self._effects.find(query).delete()
        calls = [put(model_call_record(call)) for call in whole.model_calls]
        await write(self._model_calls.get_pymongo_collection(), calls)
        ids = [ordered_id(session.key, call.seq) for call in whole.model_calls]
        query = within(chat_range(session.key), {"$nin": ids, "$lt": end})
        with translated_errors():
            await self._model_calls.find(query).delete()

    async def erase(self, tombstone: ArchivedEvent, whole: ProjectionUpdate) -> int:
        key, seq = tombstone.envelope.key, tombstone.envelope.seq
        await self.archive([tombstone])
        removed = 0
        everything = chat_range(key)
        earlier = within(everything, {"$lt": ordered_id(key, seq)})
        for document, query in (
            (self._messages, everything),
            (self._effects, everything),
            (self._model_calls, everything),
            (self._values, everything),
            (self._events, earlier),
        ):
            with translated_errors():
                done = await document.get_pymongo_collection().delete_many(query)
            removed += done.deleted_count
        await self.replace(whole)
        return removed

    async def not_erased(
        self, app: AppId, user: UserId | None, after: ChatId | None, limit: int
    ) -> list[ChatId]:
        return await self._chat_ids(app, {"$ne": None} if user is None else user, after, limit)

    async def sessions(self, keys: Collection[ChatKey]) -> dict[ChatKey, Session]:
        if not keys:
            return {}
        ids = [chat_record_id(key.app, key.chat) for key in keys]
        query = {"_id": {"$in": ids}, "app_id": {"$in": list({key.app for key in keys})}}
        found: dict[ChatKey, Session] = {}
        async for document in with_keys(readable(self._sessions.find(query))):
            session = opened_session(document)
            found[session.key] = session
        return found

    async def all_sessions(self) -> AsyncIterator[Session]:
        found = self._sessions.find({}, batch_size=PAGE).sort("_id")
        async for document in with_keys(readable(found)):
            yield opened_session(document)

    async def waiting(
        self,
        app: AppId,
        recipients: Collection[str] | None,
        after: InboxCursor | None,
        limit: int,
    ) -> list[Session]:
        query: Record = {"app_id": app, **IS_WAITING}
        if recipients is not None:
            query["waiting_for"] = {"$in": sorted(recipients)}
        if after is not None:
            place = chat_record_id(app, after.chat_id)
            query["waiting_since"] = {"$gte": max(after.since, FIRST_SINCE)}
            query["$or"] = [
                {"waiting_since": {"$gt": after.since}},
                {"waiting_since": after.since, "_id": {"$gt": place}},
            ]
        chats = self._sessions.find(query).sort("waiting_since", "_id").limit(limit)
        return [opened_session(document) async for document in with_keys(readable(chats))]

    async def chats(
        self, wanted: ChatFilter, after: ChatCursor | None, limit: int
    ) -> list[Session]:
        query = chats_filter(wanted)
        if after is not None:
            place = chat_record_id(wanted.app, after.chat_id)
            query["last_updated_at"] = {"$lte": after.updated_at}  # where the index is read from
            query["$or"] = [
                {"last_updated_at": {"$lt": after.updated_at}},
                {"last_updated_at": after.updated_at, "_id": {"$lt": place}},
            ]
        chats = self._sessions.find(query).sort("-last_updated_at", "-_id").limit(limit)
        return [opened_session(document) async for document in with_keys(readable(chats))]

    async def started(self, wanted: StartedChats, limit: int) -> list[Session]:
        found: list[Session] = []
        for query in reversed(started_filters(wanted)):  # those that started at once come first
            chats = self._sessions.find(query).sort("-created_at", "-_id").limit(limit - len(found))
            found += [opened_session(document) async for document in with_keys(readable(chats))]
            if len(found) == limit:
                break
        return found

    async def count_started(self, wanted: StartedChats) -> int:
        with translated_errors():
            counts = [await self._sessions.find(one).count() for one in started_filters(wanted)]
        return sum(counts)

    async def chat_ids(
        self, app: AppId, user: UserId | None, after: ChatId | None, limit: int
    ) -> list[ChatId]:
        return await self._chat_ids(app, user, after, limit)

    async def _chat_ids(
        self, app: AppId, user: UserId | Record | None, after: ChatId | None, limit: int
    ) -> list[ChatId]:
        # `/` comes after `.`, and is in no token: all ids of the app are in this range.
        place = {"$gte": f"{token(app)}."} if after is None else {"$gt": chat_record_id(app, after)}
        query: Record = {"_id": {**place, "$lt": f"{token(app)}/"}, "app_id": app}
        if user is not None:
            query["user_id"] = user
        found = self._sessions.find(query, projection_model=_Key).sort("_id").limit(limit)
        with translated_errors():
            return [one.chat_id for one in await found.to_list()]

    async def newest_with_words(
        self,
        key: ChatKey,
        words: Sequence[str],
        agents: Collection[AgentName],
        dropped: Sequence[DroppedRange] = (),
    ) -> str | None:
        if encryption.is_on():
            return await self._newest_opened_with_words(key, words, agents, dropped)
        query = {**chat_range(key), **shown_with_words(words, agents, dropped)}
        found = self._messages.find(query, projection_model=_Content).sort("-_id").limit(1)
        with translated_errors():
            return next((one.content for one in await found.to_list()), None)

    async def _newest_opened_with_words(
        self,
        key: ChatKey,
        words: Sequence[str],
        agents: Collection[AgentName],
        dropped: Sequence[DroppedRange],
    ) -> str | None:
        """The same where the database cannot search: the newest messages are opened one by one."""
        query = {**chat_range(key), **shown_with_words([], agents, dropped)}
        newest = self._messages.find(query).sort("-_id").limit(SEARCHED_MESSAGES)
        async for document in with_keys(readable(newest)):
            text = opened_message(document).content or ""
            if has_words(text, words):
                return text
        return None

    async def erasable(self, before: datetime, limit: int) -> list[ChatKey]:
        query = {"erasable_at": {"$gt": EPOCH, "$lt": before}}
        found = self._sessions.find(query, projection_model=_Key)
        with translated_errors():
            due = await found.sort("erasable_at", "_id").limit(limit).to_list()
        return [ChatKey(one.app_id, one.chat_id) for one in due]

    async def messages(self, key: ChatKey) -> list[Message]:
        return [message async for message in self.messages_from(key, Seq(1))]

    async def messages_from(self, key: ChatKey, first: Seq) -> AsyncIterator[Message]:
        while True:
            place = chat_range(key, first)
            query = self._messages.find(place).sort("_id").limit(MESSAGES_AT_ONCE)
            found = [opened_message(document) async for document in with_keys(readable(query))]
            for message in found:
                yield message
            if not found:
                return
            first = Seq(found[-1].seq + 1)

    async def chat_effect_starts(self, key: ChatKey, after: Seq, limit: int) -> list[EffectStart]:
        query = {**chat_range(key, after + 1), "starts": True}
        found = self._effects.find(query).sort("_id").limit(limit)
        return [document.to_start() async for document in readable(found)]

    async def app_effect_starts(
        self, app: AppId, span: TimeSpan, after: EffectPlace | None, limit: int
    ) -> list[EffectStart]:
        query: Record = {
            "app_id": app,
            "starts": True,
            "time": {"$gte": span.since, "$lt": span.until},
        }
        if after is not None:
            later = {"time": after.time, "_id": {"$gt": _id_of(after)}}
            query["time"]["$gte"] = max(span.since, after.time)  # where the index is read from
            query["$or"] = [{"time": {"$gt": after.time}}, later]
        found = self._effects.find(query).sort("time", "_id").limit(limit)
        return [document.to_start() async for document in readable(found)]

    async def model_calls(
        self, app: AppId, chat: ChatId | None, span: TimeSpan, after: EffectPlace | None, limit: int
    ) -> list[ModelCall]:
        query: Record = {"app_id": app, "ended_at": {"$gte": span.since, "$lt": span.until}}
        if chat is not None:
            query["chat_id"] = chat
        if after is not None:
            later = {"ended_at": after.time, "_id": {"$gt": _id_of(after)}}
            query["ended_at"]["$gte"] = max(span.since, after.time)
            query["$or"] = [{"ended_at": {"$gt": after.time}}, later]
        found = self._model_calls.find(query).sort("ended_at", "_id").limit(limit)
        return [document.call async for document in readable(found)]

    async def effect_records(
        self, key: ChatKey, turns: Collection[int] | None = None
    ) -> list[EffectRecord]:
        query = chat_range(key)
        if turns is not None:
            query["turn"] = {"$in": list(turns)}
        found = self._effects.find(query, batch_size=PAGE).sort("_id")
        documents = [document async for document in with_keys(readable(found))]
        return [one for one in map(opened_effect, documents) if one is not None]

    async def stats(self, key: ChatKey, workflow: WorkflowName) -> ChatStats | None:
        documents = await self._stats_documents(key.app, workflow)
        query = documents.find({"_id": chat_record_id(key.app, key.chat), "app_id": key.app})
        async for document in readable(query):
            return document.to_stats()
        return None

    async def workflow_totals(self, app: AppId, workflow: WorkflowName) -> WorkflowTotals:
        documents = await self._stats_documents(app, workflow)
        summed = {name: {"$sum": f"${name}"} for name in ("duration_sec", *TOTALS)}
        steps = [
            {"$group": {"_id": "$status", "chats": {"$sum": 1}, **summed}},
            {"$sort": {"_id": 1}},
        ]
        # By `_id`, which begins with the app: another app's workflow may share the collection.
        place = {"$gte": f"{token(app)}.", "$lt": f"{token(app)}/"}
        own = documents.find({"_id": place, "app_id": app, "workflow_name": workflow})
        with translated_errors():
            rows = await own.aggregate(steps, projection_model=_Sums).to_list()
        return WorkflowTotals(
            chats={row.status: row.chats for row in rows},
            duration_sec=sum(row.duration_sec for row in rows),
            totals=reduce(ChatTotals.plus, (row.totals for row in rows), NO_TOTALS),
        )

    async def _stats_documents(self, app: AppId, workflow: WorkflowName) -> type[WorkflowChatStats]:
        name = stats_collection_name(app, workflow)
        bound = self._stats.pop(name, None)
        if bound is None:
            with translated_errors():
                bound = await bind(WorkflowChatStats, self._database, name)
        self._stats[name] = bound
        if len(self._stats) > MAX_BOUND_STATS:
            del self._stats[next(iter(self._stats))]
        return bound

    async def archive_records(self, key: ChatKey) -> AsyncIterator[ArchiveRecord]:
        documents = self._events.find(chat_range(key), batch_size=PAGE).sort("_id")
        async for document in readable(documents):
            for record in document.records():
                yield record

    async def archived_chats(self) -> AsyncIterator[ChatKey]:
        """Reads one document per chat, however many events it has."""
        after: Record = {}
        while True:
            query = self._events.find(after, projection_model=_Key).sort("_id")
            with translated_errors():
                found = await query.limit(1).to_list()
            if not found:
                return
            key, id_ = ChatKey(found[0].app_id, found[0].chat_id), found[0].id
            yield key
            end = end_of_range(key)
            after = {"_id": {"$gte": end} if end > id_ else {"$gt": id_}}

    async def not_archived(self, keys: Collection[ChatKey]) -> set[ChatKey]:
        found = await asyncio.gather(*map(self._is_archived, keys))
        return {key for key, has in zip(keys, found, strict=True) if not has}

    async def _is_archived(self, key: ChatKey) -> bool:
        query = self._events.find(chat_range(key), projection_model=_Id)
        with translated_errors():
            return bool(await query.limit(1).to_list())

    async def forks_of(self, key: ChatKey, after: ChatId | None, limit: int) -> list[Session]:
        query = {"app_id": key.app, "segments.chat_id": key.chat, **IS_FORK}
        if after is not None:
            query["_id"] = {"$gt": chat_record_id(key.app, after)}
        found = self._sessions.find(query, batch_size=PAGE).sort("_id").limit(limit)
        return [opened_session(document) async for document in with_keys(readable(found))]

    async def state(self) -> DatabaseState:
        """What the database holds, at small cost."""
        documents = (self._events, self._sessions, self._messages)
        names = [document.get_collection_name() for document in documents]
        with translated_errors():
            listed = await (await self._database.list_collections()).to_list()
            filled = [
                document.get_collection_name()
                for document in documents
                if await document.find({}, projection_model=_Id).limit(1).to_list()
            ]
        collections = {
            one["name"]: str(one["info"].get("uuid", ""))
            for one in listed
            if one["name"].startswith(STATS_PREFIX) or one["name"] in names
        }
        return DatabaseState(collections, frozenset(filled))

    async def saved_state(self) -> DatabaseState | None:
        """What the database held when it was saved; None if never, emptied, or of an older layout."""
        async for saved in readable(self._state.find({"_id": STATE_ID})):
            return saved.to_state() if saved.layout == LAYOUT else None
        return None

    async def save_state(self, state: DatabaseState) -> None:
        """Stores that the database holds everything that the log had until now, and where."""
        saved = self._state(
            id=STATE_ID,
            layout=LAYOUT,
            collections=dict(state.collections),
            filled=tuple(sorted(state.filled)),
        )
        with translated_errors():
            await saved.save()


async def readable(query: FindMany[D]) -> AsyncIterator[D]:
    """The documents of a query that are as their model says; others are logged and skipped."""
    documents = aiter(query)
    while True:
        try:
            with translated_errors():
                document = await anext(documents)
        except StopAsyncIteration:
            return
        except ValidationError as invalid:  # changed by other software
            log.warning(
                "a document is damaged: mozaiks rebuild",
                extra={"collection": query.document_model.__name__, "why": describe(invalid)},
            )
        else:
            yield document


class _Key(BaseModel):
    id: str = Field(alias="_id")
    app_id: AppId
    chat_id: ChatId


class _Content(BaseModel):
    content: str


class _Id(BaseModel):
    id: str = Field(alias="_id")


class _Sums(BaseModel):
    """Of the chats with one status."""

    status: ChatStatus = Field(alias="_id")
    chats: int
    duration_sec: float
    agent_turns: int
    tool_calls: int
    errors: int
    prompt_tokens: int
    completion_tokens: int
    cost: float

    @property
    def totals(self) -> ChatTotals:
        return ChatTotals(**{name: getattr(self, name) for name in TOTALS})


def _id_of(place: EffectPlace) -> str:
    """The `_id` of the document at a place."""
    return f"{place.chat}.{place.seq:0{SEQ_DIGITS}}"
