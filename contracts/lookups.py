"""Lookups: what services ask of data that persistence can read, and what persistence answers."""

from datetime import datetime, timedelta
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from contracts import subjects
from contracts.catalogue import ChatStatus
from contracts.chat_pages import ChatIdsRequested, ChatsRequested, StartedChatsRequested
from contracts.chat_snapshot import ChatSnapshot, OpenQuestion
from contracts.effects import CallEffect
from contracts.envelope import Instant
from contracts.events.chat import Segment
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
from contracts.lookup_base import EPOCH as EPOCH
from contracts.lookup_base import TIMED_CURSOR_PATTERN
from contracts.lookup_base import LookupAnswer as LookupAnswer
from contracts.lookup_base import LookupRequest as LookupRequest
from contracts.runtime_log import ModelCallsRequested
from contracts.transcript import TranscriptMessage

MAX_MESSAGES = 200
"""Messages of a transcript in one answer."""
MAX_EFFECTS = 100
"""Effects in one answer."""
EFFECT_CURSOR_PATTERN = TIMED_CURSOR_PATTERN
MAX_FORKS = 200
"""Forks in one answer."""
MAX_INBOX = 200
"""Questions of an inbox in one answer."""
INBOX_CURSOR_PATTERN = r"^[0-9]{1,14}\.=?[A-Za-z0-9_-]{1,80}$"
CURSOR_PATTERN = r"^[1-9][0-9]{0,15}\.[0-9]{1,6}$"


class DataRequested(LookupRequest):
    """The newest document of a collection that meets `query`, within the app that asks.

    `fields` are dotted paths; one alone gives its value, several an object of them, none the whole
    document.
    """

    app_id: AppId
    chat_id: ChatId
    database: str
    collection: str
    query: dict[str, Any] = {}
    fields: list[str] = Field(default=[], max_length=100)

    @property
    def key(self) -> ChatKey:
        return ChatKey(self.app_id, self.chat_id)

    @property
    def subject(self) -> str:
        return subjects.lookup(self.key, self.request_id)

    @property
    def answer_subject(self) -> str:
        return subjects.found(self.key, self.request_id)


class DataFound(LookupAnswer):
    """`found` is false where nothing meets the query; `problem` says why it could not be asked."""

    found: bool = False
    value: Any = None


class MessagesRequested(LookupRequest):
    """A page of a chat's transcript, as its user `user_id` may see it.

    `cursor` is the `next` of the page before, none for the first page. `agents` are those whose
    messages the user may see; empty: all. Texts that are hidden from users are left out. Messages
    after event `at` are left out, too.
    """

    app_id: AppId
    chat_id: ChatId
    user_id: UserId
    cursor: str | None = Field(default=None, pattern=CURSOR_PATTERN)
    limit: int = Field(default=50, ge=1, le=MAX_MESSAGES)
    agents: list[AgentName] = []
    at: Seq | None = None

    @property
    def key(self) -> ChatKey:
        return ChatKey(self.app_id, self.chat_id)

    @property
    def subject(self) -> str:
        return subjects.messages_query(self.key, self.request_id)

    @property
    def answer_subject(self) -> str:
        return subjects.query_answer(self.subject)


class MessagesFound(LookupAnswer):
    """Messages in strict order; the results of a response's tool calls directly follow it.

    `next` is the cursor of the next page, none at the end. `last_seq` is the event up to which the
    transcript is known: it trails the log by a moment.
    """

    messages: list[TranscriptMessage] = []
    next: str | None = None
    last_seq: Seq = Field(default=Seq(0), ge=0)


class WorkflowStatsRequested(LookupRequest):
    """The statistics of one app's workflow."""

    app_id: AppId
    workflow_name: WorkflowName

    @property
    def subject(self) -> str:
        return subjects.stats_query(self.app_id, self.workflow_name, self.request_id)

    @property
    def answer_subject(self) -> str:
        return subjects.query_answer(self.subject)


class WorkflowStatsFound(LookupAnswer):
    """Sums over all chats of the workflow; `chats` counts them by status, `cost` is in US dollars."""

    chats: dict[ChatStatus, int] = {}
    duration_sec: float = 0.0
    agent_turns: int = 0
    tool_calls: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0


class SnapshotRequested(LookupRequest):
    """The snapshot of a chat, for who needs not read its log from the beginning."""

    app_id: AppId
    chat_id: ChatId

    @property
    def key(self) -> ChatKey:
        return ChatKey(self.app_id, self.chat_id)

    @property
    def subject(self) -> str:
        return subjects.snapshot_query(self.key, self.request_id)

    @property
    def answer_subject(self) -> str:
        return subjects.query_answer(self.subject)


class SnapshotFound(LookupAnswer):
    """A chat as of its event `snapshot.last_seq`; none where persistence does not know it.

    `digest` is that event's, and `position` that of its message in the log: who reads the log
    checks them.
    """

    snapshot: ChatSnapshot | None = None
    digest: str = ""
    position: StreamSeq = StreamSeq(0)


class RestoreRequested(LookupRequest):
    """The events of a chat whose log is only its newest message are to be restored from the archive."""

    app_id: AppId
    chat_id: ChatId

    @property
    def key(self) -> ChatKey:
        return ChatKey(self.app_id, self.chat_id)

    @property
    def subject(self) -> str:
        return subjects.restore_query(self.key, self.request_id)

    @property
    def answer_subject(self) -> str:
        return subjects.query_answer(self.subject)


class RestoreFound(LookupAnswer):
    """The log of the chat is whole again; `events` are those that were restored by this request."""

    events: int = 0


class InboxRequested(LookupRequest):
    """A page of the open questions that some recipients may answer, the oldest chats first.

    `recipients` are those of `contracts.inbox`; None: all questions of the app. `cursor` is the
    `next` of the page before.
    """

    app_id: AppId
    recipients: list[str] | None = Field(default=None, max_length=100)
    cursor: str | None = Field(default=None, pattern=INBOX_CURSOR_PATTERN)
    limit: int = Field(default=50, ge=1, le=MAX_INBOX)

    @property
    def subject(self) -> str:
        return subjects.inbox_query(self.app_id, self.request_id)

    @property
    def answer_subject(self) -> str:
        return subjects.query_answer(self.subject)


class InboxQuestion(BaseModel):
    """An open question, and the chat that asks it; `user_id` is the user of the chat."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    chat_id: ChatId
    workflow_name: WorkflowName
    user_id: UserId
    question: OpenQuestion


class InboxFound(LookupAnswer):
    """Questions of one chat keep together, so that a page may have some more than its limit."""

    questions: list[InboxQuestion] = []
    next: str | None = None


class InboxCursor(BaseModel):
    """A place among the chats that wait: since when, and the chat."""

    model_config = ConfigDict(frozen=True)

    since: datetime
    chat_id: ChatId

    def __str__(self) -> str:
        milliseconds = round(self.since.timestamp() * 1000)
        return f"{milliseconds}.{subjects.token(self.chat_id, 'chat_id')}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """A text that matches INBOX_CURSOR_PATTERN. Raises InvalidSubjectError."""
        milliseconds, _, chat = text.partition(".")
        since = EPOCH + timedelta(milliseconds=int(milliseconds))
        return cls(since=since, chat_id=ChatId(subjects.untoken(chat)))


class ChatEffectsRequested(LookupRequest):
    """A page of a chat's effects; `cursor` is the `next` of the page before."""

    app_id: AppId
    chat_id: ChatId
    user_id: UserId
    cursor: str | None = Field(default=None, pattern=EFFECT_CURSOR_PATTERN)
    limit: int = Field(default=50, ge=1, le=MAX_EFFECTS)

    @property
    def key(self) -> ChatKey:
        return ChatKey(self.app_id, self.chat_id)

    @property
    def subject(self) -> str:
        return subjects.effects_query(self.key, self.request_id)

    @property
    def answer_subject(self) -> str:
        return subjects.query_answer(self.subject)


class AppEffectsRequested(LookupRequest):
    """A page of the effects of all chats of an app that began from `since` on and before `until`."""

    app_id: AppId
    since: Instant
    until: Instant
    cursor: str | None = Field(default=None, pattern=EFFECT_CURSOR_PATTERN)
    limit: int = Field(default=50, ge=1, le=MAX_EFFECTS)

    @property
    def subject(self) -> str:
        return subjects.app_effects_query(self.app_id, self.request_id)

    @property
    def answer_subject(self) -> str:
        return subjects.query_answer(self.subject)


class EffectsFound(LookupAnswer):
    """Effects in the order of their first attempts; `next` is the cursor of the next page."""

    effects: list[CallEffect] = []
    next: str | None = None


class ForksRequested(LookupRequest):
    """The forks that read events of a chat, forks of forks included; `cursor` is the `next` before."""

    app_id: AppId
    chat_id: ChatId
    cursor: ChatId | None = None
    limit: int = Field(default=50, ge=1, le=MAX_FORKS)

    @property
    def key(self) -> ChatKey:
        return ChatKey(self.app_id, self.chat_id)

    @property
    def subject(self) -> str:
        return subjects.forks_query(self.key, self.request_id)

    @property
    def answer_subject(self) -> str:
        return subjects.query_answer(self.subject)


class FoundFork(BaseModel):
    """A fork, and the last event that it has of its `origin`, which may be a fork itself."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    chat_id: ChatId
    origin: Segment
    status: ChatStatus
    title: str
    created_at: Instant


class ForksFound(LookupAnswer):
    """`next` is the cursor of the next page, none at the end."""

    forks: list[FoundFork] = []
    next: ChatId | None = None


Query = (
    MessagesRequested
    | WorkflowStatsRequested
    | SnapshotRequested
    | InboxRequested
    | ChatEffectsRequested
    | AppEffectsRequested
    | ChatsRequested
    | ForksRequested
    | ChatIdsRequested
    | StartedChatsRequested
    | ModelCallsRequested
    | RestoreRequested
)
"""What is asked of persistence's own read models."""


class MessageCursor(BaseModel):
    """A place in a transcript: the group of messages that begins at event `seq`, and one of them."""

    model_config = ConfigDict(frozen=True)

    seq: Seq
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.seq}.{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """A text that matches CURSOR_PATTERN."""
        seq, _, offset = text.partition(".")
        return cls(seq=Seq(int(seq)), offset=int(offset))
