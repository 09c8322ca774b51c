"""Beanie documents: the collections of persistence, all their fields and their indexes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from datetime import datetime
from typing import TypeVar

from beanie import Document, init_beanie
from pydantic import Json, TypeAdapter, create_model
from pymongo import ASCENDING, IndexModel
from pymongo.asynchronous.database import AsyncDatabase

from contracts.catalogue import ChatStatus
from contracts.chat_snapshot import ArtifactReference, ChatTotals, OpenQuestion
from contracts.effects import DispatchRecord, EffectRecord, RecordBody
from contracts.events.chat import Segment
from contracts.events.turn import InterruptionReason
from contracts.ids import (
    AgentName,
    AppId,
    ChatId,
    ChatKey,
    Seq,
    StreamSeq,
    UserId,
    WorkflowName,
)
from contracts.inbox import recipients, waiting_since
from contracts.large_values import LargeValue
from contracts.lookups import EPOCH
from contracts.rewinds import DroppedRange
from contracts.runtime_log import ModelCall
from contracts.subjects import chat_tokens, token
from contracts.transcript import MessageToolCall, Role
from services.persistence.store.interface import (
    ArchivedEvent,
    ArchiveRecord,
    ChatStats,
    DatabaseState,
    EffectStart,
    Message,
    Session,
    StoredEffect,
)
from services.persistence.store.mongo.client import Record

STATS_PREFIX = "workflow_stats_"
STATE_ID = "layout"

_BODY: TypeAdapter[RecordBody] = TypeAdapter(RecordBody)
SEQ_DIGITS = 10
"""Digits of a `seq` in an `_id`: a chat's documents are in the order of their `_id`."""


IS_WAITING: Record = {"waiting_since": {"$gt": EPOCH}}
"""The filter for the chats that wait for an answer."""


IS_DELETED: Record = {"erasable_at": {"$gt": EPOCH}}
"""The filter for the chats that may be erased some time."""

IS_FORK: Record = {"origin.last": {"$gt": 0}}
"""The filter for the chats that are forks of others."""


class ArchivedMessage(Document):
    """The archive: a message of the log. `raw` is its body, byte for byte; the rest only finds it.

    `seq` is that of its first event; `_id` is the chat and `seq`.
    """

    id: str  # type: ignore[assignment]
    app_id: AppId
    chat_id: ChatId
    seq: Seq
    position: StreamSeq
    raw: bytes

    class Settings:
        name = "event_archive"

    def records(self) -> Iterator[ArchiveRecord]:
        """Its events: each has a line."""
        for place, line in enumerate(self.raw.split(b"\n")):
            yield ArchiveRecord(Seq(self.seq + place), self.position, line)


class ArchivedValue(Document):
    """The archive: a large value that an event refers to. `raw` are its bytes, `digest` their SHA-256.

    `_id` is the chat and `digest`.
    """

    id: str  # type: ignore[assignment]
    app_id: AppId
    chat_id: ChatId
    digest: str
    media_type: str
    raw: bytes

    class Settings:
        name = "value_archive"


class ChatSession(Document):
    """The session of a chat: its snapshot as of event `last_seq`."""

    id: str  # type: ignore[assignment]
    app_id: AppId
    chat_id: ChatId
    workflow_name: WorkflowName
    user_id: UserId | None
    status: ChatStatus
    title: str
    is_archived: bool = False
    deleted_at: datetime | None = None
    erasable_at: datetime | None = None
    created_at: datetime
    last_updated_at: datetime
    completed_at: datetime | None
    ended_at: datetime | None
    end_reason: str
    resumable: bool = False
    turn_seq: Seq | None = None
    dropped: tuple[DroppedRange, ...] = ()
    speaker: AgentName | None
    turn_started_at: datetime | None
    open_questions: tuple[OpenQuestion, ...]
    waiting_for: tuple[str, ...] = ()
    waiting_since: datetime | None = None
    last_artifact: ArtifactReference | None
    origin: Segment | None = None
    segments: tuple[Segment, ...] = ()
    cache_seed: int | None
    client_request_id: str | None
    message_count: int
    agent_turns: int
    tool_calls: int
    errors: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost: float
    last_seq: Seq
    last_digest: str
    last_position: StreamSeq

    class Settings:
        name = "chat_sessions"
        # Only `app_user_changed` has fields that most events change. Three hold only the chats that wait
        # for an answer, or are deleted, or are forks; the rest have only fields that no event changes.
        indexes = (
            IndexModel(
                [("app_id", ASCENDING), ("user_id", ASCENDING), ("_id", ASCENDING)],
                name="app_user_chat",
            ),
            IndexModel(
                [
                    ("app_id", ASCENDING),
                    ("user_id", ASCENDING),
                    ("last_updated_at", ASCENDING),
                    ("_id", ASCENDING),
                    # What a list leaves out is not fetched.
                    ("is_archived", ASCENDING),
                    ("deleted_at", ASCENDING),
                    ("status", ASCENDING),
                    ("workflow_name", ASCENDING),
                ],
                name="app_user_changed",
            ),
            IndexModel(
                [
                    ("app_id", ASCENDING),
                    ("user_id", ASCENDING),
                    ("workflow_name", ASCENDING),
                    ("created_at", ASCENDING),
                    ("_id", ASCENDING),
                ],
                name="app_user_created",
            ),
            IndexModel(
                [
                    ("app_id", ASCENDING),
                    ("waiting_for", ASCENDING),
                    ("waiting_since", ASCENDING),
                    ("_id", ASCENDING),
                ],
                name="inbox",
                partialFilterExpression=IS_WAITING,
            ),
            IndexModel(
                [("app_id", ASCENDING), ("waiting_since", ASCENDING), ("_id", ASCENDING)],
                name="app_inbox",
                partialFilterExpression=IS_WAITING,
            ),
            IndexModel(
                [("erasable_at", ASCENDING), ("_id", ASCENDING)],
                name="erasable",
                partialFilterExpression=IS_DELETED,
            ),
            IndexModel(
                [("app_id", ASCENDING), ("segments.chat_id", ASCENDING), ("_id", ASCENDING)],
                name="forks",
                partialFilterExpression=IS_FORK,
            ),
        )

    def to_session(self) -> Session:
        stored = {name: getattr(self, name) for name in _SESSION_FIELDS}
        return Session(**stored, totals=_totals_of(self))


class ChatMessage(Document):
    """A message of a transcript. `_id` is the chat and `seq`."""

    id: str  # type: ignore[assignment]
    app_id: AppId
    chat_id: ChatId
    seq: Seq
    time: datetime
    role: Role
    name: str
    content: str | None
    tool_calls: tuple[MessageToolCall, ...] | None
    tool_call_id: str | None
    interrupted: InterruptionReason | None = None
    agent: AgentName
    hidden: bool

    class Settings:
        name = "transcript_messages"

    def to_message(self) -> Message:
        return Message(**{name: getattr(self, name) for name in Message.model_fields})


class ChatEffect(Document):
    """A record of the effect ledger. `_id` is the chat and `seq`; `starts` marks the first attempts.

    `body` is JSON text: a tool's receipt may hold what BSON cannot.
    """

    id: str  # type: ignore[assignment]
    app_id: AppId
    chat_id: ChatId
    seq: Seq
    time: datetime
    turn: int
    starts: bool
    body: str

    class Settings:
        name = "chat_effects"
        indexes = (
            IndexModel(
                [("app_id", ASCENDING), ("time", ASCENDING), ("_id", ASCENDING)],
                name="app_time",
                partialFilterExpression={"starts": True},
            ),
        )

    def to_record(self, body: str) -> EffectRecord:
        """The record with this opened body. Raises pydantic.ValidationError."""
        return EffectRecord(seq=self.seq, time=self.time, body=_BODY.validate_json(body))

    def to_start(self) -> EffectStart:
        return EffectStart(ChatKey(self.app_id, self.chat_id), self.seq, self.time, self.turn)


class RuntimeLogEntry(Document):
    """A record of the runtime log. `_id` is the chat and `seq`; `call` is JSON text."""

    id: str  # type: ignore[assignment]
    app_id: AppId
    chat_id: ChatId
    ended_at: datetime
    call: Json[ModelCall]

    class Settings:
        name = "runtime_log"
        indexes = (
            IndexModel(
                [("app_id", ASCENDING), ("ended_at", ASCENDING), ("_id", ASCENDING)],
                name="app_ended",
            ),
            IndexModel(
                [
                    ("app_id", ASCENDING),
                    ("chat_id", ASCENDING),
                    ("ended_at", ASCENDING),
                    ("_id", ASCENDING),
                ],
                name="chat_ended",
            ),
        )


class WorkflowChatStats(Document):
    """What one chat adds to the statistics of its workflow.

    Each workflow of an app has a collection of its own, see `stats_collection_name`.
    """

    id: str  # type: ignore[assignment]
    app_id: AppId
    chat_id: ChatId
    workflow_name: WorkflowName
    status: ChatStatus
    last_seq: Seq
    last_updated_at: datetime
    duration_sec: float
    agent_turns: int
    tool_calls: int
    errors: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost: float

    class Settings:
        name = STATS_PREFIX

    def to_stats(self) -> ChatStats:
        stored = {name: getattr(self, name) for name in _STATS_FIELDS}
        return ChatStats(**stored, totals=_totals_of(self))


class PersistenceState(Document):
    """The one document that says which layout the database has, and what it held when it was saved."""

    id: str  # type: ignore[assignment]
    layout: int
    collections: dict[str, str]
    filled: tuple[str, ...]

    class Settings:
        name = "persistence_state"

    def to_state(self) -> DatabaseState:
        return DatabaseState(self.collections, frozenset(self.filled))


TOTALS = ("agent_turns", "tool_calls", "errors", "prompt_tokens", "completion_tokens", "cost")
_SESSION_FIELDS = tuple(field.name for field in fields(Session) if field.name != "totals")
_STATS_FIELDS = tuple(field.name for field in fields(ChatStats) if field.name != "totals")

D = TypeVar("D", bound=Document)


async def bind(
    model: type[D], database: AsyncDatabase[Record], collection: str | None = None
) -> type[D]:
    """The document class for one database, and for another collection than the model's own.

    Beanie binds a class to one database. So that a process may open several, each gets subclasses.
    """
    # Beanie initialises the parent class, too, and leaves query expressions in the place of its
    # fields, which pydantic would take for the defaults of the next subclass.
    for name in vars(model).keys() & model.model_fields.keys():
        delattr(model, name)
    bound = create_model(model.__name__, __base__=model, __module__=model.__module__)
    if collection is not None:
        bound.Settings = type("Settings", (model.Settings,), {"name": collection})
    await init_beanie(database=database, document_models=[bound], skip_indexes=True)
    return bound


def stats_collection_name(app: AppId, workflow: WorkflowName) -> str:
    """The statistics collection of one app's workflow.

    Its documents carry `app_id` and `workflow_name`, and queries must name both: two pairs can share
    a collection, `a_b` with `c` and `a` with `b_c`.
    """
    return f"{STATS_PREFIX}{token(app, 'app_id')}_{token(workflow, 'workflow_name')}"


def chat_record_id(app: AppId, chat: ChatId) -> str:
    """The `_id` of the documents of which a chat has one: its session and its statistics."""
    return f"{token(app, 'app_id')}.{token(chat, 'chat_id')}"


def ordered_id(key: ChatKey, seq: int) -> str:
    """The `_id` of a document that belongs to an event of a chat."""
    return f"{chat_tokens(key)}.{seq:0{SEQ_DIGITS}}"


def chat_range(key: ChatKey, first: int | None = None) -> Record:
    """The filter for the documents with an `ordered_id` of a chat, or for those from an event on."""
    tokens = chat_tokens(key)
    start = f"{tokens}." if first is None else ordered_id(key, first)
    return {"_id": {"$gte": start, "$lt": end_of_range(key)}, "app_id": key.app}


def within(chat: Record, ids: Record) -> Record:
    """The filter for those documents of a `chat_range` whose `_id` meets further conditions."""
    return {**chat, "_id": {**chat["_id"], **ids}}


def end_of_range(key: ChatKey) -> str:
    """The first string after every `ordered_id` of a chat: `/` comes after `.`, and is in no token."""
    return f"{chat_tokens(key)}/"


def archive_records_of(events: Iterable[ArchivedEvent]) -> list[Record]:
    """The documents `ArchivedMessage` of events; those of one message come one after the other."""
    messages: list[list[ArchivedEvent]] = []
    for one in events:
        if messages and _is_of_same_message(messages[-1][-1], one):
            messages[-1].append(one)
        else:
            messages.append([one])
    return [
        archive_record(
            one[0].envelope.key,
            one[0].envelope.seq,
            one[0].position,
            [event.data for event in one],
        )
        for one in messages
    ]


def _is_of_same_message(before: ArchivedEvent, one: ArchivedEvent) -> bool:
    return (
        one.position == before.position
        and one.envelope.seq == before.envelope.seq + 1
        and one.envelope.key == before.envelope.key
    )


def archive_record(key: ChatKey, seq: int, position: int, lines: Sequence[bytes]) -> Record:
    """The document `ArchivedMessage` of a message whose first event is `seq`."""
    return {
        "_id": ordered_id(key, seq),
        "app_id": key.app,
        "chat_id": key.chat,
        "seq": seq,
        "position": position,
        "raw": b"\n".join(lines),
    }


def value_record(key: ChatKey, value: LargeValue) -> Record:
    """The document `ArchivedValue` of a large value."""
    return {
        "_id": value_id(key, value.reference.digest),
        "app_id": key.app,
        "chat_id": key.chat,
        "digest": value.reference.digest,
        "media_type": value.reference.media_type,
        "raw": value.data,
    }


def value_id(key: ChatKey, digest: str) -> str:
    return f"{chat_tokens(key)}.{digest}"


def session_record(session: Session) -> Record:
    """The document `ChatSession` of a session."""
    artifact = session.last_artifact
    return {
        "_id": chat_record_id(session.app_id, session.chat_id),
        **{name: getattr(session, name) for name in _SESSION_FIELDS},
        "completed_at": session.completed_at,
        "waiting_for": list(recipients(session)),
        "waiting_since": waiting_since(session),
        "open_questions": [_plain(question) for question in session.open_questions],
        "last_artifact": None if artifact is None else _plain(artifact),
        "dropped": [_plain(stretch) for stretch in session.dropped],
        "origin": None if session.origin is None else session.origin.model_dump(),
        "segments": [part.model_dump() for part in session.segments],
        **_totals_record(session.totals),
    }


def stats_record(stats: ChatStats) -> Record:
    """The document `WorkflowChatStats` of a chat's statistics."""
    return {
        "_id": chat_record_id(stats.app_id, stats.chat_id),
        **{name: getattr(stats, name) for name in _STATS_FIELDS},
        **_totals_record(stats.totals),
    }


def message_record(message: Message) -> Record:
    """The document `ChatMessage` of a message."""
    return {
        "_id": ordered_id(message.key, message.seq),
        **message.model_dump(),
    }


def effect_record(effect: StoredEffect) -> Record:
    """The document `ChatEffect` of a record of the effect ledger."""
    key, record = effect.key, effect.record
    body = record.body
    return {
        "_id": ordered_id(key, record.seq),
        "app_id": key.app,
        "chat_id": key.chat,
        "seq": record.seq,
        "time": record.time,
        "turn": body.turn,
        "starts": isinstance(body, DispatchRecord) and body.is_start,
        "body": body.model_dump_json(),
    }


def model_call_record(call: ModelCall) -> Record:
    """The document `RuntimeLogEntry` of a model call."""
    return {
        "_id": ordered_id(call.key, call.seq),
        "app_id": call.app_id,
        "chat_id": call.chat_id,
        "ended_at": call.ended_at,
        "call": call.model_dump_json(),
    }


def _plain(row: OpenQuestion | ArtifactReference | DroppedRange) -> Record:
    return {field.name: getattr(row, field.name) for field in fields(row)}


def _totals_record(totals: ChatTotals) -> Record:
    return {
        **{name: getattr(totals, name) for name in TOTALS},
        "total_tokens": totals.total_tokens,
    }


def _totals_of(document: ChatSession | WorkflowChatStats) -> ChatTotals:
    return ChatTotals(
        agent_turns=document.agent_turns,
        tool_calls=document.tool_calls,
        errors=document.errors,
        prompt_tokens=document.prompt_tokens,
        completion_tokens=document.completion_tokens,
        cost=document.cost,
    )
