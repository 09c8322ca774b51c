"""Lists of a user's chats: what the transport asks of persistence, and what persistence answers."""

from datetime import datetime, timedelta
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from contracts import subjects
from contracts.catalogue import ChatStatus, ChatSummary
from contracts.envelope import Instant
from contracts.ids import AgentName, AppId, ChatId, UserId, WorkflowName
from contracts.lookup_base import EPOCH, LookupAnswer, LookupRequest

MAX_CHATS = 100
"""Chats in one answer."""
MAX_CHAT_IDS = 1000
"""Ids of chats in one answer."""
MAX_WORKFLOWS = 50
"""Names of workflows in one request."""
MAX_SEARCH_CHARS = 100
"""Of a text to search for."""
CHAT_CURSOR_PATTERN = r"^[0-9]{1,14}\.=?[A-Za-z0-9_-]{1,80}$"

ChatPlace = Literal["active", "archived", "deleted"]
"""Which chats are listed: `active` are neither archived nor deleted, `deleted` ones not erased yet."""


class ChatsRequested(LookupRequest):
    """A page of a user's chats, the one that changed last first.

    `statuses` and `workflows` list those only, where they are not empty. `search` are words that all
    occur, in any case and within other words, in the title of a chat, or together in one message of
    it. `visible_agents` are the agents whose messages the user may see, by workflow; a workflow that
    it does not name has no others. `cursor` is the `next` of the page before.
    """

    app_id: AppId
    user_id: UserId
    place: ChatPlace = "active"
    statuses: list[ChatStatus] = Field(default=[], max_length=10)
    workflows: list[WorkflowName] = Field(default=[], max_length=MAX_WORKFLOWS)
    search: str = Field(default="", max_length=MAX_SEARCH_CHARS)
    visible_agents: dict[WorkflowName, list[AgentName]] = {}
    cursor: str | None = Field(default=None, pattern=CHAT_CURSOR_PATTERN)
    limit: int = Field(default=50, ge=1, le=MAX_CHATS)

    @property
    def words(self) -> list[str]:
        """What is searched for; none: every chat is listed."""
        return self.search.split()

    @property
    def subject(self) -> str:
        return subjects.chats_query(self.app_id, self.request_id)

    @property
    def answer_subject(self) -> str:
        return subjects.query_answer(self.subject)


class ListedChat(BaseModel):
    """A row of the list; `excerpt` is the part of a message that has the words searched for."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    summary: ChatSummary
    excerpt: str | None = None


class ChatsFound(LookupAnswer):
    """Fewer than were asked for, also none, where a search went through many others: `next` goes on."""

    chats: list[ListedChat] = []
    next: str | None = None


class ChatCursor(BaseModel):
    """A place among a user's chats: when the chat changed last, and the chat."""

    model_config = ConfigDict(frozen=True)

    updated_at: datetime
    chat_id: ChatId

    def __str__(self) -> str:
        milliseconds = round(self.updated_at.timestamp() * 1000)
        return f"{milliseconds}.{subjects.token(self.chat_id, 'chat_id')}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """A text that matches CHAT_CURSOR_PATTERN. Raises InvalidSubjectError."""
        milliseconds, _, chat = text.partition(".")
        updated_at = EPOCH + timedelta(milliseconds=int(milliseconds))
        return cls(updated_at=updated_at, chat_id=ChatId(subjects.untoken(chat)))


class ChatIdsRequested(LookupRequest):
    """The ids of an app's chats, of one user or of all, deleted ones included, in the order of ids.

    `after` is the last id of the page before.
    """

    app_id: AppId
    user_id: UserId | None = None
    after: ChatId | None = None
    limit: int = Field(default=500, ge=1, le=MAX_CHAT_IDS)

    @property
    def subject(self) -> str:
        return subjects.chat_ids_query(self.app_id, self.request_id)

    @property
    def answer_subject(self) -> str:
        return subjects.query_answer(self.subject)


class ChatIdsFound(LookupAnswer):
    """As many ids as were asked for, where there are more."""

    chat_ids: list[ChatId] = []


class ChatStart(BaseModel):
    """A place among a user's chats in the order of their starts: when a chat started, and the chat."""

    model_config = ConfigDict(frozen=True)

    created_at: Instant
    chat_id: ChatId


class StartedChatsRequested(LookupRequest):
    """A user's chats of one workflow that started before a place, the last one first.

    Archived and deleted ones are among them, so that each can be numbered.
    """

    app_id: AppId
    user_id: UserId
    workflow_name: WorkflowName
    before: ChatStart | None = None
    limit: int = Field(default=50, ge=1, le=MAX_CHATS)

    @property
    def subject(self) -> str:
        return subjects.started_chats_query(self.app_id, self.request_id)

    @property
    def answer_subject(self) -> str:
        return subjects.query_answer(self.subject)


class StartedChatsFound(LookupAnswer):
    """As many chats as were asked for, where there are more; `count` is how many there are in all."""

    chats: list[ChatSummary] = []
    count: int = 0
