"""What is kept of a chat, the one rule of keeping it, and what a store must offer.

The rule: a session at `last_seq` n is a function of events 1 to n, and so are its statistics. So the
newest wins, and two writers can never disagree; a message is written once and never again.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

from contracts.catalogue import ChatStatus
from contracts.envelope import Envelope
from contracts.event_log import Head, StoredEvent
from contracts.ids import (
    AgentName,
    AppId,
    ChatId,
    ChatKey,
    QuestionId,
    Seq,
    StreamSeq,
    UserId,
    WorkflowName,
)

Role = Literal["user", "assistant", "tool"]

PAGE = 200
"""Events that a reader of the archive, or of a gap in the log, holds at a time."""


class StoreAwayError(Exception):
    """The database does not answer: what was asked may or may not have happened; ask again."""


class StoreUnfitError(Exception):
    """The database is there, but this release cannot work on it."""


@dataclass(frozen=True, slots=True)
class Archived:
    """An event exactly as the log held it, and the position of its message there."""

    stored: StoredEvent
    position: StreamSeq

    @property
    def envelope(self) -> Envelope:
        return self.stored.envelope

    @property
    def data(self) -> bytes:
        """Its canonical bytes."""
        return self.stored.data


class Line(NamedTuple):
    """What the archive holds of one event, read by nobody: it may be damaged."""

    seq: Seq
    position: StreamSeq
    data: bytes


@dataclass(frozen=True, slots=True)
class Session:
    """A chat in short, as of event `last_seq`. Nothing in it grows with the chat's length."""

    app_id: AppId
    chat_id: ChatId
    workflow_name: WorkflowName
    created_at: datetime
    last_updated_at: datetime
    last_seq: Seq
    last_digest: str
    """Of event `last_seq`: what the next event must name as the one before it."""
    last_position: StreamSeq
    """Where the message of event `last_seq` lies in the log."""
    user_id: UserId | None = None
    status: ChatStatus = "running"
    end_reason: str = ""
    completed_at: datetime | None = None
    """Set where the chat ended as its workflow meant it to; `ended_at`, however it ended."""
    ended_at: datetime | None = None
    cache_seed: int | None = None
    client_request_id: str | None = None
    title: str = ""
    speaker: AgentName | None = None
    open_questions: tuple[QuestionId, ...] = ()
    message_count: int = 0
    agent_turns: int = 0
    tool_calls: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    """Of all model calls, in US dollars."""

    @property
    def key(self) -> ChatKey:
        return ChatKey(self.app_id, self.chat_id)

    @property
    def head(self) -> Head:
        return Head(self.last_seq, self.last_digest)


@dataclass(frozen=True, slots=True)
class ChatStats:
    """What one chat adds to the statistics of its workflow, as of event `last_seq`."""

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


class CalledFunction(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    arguments: str


class MessageCall(BaseModel):
    """A tool call in the form that models and AG2 exchange."""

    model_config = ConfigDict(frozen=True)

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(BaseModel):
    """One line of a transcript: the strict AG2 form, and where in which chat it was said."""

    model_config = ConfigDict(frozen=True)

    app_id: AppId
    chat_id: ChatId
    seq: Seq
    time: datetime
    role: Role
    name: str
    content: str | None
    tool_calls: tuple[MessageCall, ...] | None = None
    tool_call_id: str | None = None

    @property
    def key(self) -> ChatKey:
        return ChatKey(self.app_id, self.chat_id)

    def strict(self) -> dict[str, Any]:
        """Exactly `role, name, content`, and `tool_calls` or `tool_call_id` where there are some."""
        place = {"app_id", "chat_id", "seq", "time"}
        line = self.model_dump(mode="json", exclude=place, exclude_none=True)
        return {"role": self.role, "name": self.name, "content": self.content, **line}


@dataclass(frozen=True, slots=True)
class Change:
    """What some events make of a chat: its session and statistics anew, and what was said in them."""

    session: Session
    stats: ChatStats
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkflowTotals:
    """The chats of one app's workflow, summed."""

    chats: int = 0
    duration_sec: float = 0.0
    agent_turns: int = 0
    tool_calls: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class Look:
    """What a database holds: an id of each collection, new where it was made anew, and those of
    events, sessions and messages that hold something."""

    collections: Mapping[str, str]
    filled: frozenset[str]


class Store(Protocol):
    """Every method raises StoreAwayError where the database does not answer."""

    async def archive(self, events: Sequence[Archived]) -> None:
        """Keep events as they are; one that is there already stays untouched."""

    async def keep(self, changes: Sequence[Change]) -> None:
        """Keep what is newer than what is there; the rest changes nothing."""

    async def rewrite(self, events: Sequence[Archived]) -> None:
        """Put events into the archive in place of what it holds in their places."""

    async def replace(self, whole: Change) -> None:
        """Put what a chat's events make of it, from the first on, in place of what is there.

        What is newer stays: sessions and statistics as of a later event, and later messages.
        """

    async def sessions(self, keys: Collection[ChatKey]) -> dict[ChatKey, Session]:
        """The sessions of these chats, as far as there are any that can be read."""

    async def messages(self, key: ChatKey) -> list[Message]:
        """What was said in a chat, in order."""

    async def stats(self, key: ChatKey, workflow: WorkflowName) -> ChatStats | None:
        """What a chat adds to the statistics of its workflow."""

    async def workflow_totals(self, app: AppId, workflow: WorkflowName) -> WorkflowTotals:
        """The statistics of one app's workflow over all its chats."""

    def archived(self, key: ChatKey, *, after: Seq) -> AsyncIterator[Line]:
        """A chat's archive past a cursor, in order."""

    def archived_chats(self) -> AsyncIterator[ChatKey]:
        """Every chat of which the archive holds something."""

    def all_sessions(self) -> AsyncIterator[Session]:
        """The sessions of all chats, as far as they can be read."""

    async def unbegun(self, keys: Collection[ChatKey]) -> set[ChatKey]:
        """Those of these chats whose first event is not in the archive."""


def supersedes(new: Session | ChatStats, old: Session | ChatStats | None) -> bool:
    return old is None or new.last_seq > old.last_seq


def is_newer(old: Session | ChatStats | None, new: Session | ChatStats) -> bool:
    """Whether what is there is as of a later event, so that it stays."""
    return old is not None and old.last_seq > new.last_seq
