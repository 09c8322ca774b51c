"""The path, query and header parameters of the HTTP API: type, limits, description and example."""

from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Literal, get_args

from litestar.openapi.spec import Example, OpenAPIType, Schema
from litestar.params import HeaderParameter, PathParameter, QueryParameter

from contracts.catalogue import ChatStatus
from contracts.chat_pages import CHAT_CURSOR_PATTERN, MAX_SEARCH_CHARS, ChatPlace
from contracts.chat_pages import MAX_CHATS as MAX_USER_CHATS
from contracts.ids import AppId, Seq
from contracts.lookups import (
    CURSOR_PATTERN,
    EFFECT_CURSOR_PATTERN,
    INBOX_CURSOR_PATTERN,
    MAX_EFFECTS,
    MAX_FORKS,
    MAX_INBOX,
    MAX_MESSAGES,
)
from contracts.runtime_log import MAX_MODEL_CALLS
from contracts.wire.json_values import MAX_SAFE_INTEGER
from services.transport.errors import bad_request
from services.transport.http.models.base import CHAT_ID, CURSOR
from services.transport.http.models.effects import EFFECT_CURSOR
from services.transport.http.models.files import ATTACHMENT_ID, STORED_PATH
from services.transport.protocol.chat_projection import ChatView
from services.transport.protocol.history import MAX_EVENTS

MAX_ENTRIES = 5000
"""Entries of a timeline in one answer."""
MAX_LETTERS = 200
MAX_WAIT_SECONDS = 30
MAX_CHATS = 500
MAX_GENERAL = 200
"""General chats, or messages of one, in one answer."""


def _path(description: str, example: str) -> PathParameter:
    return PathParameter(description=description, min_length=1, examples=[Example(value=example)])


def _limit(maximum: int, example: int) -> QueryParameter:
    return QueryParameter(
        description="How many to list at most.",
        ge=1,
        le=maximum,
        examples=[Example(value=example)],
    )


def _optional(kind: OpenAPIType, **limits: int) -> dict[str, Any]:
    """The schema of a parameter that may be left out: it is never null, as Litestar would say."""
    return {"one_of": None, "type": kind, **limits}


def _before(description: str) -> QueryParameter:
    return QueryParameter(
        name="before",
        description=description,
        ge=1,
        le=MAX_SAFE_INTEGER,
        schema_extra=_optional(OpenAPIType.INTEGER, minimum=1),
        examples=[Example(value=101)],
    )


AppIdPath = Annotated[str, _path("The id of the app, percent-encoded.", "acme")]
WorkflowPath = Annotated[str, _path("The name of the workflow, percent-encoded.", "HelloWorld")]
ChatIdPath = Annotated[str, _path("The id of the chat, percent-encoded.", CHAT_ID)]
UserIdPath = Annotated[str, _path("The id of the user, percent-encoded.", "ana")]
QuestionIdPath = Annotated[
    str, _path("The id of the question, percent-encoded.", "acme.c-1.1.0.call-1")
]
LinkTokenPath = Annotated[str, _path("The token of the link.", "eyJhcHBfaWQiOi...")]
GeneralChatIdPath = Annotated[str, _path("The id of the general chat, percent-encoded.", CHAT_ID)]
AttachmentIdPath = Annotated[str, _path("The id of the file, percent-encoded.", ATTACHMENT_ID)]
DigestPath = Annotated[
    str, _path("SHA-256 of the value's bytes, in hex.", sha256(b"value").hexdigest())
]

OptionalAppIdQuery = Annotated[
    AppId | None,
    QueryParameter(
        name="app_id",
        description="The id of an app; without it all apps.",
        schema_extra=_optional(OpenAPIType.STRING),
        examples=[Example(value="acme")],
    ),
]
UserIdQuery = Annotated[
    str,
    QueryParameter(
        name="user_id",
        description="The id of the user.",
        min_length=1,
        examples=[Example(value="ana")],
    ),
]
OptionalChatIdQuery = Annotated[
    str | None,
    QueryParameter(
        name="chat_id",
        description="The id of a chat.",
        schema_extra=_optional(OpenAPIType.STRING),
        examples=[Example(value=CHAT_ID)],
    ),
]
WithForksQuery = Annotated[
    bool,
    QueryParameter(
        name="with_forks",
        description="The forks that read the chat go, too.",
        examples=[Example(value=False)],
    ),
]
OptionalUserIdQuery = Annotated[
    str | None,
    QueryParameter(
        name="user_id",
        description="The id of the user that it must belong to.",
        schema_extra=_optional(OpenAPIType.STRING),
        examples=[Example(value="ana")],
    ),
]
StoredPathQuery = Annotated[
    str,
    QueryParameter(
        name="file_path",
        description="The `stored_path` of the answer to the upload.",
        min_length=1,
        examples=[Example(value=STORED_PATH)],
    ),
]
ChatLimitQuery = Annotated[int, _limit(MAX_CHATS, 20)]
GeneralLimitQuery = Annotated[int, _limit(MAX_GENERAL, 50)]
MessageLimitQuery = Annotated[int, _limit(MAX_MESSAGES, 50)]
CursorQuery = Annotated[
    str | None,
    QueryParameter(
        name="cursor",
        description="The `next` of the page before; left out for the first page.",
        pattern=CURSOR_PATTERN,
        schema_extra=_optional(OpenAPIType.STRING),
        examples=[Example(value=CURSOR)],
    ),
]
InboxCursorQuery = Annotated[
    str | None,
    QueryParameter(
        name="cursor",
        description="The `next` of the page before; left out for the first page.",
        pattern=INBOX_CURSOR_PATTERN,
        schema_extra=_optional(OpenAPIType.STRING),
        examples=[Example(value="1764072000000.c-1")],
    ),
]
InboxLimitQuery = Annotated[int, _limit(MAX_INBOX, 50)]
RolesQuery = Annotated[
    list[str] | None,
    QueryParameter(
        name="role",
        description="Roles whose questions are listed, too; by default those of the token.",
        schema_extra={
            "one_of": None,
            "type": OpenAPIType.ARRAY,
            "items": Schema(type=OpenAPIType.STRING),
        },
        examples=[Example(value=["finance"])],
    ),
]
UserChatCursorQuery = Annotated[
    str | None,
    QueryParameter(
        name="cursor",
        description="The `next` of the page before; left out for the first page.",
        pattern=CHAT_CURSOR_PATTERN,
        schema_extra=_optional(OpenAPIType.STRING),
        examples=[Example(value="1764072000000.c-1")],
    ),
]
UserChatLimitQuery = Annotated[int, _limit(MAX_USER_CHATS, 20)]
SearchQuery = Annotated[
    str,
    QueryParameter(
        name="search",
        description="Words that all occur in the title of a chat, or together in one message of it, in"
        " any case and within other words, too.",
        max_length=MAX_SEARCH_CHARS,
        examples=[Example(value="bread")],
    ),
]
ChatPlaceQuery = Annotated[
    ChatPlace,
    QueryParameter(
        name="place",
        description="Which chats: `active` are neither archived nor deleted; `deleted` ones can be"
        " undeleted.",
        examples=[Example(value="active")],
    ),
]
ChatStatusQuery = Annotated[
    list[ChatStatus] | None,
    QueryParameter(
        name="status",
        description="Only chats with one of these statuses.",
        schema_extra={
            "one_of": None,
            "type": OpenAPIType.ARRAY,
            "items": Schema(type=OpenAPIType.STRING, enum=list(get_args(ChatStatus))),
        },
        examples=[Example(value=["waiting"])],
    ),
]
WorkflowNamesQuery = Annotated[
    list[str] | None,
    QueryParameter(
        name="workflow",
        description="Only chats of one of these workflows.",
        schema_extra={
            "one_of": None,
            "type": OpenAPIType.ARRAY,
            "items": Schema(type=OpenAPIType.STRING),
        },
        examples=[Example(value=["HelloWorld"])],
    ),
]
EffectLimitQuery = Annotated[int, _limit(MAX_EFFECTS, 50)]
ModelCallLimitQuery = Annotated[int, _limit(MAX_MODEL_CALLS, 50)]
OfChatQuery = Annotated[
    str | None,
    QueryParameter(
        name="chat_id",
        description="Only this chat.",
        schema_extra=_optional(OpenAPIType.STRING),
        examples=[Example(value=CHAT_ID)],
    ),
]
EffectCursorQuery = Annotated[
    str | None,
    QueryParameter(
        name="cursor",
        description="The `next` of the page before; left out for the first page.",
        pattern=EFFECT_CURSOR_PATTERN,
        schema_extra=_optional(OpenAPIType.STRING),
        examples=[Example(value=EFFECT_CURSOR)],
    ),
]
SinceQuery = Annotated[
    datetime,
    QueryParameter(
        name="since",
        description="ISO 8601 with offset: the first time that counts.",
        examples=[Example(value="2026-11-25T00:00:00Z")],
    ),
]
UntilQuery = Annotated[
    datetime,
    QueryParameter(
        name="until",
        description="ISO 8601 with offset: the first time that does not count any more.",
        examples=[Example(value="2026-11-26T00:00:00Z")],
    ),
]
AfterQuery = Annotated[
    int,
    QueryParameter(
        name="after",
        description="The `seq` of the last event that the client has; 0 for all of them.",
        ge=0,
        le=MAX_SAFE_INTEGER,
        examples=[Example(value=5)],
    ),
]
TailQuery = Annotated[
    int | None,
    QueryParameter(
        name="tail",
        description="Only so many of the newest events, instead of `after`; a stream has them in"
        " `chat.history` messages.",
        ge=1,
        le=MAX_EVENTS,
        schema_extra=_optional(OpenAPIType.INTEGER, minimum=1, maximum=MAX_EVENTS),
        examples=[Example(value=100)],
    ),
]
BeforeQuery = Annotated[
    int | None,
    _before("Only events before this `seq`, the newest of them; the answer is one JSON page."),
]
EventLimitQuery = Annotated[
    int,
    QueryParameter(
        name="limit",
        description="How many events before `before` at most.",
        ge=1,
        le=MAX_EVENTS,
        examples=[Example(value=100)],
    ),
]
SeqPath = Annotated[
    int,
    PathParameter(
        description="The `seq` of an event.",
        ge=1,
        le=MAX_SAFE_INTEGER,
        examples=[Example(value=6)],
    ),
]
LetterPath = Annotated[
    int,
    PathParameter(
        description="The number of a dead letter.",
        ge=1,
        le=MAX_SAFE_INTEGER,
        examples=[Example(value=7)],
    ),
]
OtherChatIdPath = Annotated[
    str, _path("The id of the chat to compare with, percent-encoded.", CHAT_ID)
]
TimelineBeforeQuery = Annotated[
    int | None, _before("Only entries that began before this `seq`; left out for the newest.")
]
EntryLimitQuery = Annotated[int, _limit(MAX_ENTRIES, 500)]
LetterBeforeQuery = Annotated[
    int | None, _before("Only letters before this one; left out for the newest.")
]
LetterLimitQuery = Annotated[int, _limit(MAX_LETTERS, 50)]
AtQuery = Annotated[
    int | None,
    QueryParameter(
        name="at",
        description="The `seq` of the event after which the chat is shown; left out for now.",
        ge=1,
        le=MAX_SAFE_INTEGER,
        schema_extra=_optional(OpenAPIType.INTEGER, minimum=1),
        examples=[Example(value=12)],
    ),
]
ForkLimitQuery = Annotated[int, _limit(MAX_FORKS, 50)]
ForkCursorQuery = Annotated[
    str | None,
    QueryParameter(
        name="cursor",
        description="The `next` of the page before; left out for the first page.",
        schema_extra=_optional(OpenAPIType.STRING),
        examples=[Example(value=CHAT_ID)],
    ),
]
AfterMessageQuery = Annotated[
    int,
    QueryParameter(
        name="after_sequence",
        description="The `sequence` of the last message that the client has; -1 for all of them.",
        ge=-1,
        le=MAX_SAFE_INTEGER,
        examples=[Example(value=-1)],
    ),
]
WaitQuery = Annotated[
    float | None,
    QueryParameter(
        name="wait",
        description="Seconds to wait for the first event; the answer is then one JSON page.",
        ge=0,
        le=MAX_WAIT_SECONDS,
        schema_extra=_optional(OpenAPIType.NUMBER, minimum=0),
        examples=[Example(value=20)],
    ),
]
RawEventsQuery = Annotated[
    Literal[0, 1],
    QueryParameter(
        name="events",
        description="1 adds every event as it is stored; for operators.",
        examples=[Example(value=0)],
    ),
]
LastEventIdHeader = Annotated[
    int | None,
    HeaderParameter(
        name="Last-Event-ID",
        description="The `id` of the last message that the client has; wins over `after`.",
        ge=0,
        le=MAX_SAFE_INTEGER,
        schema_extra=_optional(OpenAPIType.INTEGER, minimum=0),
        examples=[Example(value=5)],
    ),
]
KnownVersionHeader = Annotated[
    str | None,
    HeaderParameter(
        name="If-None-Match",
        description="The `ETag` of the document that the client has.",
        schema_extra=_optional(OpenAPIType.STRING),
    ),
]


def require_event(view: ChatView, at: int) -> Seq:
    """The event of a past view. Raises ApiError where the chat does not reach it."""
    if at > view.last_seq:
        raise bad_request("at", f"found {at}, the chat ends at event {view.last_seq}")
    return Seq(at)
