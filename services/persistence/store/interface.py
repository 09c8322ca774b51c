"""What persistence stores of a chat, the rule of replacing it, and the interface of a store.

The rule: a session at `last_seq` n is a function of events 1 to n, and so are its statistics. So the
newest wins, and two writers can never disagree; a message is written once and never again.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol

from contracts.catalogue import ChatStatus
from contracts.chat_pages import ChatCursor, ChatPlace, ChatStart
from contracts.chat_snapshot import NO_TOTALS, ChatSnapshot, ChatTotals
from contracts.effects import EffectRecord
from contracts.envelope import Envelope
from contracts.event_log import EMPTY, Head, StoredEvent
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
from contracts.large_values import LargeValue
from contracts.lookups import InboxCursor
from contracts.rewinds import DroppedRange
from contracts.runtime_log import ModelCall
from contracts.subjects import chat_tokens
from contracts.transcript import TranscriptMessage

PAGE = 200
"""Events that a reader of the archive, or of a gap in the log, holds at a time."""


_BEFORE_FIRST = StreamSeq(0)


class StoreUnavailableError(Exception):
    """The database does not answer: the operation may or may not have happened; try again."""


class StoreIncompatibleError(Exception):
    """The database answers, but this release cannot work on it."""


@dataclass(frozen=True, slots=True)
class ArchivedEvent:
    """An event exactly as the log holds it, and the position of its message there."""

    stored: StoredEvent
    position: StreamSeq

    @property
    def envelope(self) -> Envelope:
        return self.stored.envelope

    @property
    def data(self) -> bytes:
        """Its canonical bytes."""
        return self.stored.data


class ArchiveRecord(NamedTuple):
    """What the archive holds of one event, not decoded: it may be damaged."""

    seq: Seq
    position: StreamSeq
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Session(ChatSnapshot):
    """A chat as of event `last_seq`, and where in the log that event is."""

    last_digest: str = EMPTY.digest
    """Of event `last_seq`: what the next event must name as the one before it."""
    last_position: StreamSeq = _BEFORE_FIRST
    """Of the message of event `last_seq` in the log."""
    message_count: int = 0
    """Messages of the transcript."""

    @property
    def head(self) -> Head:
        return Head(self.last_seq, self.last_digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatStats:
    """What one chat adds to the statistics of its workflow, as of event `last_seq`."""

    app_id: AppId
    chat_id: ChatId
    workflow_name: WorkflowName
    status: ChatStatus
    last_seq: Seq
    last_updated_at: datetime
    duration_sec: float
    totals: ChatTotals


class Message(TranscriptMessage):
    """A message of a transcript, and the event that it comes from.

    `agent` is whose turn it was said in, also for the results of tools; `user` for the user's own
    messages. A `hidden` text is for the runtime and not for users.
    """

    app_id: AppId
    chat_id: ChatId
    seq: Seq
    time: datetime
    agent: AgentName
    hidden: bool = False

    @property
    def key(self) -> ChatKey:
        return ChatKey(self.app_id, self.chat_id)


@dataclass(frozen=True, slots=True)
class StoredEffect:
    """A record of the effect ledger, and the chat that it belongs to."""

    key: ChatKey
    record: EffectRecord


class EffectPlace(NamedTuple):
    """The place of an effect among all those of an app; `chat` are the chat's tokens."""

    time: datetime
    chat: str
    seq: Seq


def place_of_call(call: ModelCall) -> EffectPlace:
    """The place of a model call among all those of an app."""
    return EffectPlace(call.ended_at, chat_tokens(call.key), call.seq)


@dataclass(frozen=True, slots=True)
class EffectStart:
    """The first attempt of a call that may have an effect: event `seq` of a chat."""

    key: ChatKey
    seq: Seq
    time: datetime
    turn: int

    @property
    def place(self) -> EffectPlace:
        return EffectPlace(self.time, chat_tokens(self.key), self.seq)


@dataclass(frozen=True, slots=True)
class ProjectionUpdate:
    """What some events make of a chat: its new session and statistics, and the messages, records of
    effects and model calls in them.
    """

    session: Session
    stats: ChatStats
    messages: tuple[Message, ...] = ()
    effects: tuple[StoredEffect, ...] = ()
    model_calls: tuple[ModelCall, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkflowTotals:
    """The chats of one app's workflow: how many have each status, and their sums."""

    chats: Mapping[ChatStatus, int] = field(default_factory=dict)
    duration_sec: float = 0.0
    totals: ChatTotals = NO_TOTALS


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """What a database holds.

    `collections` are the ids of the collections by name: a recreated collection has another id.
    `filled` names those of events, sessions and messages that are not empty.
    """

    collections: Mapping[str, str]
    filled: frozenset[str]


class TimeSpan(NamedTuple):
    """From `since` on, and before `until`."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class ChatFilter:
    """Which of a user's chats are listed; of statuses and workflows, none means all."""

    app: AppId
    user: UserId
    place: ChatPlace = "active"
    statuses: tuple[ChatStatus, ...] = ()
    workflows: tuple[WorkflowName, ...] = ()

    def admits(self, session: Session) -> bool:
        """Whether a chat is listed."""
        if (session.app_id, session.user_id) != (self.app, self.user):
            return False
        place = "archived" if session.is_archived else "active"
        return (
            self.place == ("deleted" if session.deleted_at is not None else place)
            and (not self.statuses or session.status in self.statuses)
            and (not self.workflows or session.workflow_name in self.workflows)
        )


@dataclass(frozen=True, slots=True)
class StartedChats:
    """A user's chats of one workflow, archived and deleted ones, too; those that started before a place."""

    app: AppId
    user: UserId
    workflow: WorkflowName
    before: ChatStart | None = None


class Store(Protocol):
    """Every method raises StoreUnavailableError where the database does not answer."""

    async def archive(self, events: Sequence[ArchivedEvent]) -> None:
        """Add events to the archive; one that is there already stays untouched."""

    async def archive_value(self, key: ChatKey, value: LargeValue) -> None:
        """Add a large value of a chat to the archive; one that is there already stays untouched."""

    async def archived_value(self, key: ChatKey, digest: str) -> bytes | None:
        """The bytes of a large value of a chat, None if it is not in the archive."""

    async def save(self, updates: Sequence[ProjectionUpdate]) -> None:
        """Store what is newer than what is there; the rest changes nothing."""

    async def project(
        self, events: Sequence[ArchivedEvent], updates: Sequence[ProjectionUpdate]
    ) -> None:
        """Archive events and save what they make of their chats, with as few waits as that takes."""

    async def repair_archive(self, events: Sequence[ArchivedEvent]) -> None:
        """Make these events, of one chat and from its first on, its archive; what is later stays."""

    async def replace(self, whole: ProjectionUpdate) -> None:
        """Replace what is stored of a chat by the projection of its events from the first on.

        What is newer stays: sessions and statistics as of a later event, and later messages.
        """

    async def erase(self, tombstone: ArchivedEvent, whole: ProjectionUpdate) -> int:
        """Remove all that is stored of a chat before its last event, which erases it; how many documents.

        `whole` is what that event alone makes of the chat: it replaces the session and statistics.
        """

    async def not_erased(
        self, app: AppId, user: UserId | None, after: ChatId | None, limit: int
    ) -> list[ChatId]:
        """The ids of an app's chats that have a user, of this one or of any: an erased chat has none.

        In the order of ids, after one of them.
        """

    async def sessions(self, keys: Collection[ChatKey]) -> dict[ChatKey, Session]:
        """The sessions of these chats, as far as there are any that can be read."""

    async def messages(self, key: ChatKey) -> list[Message]:
        """The messages of a chat in the order of their events."""

    def messages_from(self, key: ChatKey, first: Seq) -> AsyncIterator[Message]:
        """The messages of a chat from an event on, in the order of their events."""

    async def chat_effect_starts(self, key: ChatKey, after: Seq, limit: int) -> list[EffectStart]:
        """The starts of a chat's effects after an event, in order."""

    async def app_effect_starts(
        self, app: AppId, span: TimeSpan, after: EffectPlace | None, limit: int
    ) -> list[EffectStart]:
        """The starts of the effects of an app's chats in a time span after a place, in their order."""

    async def model_calls(
        self, app: AppId, chat: ChatId | None, span: TimeSpan, after: EffectPlace | None, limit: int
    ) -> list[ModelCall]:
        """The model calls of an app, or of one chat, in a time span after a place, as they ended."""

    async def effect_records(
        self, key: ChatKey, turns: Collection[int] | None = None
    ) -> list[EffectRecord]:
        """The records of some turns of a chat, or of all, in the order of their events."""

    async def stats(self, key: ChatKey, workflow: WorkflowName) -> ChatStats | None:
        """What a chat adds to the statistics of its workflow."""

    async def workflow_totals(self, app: AppId, workflow: WorkflowName) -> WorkflowTotals:
        """The statistics of one app's workflow over all its chats."""

    def archive_records(self, key: ChatKey) -> AsyncIterator[ArchiveRecord]:
        """A chat's archive, in order."""

    def archived_chats(self) -> AsyncIterator[ChatKey]:
        """Every chat of which the archive holds something."""

    async def waiting(
        self,
        app: AppId,
        recipients: Collection[str] | None,
        after: InboxCursor | None,
        limit: int,
    ) -> list[Session]:
        """The chats of an app with questions for one of these recipients, None: with any question.

        Those that have waited longest come first, from the one after a cursor on.
        """

    async def chats(
        self, wanted: ChatFilter, after: ChatCursor | None, limit: int
    ) -> list[Session]:
        """A user's chats, the one that changed last first, from the one after a cursor on."""

    async def started(self, wanted: StartedChats, limit: int) -> list[Session]:
        """A user's chats, the one that started last first."""

    async def count_started(self, wanted: StartedChats) -> int:
        """How many they are."""

    async def chat_ids(
        self, app: AppId, user: UserId | None, after: ChatId | None, limit: int
    ) -> list[ChatId]:
        """The ids of an app's chats, of one user or of all, in the order of ids, after one of them."""

    async def newest_with_words(
        self,
        key: ChatKey,
        words: Sequence[str],
        agents: Collection[AgentName],
        dropped: Sequence[DroppedRange] = (),
    ) -> str | None:
        """The newest message of a chat that has all these words; None if there is none.

        Only what users see counts: texts of the user and of these agents, of all where there are
        none, nothing hidden, and nothing that is `dropped`.
        """

    async def erasable(self, before: datetime, limit: int) -> list[ChatKey]:
        """The deleted chats, of all apps, that may be erased since before a time; the oldest first."""

    def all_sessions(self) -> AsyncIterator[Session]:
        """The sessions of all chats, as far as they can be read."""

    async def not_archived(self, keys: Collection[ChatKey]) -> set[ChatKey]:
        """Those of these chats of which the archive holds nothing."""

    async def forks_of(self, key: ChatKey, after: ChatId | None, limit: int) -> list[Session]:
        """The forks that read events of a chat, forks of forks included, by their ids after one."""


def supersedes(new: Session | ChatStats, old: Session | ChatStats | None) -> bool:
    return old is None or new.last_seq > old.last_seq


def is_newer(old: Session | ChatStats | None, new: Session | ChatStats) -> bool:
    """Whether what is stored is as of a later event, so that it stays."""
    return old is not None and old.last_seq > new.last_seq
