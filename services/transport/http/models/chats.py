"""Models of the routes that start, find and list chats."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, WithJsonSchema

from contracts.catalogue import ChatStatus, ChatSummary
from contracts.events.turn import InterruptionReason
from contracts.ids import AppId, ChatId, UserId, WorkflowName
from contracts.lookups import MessagesFound
from contracts.transcript import Role
from contracts.wire.client_messages import Variables
from contracts.wire.frames import FRAMES, LastArtifact
from contracts.wire.json_values import MAX_SAFE_INTEGER
from services.transport.http.models.base import (
    CHAT_ID,
    CURSOR,
    EARLIER,
    LATER,
    QUESTION_ID,
    Count,
    EventSequence,
    ForkOrigin,
    RequestModel,
    ResponseModel,
    Timestamp,
    example_of,
)

Seed = Annotated[int, Field(ge=0, lt=2**32)]


class StartChatRequest(RequestModel):
    user_id: UserId = Field(description="The user whose chat it is.", examples=["ana"])
    client_request_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="Idempotency key: requests of a user with an equal key start one chat.",
        examples=["request-1"],
    )
    force_new: bool | None = Field(
        default=None,
        description="Accepted for compatibility: only `client_request_id` decides.",
        examples=[False],
    )
    message: str | None = Field(
        default=None, description="The first message of the user.", examples=["Hello"]
    )
    variables: Variables | None = Field(
        default=None,
        description="Initial values of context variables that users may set.",
        examples=[{"colour": "red"}],
    )
    frontend_context: Variables | None = Field(
        default=None,
        description="Context of the page; agents see each member as the variable `ui_<name>`.",
        examples=[{"route": "/orders"}],
    )


class StartChatAnswer(ResponseModel):
    success: Literal[True] = Field(default=True, description="Always true.")
    chat_id: ChatId = Field(description="The id of the chat.", examples=[CHAT_ID])
    workflow_name: WorkflowName = Field(description="Its workflow.", examples=["HelloWorld"])
    app_id: AppId = Field(description="Its app.", examples=["acme"])
    user_id: UserId = Field(description="Its user.", examples=["ana"])
    websocket_url: str = Field(
        description="The path of the chat's WebSocket.",
        examples=[f"/ws/HelloWorld/acme/{CHAT_ID}/ana"],
    )
    message: str = Field(description="Text for display.", examples=["Chat started."])
    reused: bool = Field(
        description="Whether an earlier request with the same key started it.", examples=[False]
    )
    cache_seed: Seed = Field(
        description="Derived from the ids of app and chat; below 2**32.", examples=[2914703201]
    )


class ChatExistence(ResponseModel):
    exists: bool = Field(
        description="Whether there is such a chat of this workflow that the caller may see.",
        examples=[True],
    )


FrameJson = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "description": "A frame: its AsyncAPI message has the members of `data`, by `type`.",
            "properties": {
                "type": {"enum": sorted({data.frame_type for data in FRAMES})},
                "data": {"type": "object"},
                "timestamp": {"type": "string", "format": "date-time"},
                "seq": {"type": "integer", "minimum": 1, "maximum": MAX_SAFE_INTEGER},
            },
            "required": ["type", "data", "seq"],
        }
    ),
]
"""A frame as it was encoded from its model in `contracts.wire.frames`: it is not validated again."""
EXAMPLE_FRAME = {
    "type": "chat.text",
    "data": {
        "kind": "text",
        "agent": "Greeter",
        "role": "assistant",
        "content": "Hello.",
        "turn": 1,
        "call": 0,
        "metadata": {},
    },
    "timestamp": LATER,
    "agent": "Greeter",
    "role": "assistant",
    "content": "Hello.",
    "seq": 5,
}
EXAMPLE_ARTIFACT = {
    "ui_tool_id": "show_blueprint",
    "event_id": QUESTION_ID,
    "component_type": "Blueprint",
    "display": "artifact",
    "workflow_name": "Generator",
    "payload": {"title": "A plan", "mode": "artifact"},
    "updated_at": LATER,
}


class ChatMeta(ResponseModel):
    exists: Literal[True] = Field(default=True, description="There is such a chat.")
    chat_id: ChatId = Field(description="The id of the chat.", examples=[CHAT_ID])
    workflow_name: WorkflowName = Field(description="Its workflow.", examples=["HelloWorld"])
    app_id: AppId = Field(description="Its app.", examples=["acme"])
    has_children: Literal[False] = Field(default=False, description="Always false.")
    cache_seed: Seed = Field(
        description="Derived from the ids of app and chat; below 2**32.", examples=[2914703201]
    )
    status: int = Field(
        ge=0,
        le=3,
        description="0: not ended, 1: completed, 2: failed, 3: cancelled.",
        examples=[0],
    )
    chat_status: ChatStatus = Field(description="The status by name.", examples=["waiting"])
    last_sequence: EventSequence = Field(description="The `seq` of its last event.", examples=[12])
    last_digest: str = Field(
        description="The digest of that event (SHA-256 in base64url): an export whose chain ends with it"
        " lacks nothing.",
        examples=["TD-K-FcBDvMqWWh3V0vXzVFPdfvlcVrI9AwoOXCQgPk"],
    )
    created_at: Timestamp = Field(description="When it was started.", examples=[EARLIER])
    last_updated_at: Timestamp = Field(description="When its last event was.", examples=[LATER])
    last_artifact: LastArtifact | None = Field(
        description="The artifact that is open now.", examples=[EXAMPLE_ARTIFACT]
    )
    artifact_instance_id: str | None = Field(
        description="The `event_id` of that artifact.", examples=[QUESTION_ID]
    )
    artifact_state: None = Field(default=None, description="Always null.")
    origin: ForkOrigin | None = Field(
        description="Where it comes from, if it is a fork.", examples=[None]
    )


class NoChat(ResponseModel):
    """There is no such chat, or it is not the caller's."""

    exists: Literal[False] = Field(default=False, description="There is no such chat.")


class EventsPage(ResponseModel):
    """The frames after or before an event; an event is never divided between two pages."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    frames: list[FrameJson] = Field(
        description="The frames that the chat's WebSocket sends, in order.",
        examples=[[EXAMPLE_FRAME]],
    )
    last_sequence: EventSequence = Field(
        description="The cursor of the next page: pass it as `after`.", examples=[5]
    )
    chat_status: ChatStatus = Field(description="The status after them.", examples=["running"])
    first_sequence: EventSequence | None = Field(
        default=None,
        exclude_if=lambda first: first is None,
        description="With `before` or `tail`: the `before` of the page of earlier events; 1 where"
        " there are none.",
        examples=[5],
    )


class TranscriptFunction(ResponseModel):
    name: str = Field(description="The tool.", examples=["show_blueprint"])
    arguments: str = Field(
        description="The JSON object of its arguments, as text.", examples=['{"title": "A plan"}']
    )


class TranscriptCall(ResponseModel):
    id: str = Field(description="What its result names.", examples=["call-1"])
    type: Literal["function"] = Field(default="function", description="Always `function`.")
    function: TranscriptFunction = Field(
        description="What is called.", examples=[example_of(TranscriptFunction)]
    )


class TranscriptMessage(ResponseModel):
    """A message in AG2's strict format: members that do not apply are left out."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    role: Role = Field(
        description="Who speaks: the user, an agent's model, or a tool that it called.",
        examples=["assistant"],
    )
    name: str = Field(description="The user, the agent or the tool.", examples=["Greeter"])
    content: str | None = Field(
        description="The text; null where a model only called tools.", examples=["Hello."]
    )
    tool_calls: list[TranscriptCall] | None = Field(
        default=None,
        exclude_if=lambda calls: calls is None,
        description="The tools that the model called; their results follow.",
        examples=[[example_of(TranscriptCall)]],
    )
    tool_call_id: str | None = Field(
        default=None,
        exclude_if=lambda call: call is None,
        description="The call that this is the result of.",
        examples=["call-1"],
    )
    interrupted: InterruptionReason | None = Field(
        default=None,
        exclude_if=lambda reason: reason is None,
        description="Why the text ends early: it is what the user saw of it.",
        examples=["stopped"],
    )


class TranscriptPage(ResponseModel):
    """Messages of a chat, oldest first; the results of tool calls are on the page of the calls."""

    chat_id: ChatId = Field(description="The id of the chat.", examples=[CHAT_ID])
    messages: list[TranscriptMessage] = Field(
        description="In AG2's strict format. Fewer than asked for where a page would be too large.",
        examples=[[{"role": "assistant", "name": "Greeter", "content": "Hello."}]],
    )
    next: str | None = Field(
        description="The `cursor` of the next page; null at the end.", examples=[CURSOR]
    )
    last_sequence: EventSequence = Field(
        description="The `seq` of the event up to which the transcript is known: it trails the chat"
        " by a moment.",
        examples=[12],
    )

    @classmethod
    def of(cls, chat: ChatId, found: MessagesFound) -> Self:
        return cls(
            chat_id=chat,
            messages=[TranscriptMessage.model_validate(m.to_ag2()) for m in found.messages],
            next=found.next,
            last_sequence=found.last_seq,
        )


class ChatIds(ResponseModel):
    chat_ids: list[ChatId] = Field(description="Newest first.", examples=[[CHAT_ID]])


class ChatSession(ResponseModel):
    """A row of a user's list of chats."""

    chat_id: ChatId = Field(description="The id of the chat.", examples=[CHAT_ID])
    workflow_name: WorkflowName = Field(description="Its workflow.", examples=["HelloWorld"])
    status: ChatStatus = Field(description="Its status.", examples=["waiting"])
    title: str = Field(description="The beginning of the first message.", examples=["Hello"])
    created_at: Timestamp = Field(description="When it was started.", examples=[EARLIER])
    last_updated_at: Timestamp = Field(description="When its last event was.", examples=[LATER])
    last_sequence: EventSequence = Field(description="The `seq` of its last event.", examples=[12])
    last_artifact: None = Field(default=None, description="Always null: see the chat's meta.")
    origin: ForkOrigin | None = Field(
        default=None, description="Where it comes from, if it is a fork.", examples=[None]
    )

    @classmethod
    def of(cls, summary: ChatSummary) -> Self:
        return cls(
            chat_id=summary.chat_id,
            workflow_name=summary.workflow_name,
            status=summary.status,
            title=summary.title,
            created_at=summary.created_at,
            last_updated_at=summary.updated_at,
            last_sequence=summary.last_seq,
            origin=ForkOrigin.of(summary.origin),
        )


class ChatSessions(ResponseModel):
    sessions: list[ChatSession] = Field(
        description="Newest first.", examples=[[example_of(ChatSession)]]
    )
    count: Count = Field(description="How many of them are listed here.", examples=[1])


class _Found(ResponseModel):
    found: Literal[True] = Field(default=True, description="There is such a chat.")


class RecentChat(ChatSession, _Found):
    """The chat that changed last and has not ended."""


class NoRecentChat(ResponseModel):
    """Every chat of the user has ended, or there is none."""

    found: Literal[False] = Field(default=False, description="There is no such chat.")
