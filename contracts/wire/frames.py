"""Frames: every message that a client receives over WebSocket, SSE or an event page, as a model.

A frame is `{"type", "data", "timestamp", ...}`. For ChatUI some members of `data` are repeated beside
`type` (`promoted`), and so is `agent` wherever `data` has it.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from contracts.wire.json_values import JsonObject

T = TypeVar("T")

Omitted = Annotated[T | None, Field(default=None, exclude_if=lambda value: value is None)]
"""A member that is absent, not null, where there is no value."""

ChatStatus = Literal["running", "waiting", "completed", "failed", "cancelled"]
Display = Annotated[
    Literal["inline", "artifact"],
    Field(description="Where ChatUI shows the component: in the conversation or beside it."),
]

Agent = Annotated[
    str, Field(description="Name of the agent, or `user`.", examples=["PlannerAgent"])
]
Turn = Annotated[int, Field(description="Number of the agent's turn in the chat, from 1.", ge=0)]
Call = Annotated[int, Field(description="Number of the model call in its turn, from 0.")]
QuestionId = Annotated[
    str,
    Field(description="Id of the question, named by its answer.", examples=["acme.c-1.1.0.call-1"]),
]
ToolName = Annotated[str, Field(description="Name of the tool.", examples=["estimate_effort"])]
ToolCallId = Annotated[str, Field(description="Id of the tool call.", examples=["call-1"])]
ChatId = Annotated[
    str, Field(description="Id of the chat.", examples=["6f1c2b9e-6d0f-5c1e-9a55-0a7f5a3c2d11"])
]
AppId = Annotated[str, Field(description="Id of the app (tenant).", examples=["acme"])]
UserId = Annotated[str, Field(description="Id of the chat's user.", examples=["ana"])]
WorkflowName = Annotated[str, Field(description="Name of the workflow.", examples=["HelloWorld"])]
Seq = Annotated[
    int,
    Field(
        description="Number of the event in its chat, from 1 without a gap: the client's cursor.",
        ge=0,
        examples=[12],
    ),
]
Time = Annotated[
    str,
    Field(
        description="ISO 8601 with offset.",
        json_schema_extra={"format": "date-time"},
        examples=["2026-11-23T12:00:02+00:00"],
    ),
]
StatusNumber = Annotated[
    Literal[0, 1, 2, 3],
    Field(description="0 while the chat goes on, 1 completed, 2 failed, 3 cancelled."),
]


class StoredValueLink(BaseModel):
    """Where the whole value is of which the frame has only the beginning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(
        description="JSON Pointer (RFC 6901) into the body of the event, or into the payload.",
        examples=["/payload/rows"],
    )
    digest: str = Field(description="SHA-256 of the value's bytes, in hex.")
    size: int = Field(description="In bytes.", ge=0, examples=[3_000_000])
    media_type: str = Field(
        description="`application/json` for a JSON value, `text/plain` for text.",
        examples=["application/json"],
    )
    url: str = Field(
        description="Path of the value, for the chat's user: `user_id` is added as for other routes.",
        examples=["/api/chats/acme/6f1c2b9e-6d0f-5c1e-9a55-0a7f5a3c2d11/values/9f86d081"],
    )


class FrameData(BaseModel):
    """The `data` of one type of frame."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    frame_type: ClassVar[str]
    """The frame's `type`."""
    promoted: ClassVar[tuple[str, ...]] = ()
    """Members that are repeated beside `type`."""
    omitted: ClassVar[frozenset[str]] = frozenset()
    """Members that are absent where they have no value; all others are null then."""

    replay: Omitted[Literal[True]] = Field(
        default=None,
        description="Present in a history that is replayed to a client without a cursor.",
    )
    index: Omitted[int] = Field(
        default=None, description="The event's number, where the frame itself has no `seq`."
    )
    stored_values: Omitted[tuple[StoredValueLink, ...]] = Field(
        default=None,
        description="Values of the event that are too large for a frame: only their beginning is shown.",
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        fields = cls.model_fields.items()
        cls.omitted = frozenset(name for name, field in fields if field.exclude_if is not None)


class _OfGeneralChat(FrameData):
    """Frames that are shown of a general chat on another chat's socket name that chat."""

    general_chat_id: Omitted[str] = Field(
        default=None, description="Id of the general chat that the frame belongs to."
    )
    general_chat_label: Omitted[str] = Field(
        default=None, description="Label of that general chat.", examples=["General chat 2"]
    )


# -- events of a chat ------------------------------------------------------------------------------


class EventData(FrameData):
    """An event as it is stored: only for clients that ask for `events=1`."""

    frame_type: ClassVar[str] = "chat.event"

    seq: Seq
    type: str = Field(description="Type of the event.", examples=["turn.completed"])
    version: int = Field(description="Version of the event's body.", ge=1)
    category: str = Field(description="Category of the event.", examples=["turn"])
    time: datetime = Field(description="When the event happened, in UTC.")
    actor: str = Field(description="Who caused the event: `runtime` or a user.")
    cause: str = Field(description="Id of the command or event that caused it.")
    body: JsonObject = Field(
        description="The event's body; contracts/schemas/events has its schema."
    )


Interruption = Literal["stopped", "cancelled", "failed", "retried", "runner_lost", "budget"]
"""As `contracts.events.turn.InterruptionReason`."""


class TextData(_OfGeneralChat):
    """A whole message of the user or of an agent. It replaces what `chat.print` showed of it."""

    frame_type: ClassVar[str] = "chat.text"
    promoted: ClassVar[tuple[str, ...]] = ("role", "content")

    kind: Literal["text"] = "text"
    agent: Agent
    role: Literal["user", "assistant"] = Field(description="`user` for messages of the user.")
    content: str = Field(description="The message's text.", examples=["A plan."])
    turn: Omitted[int] = Field(default=None, description="The agent's turn.")
    call: Omitted[int] = Field(default=None, description="The model call of that turn.")
    metadata: dict[str, str] = Field(
        default={}, description="`input_request_id` where the text answers a question; `source`."
    )
    interrupted: Omitted[Interruption] = Field(
        default=None,
        description="Why the text ends early: this much of it was shown, and no more is to come. After"
        " `retried` and `runner_lost` the text begins anew, as another message.",
    )
    offset: Omitted[int] = Field(
        default=None,
        description="How many characters of an interrupted text the frame before had, where it is in"
        " several frames.",
    )
    client_message_id: Omitted[str] = Field(
        default=None, description="The id that the client of the user gave the message."
    )
    while_running: Omitted[Literal["queue", "steer", "interrupt"]] = Field(
        default=None,
        description="The user sent the message while an answer was running: it waits until"
        " `chat.messages_consumed` or `chat.message_refused` names its `seq`.",
    )


class AnswerStoppedData(FrameData):
    """The answer was stopped: by `chat.stop`, by a message that interrupts, or by a `budget`."""

    frame_type: ClassVar[str] = "chat.answer_stopped"

    agent: Agent
    turn: Turn
    by: Literal["stop", "message", "budget"]


class ForkedData(FrameData):
    """The chat is a fork: the events up to here are those of its origin."""

    frame_type: ClassVar[str] = "chat.forked"

    chat_id: ChatId
    origin_chat_id: ChatId = Field(description="The chat that it is a fork of.")
    origin_sequence: Seq = Field(
        description="The `seq` of the last event that it has of its origin."
    )


class MessagesConsumedData(FrameData):
    """An agent reads messages that the user sent while an answer was running."""

    frame_type: ClassVar[str] = "chat.messages_consumed"

    agent: Agent
    turn: Turn = Field(description="The turn that reads them.")
    call: Omitted[int] = Field(
        default=None, description="The model call of a running turn that they enter."
    )
    messages: list[int] = Field(
        description="The `seq` of their `chat.text` frames.", examples=[[7]]
    )


class MessageRefusedData(FrameData):
    """No agent reads a message of the user."""

    frame_type: ClassVar[str] = "chat.message_refused"

    reason: Literal["answer_running", "chat_ended"] = Field(
        description="`answer_running`: the workflow takes none while an answer is running."
    )
    message: Omitted[int] = Field(
        default=None, description="The `seq` of its `chat.text` frame, where it has one."
    )


class ChatRenamedData(FrameData):
    """The user gave the chat a title."""

    frame_type: ClassVar[str] = "chat.renamed"

    title: str = Field(description="The title.", examples=["Bread shop"])


class ChatArchivedData(FrameData):
    """The chat has left the user's lists, or is in them again."""

    frame_type: ClassVar[str] = "chat.archived"

    archived: bool = Field(description="False: it is in the lists again.")


class ChatDeletedData(FrameData):
    """The user has deleted the chat: it takes no messages, and the next connection does not find it."""

    frame_type: ClassVar[str] = "chat.deleted"

    erasable_at: Time = Field(
        description="Until then it can be undeleted; from then on it may be erased."
    )


class ChatUndeletedData(FrameData):
    """The chat is there again."""

    frame_type: ClassVar[str] = "chat.undeleted"


RewindKind = Literal["retry", "edit", "rewind"]


class RewoundData(FrameData):
    """The chat went back: what its events after `to_seq` and before this one have shown is to be removed.

    A question whose answer is among them is open again.
    """

    frame_type: ClassVar[str] = "chat.rewound"

    to_seq: int = Field(description="The last event before this one that still counts.", ge=1)
    kind: RewindKind = Field(
        description="A turn is run again, a message is replaced, or the chat only goes back."
    )
    chat_status: ChatStatus
    open_questions: list[QuestionId] = Field(description="The questions that are open again.")


class RewindRefusedData(FrameData):
    """A retry, an edit or a rewind that was sent had no effect."""

    frame_type: ClassVar[str] = "chat.rewind_refused"

    kind: RewindKind
    reason: str = Field(
        description="Code of the reason, as of the errors over HTTP.", examples=["CHAT_CHANGED"]
    )
    message: str = Field(examples=["seen_seq: the chat has changed since; look at it again"])


class KeptEffect(BaseModel):
    """What a tool has done to the world, which a rewind does not undo."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seq: Seq
    agent: Agent
    tool: ToolName
    effect: str = Field(description="`once` or `idempotent`.", examples=["once"])
    outcome: str = Field(description="What is known of the call.", examples=["ok"])
    arguments: str = Field(description="JSON text, redacted, and cut if it is long.")


class RewindUnconfirmedData(FrameData):
    """A retry, an edit or a rewind was not sent: it needs `confirm`, because of these effects."""

    frame_type: ClassVar[str] = "chat.rewind_unconfirmed"

    kind: RewindKind
    message: str
    effects: list[KeptEffect]


class PrintData(_OfGeneralChat):
    """A chunk of an agent's message while the model streams it."""

    frame_type: ClassVar[str] = "chat.print"
    promoted: ClassVar[tuple[str, ...]] = ("content",)

    kind: Literal["print"] = "print"
    agent: Agent
    content: str = Field(description="The chunk's text.", examples=["A pl"])
    turn: Turn
    call: Call
    offset: int = Field(
        description="Characters of the message before this chunk; 0 begins it anew.", ge=0
    )
    runner: str = Field(description="Id of the attempt: another one replaces what came before.")


class RunStartedData(FrameData):
    """The chat has started."""

    frame_type: ClassVar[str] = "chat.run_start"

    agent: str = ""
    message: str = Field(examples=["HelloWorld has started"])


class SpeakerData(FrameData):
    """Whose turn it is now."""

    frame_type: ClassVar[str] = "chat.select_speaker"
    promoted: ClassVar[tuple[str, ...]] = ("selected_speaker",)

    agent: Agent
    selected_speaker: Agent
    turn: Turn
    by: str = Field(description="The rule that chose the speaker.", examples=["after_work"])


class TurnLimitData(FrameData):
    """The chat nears its workflow's `max_turns`, or waits there for a message of the user."""

    frame_type: ClassVar[str] = "chat.turn_limit"

    turns: int = Field(description="Turns of agents so far, with the next one.", examples=[40])
    max_turns: int = Field(description="Turns after which a message is needed.", examples=[50])
    waits: bool = Field(description="Whether the chat waits for a message of the user now.")
    message: str = Field(description="The same in words.", examples=["40 of 50 turns are used."])


class BudgetData(FrameData):
    """A budget is nearly used up, or it ends the answer, and the chat waits for the user.

    Numbers are there for the user's own budget and the chat's; those of the app and of a workflow
    are for its operators.
    """

    frame_type: ClassVar[str] = "chat.budget"

    state: Literal["warned", "exceeded"]
    scope: Literal["app", "user", "workflow", "chat"]
    unit: str = Field(description="`tokens`, or `cost` in US dollars.", examples=["tokens"])
    period: str = Field(description="`hour`, `day`, `month` or `total`.", examples=["day"])
    used: Omitted[float] = Field(default=None, description="What is used and held.")
    soft: Omitted[float] = Field(default=None, description="The limit that warns.")
    hard: Omitted[float] = Field(default=None, description="The limit that ends an answer.")
    resets_at: Omitted[str] = Field(
        default=None,
        description="When the period ends, ISO 8601; absent where it never does.",
        examples=["2026-11-27T00:00:00Z"],
    )
    reason: Omitted[Literal["used_up", "unpriced"]] = Field(
        default=None, description="`unpriced`: a cost is limited, and the model has no price."
    )
    waits: bool = Field(description="Whether the chat waits for a message of the user now.")
    message: str = Field(
        description="The same in words.",
        examples=["Your budget for today is nearly used up: 80,000 of 100,000 tokens."],
    )


class ToolCalledData(FrameData):
    """A model called a tool."""

    frame_type: ClassVar[str] = "chat.tool_activity"

    agent: Agent
    tool_call_id: ToolCallId
    tool_name: ToolName
    arguments: str = Field(description="The arguments as JSON text.", examples=['{"at": 1}'])
    turn: Turn
    call: Call
    phase: Literal["called"] = "called"


class ToolReturnedData(FrameData):
    """A tool that a model called returned or failed."""

    frame_type: ClassVar[str] = "chat.tool_activity"

    agent: Agent
    tool_call_id: ToolCallId
    tool_name: ToolName
    turn: Turn
    call: Call
    phase: Literal["returned"] = "returned"
    status: str = Field(
        description="`ok`, `error`, `refused`: not approved, so not made, or `unknown`: nobody knows "
        "whether it took effect.",
        examples=["ok"],
    )
    content: str = Field(description="The result as text, or the error.")


class ToolProgressData(FrameData):
    """How far a running tool is."""

    frame_type: ClassVar[str] = "chat.tool_progress"

    agent: Agent
    tool_name: ToolName
    progress_percent: float | None = Field(
        description="0 to 100; null where the tool cannot tell.", examples=[40.0]
    )
    status_message: str = Field(examples=["weighing"])
    corr: ToolCallId
    turn: Turn


class WaitData(FrameData):
    """Why nothing comes at the moment. What comes next, whatever it is, ends the wait.

    `provider`: the agent's model is asked again after `seconds`. `takeover`: the process that ran the
    chat is gone, and another one goes on. `queue`: nothing has taken up the last message yet.
    """

    frame_type: ClassVar[str] = "chat.waiting"

    reason: Literal["provider", "takeover", "queue"]
    message: str = Field(
        description="The same in words.",
        examples=["The model provider asks to wait 20 s: attempt 2 of 4 follows."],
    )
    agent: Omitted[Agent] = None
    turn: Omitted[Turn] = None
    code: Omitted[str] = Field(
        default=None, description="Of the failure before.", examples=["MODEL_RATE_LIMITED"]
    )
    seconds: Omitted[float] = Field(default=None, examples=[20.0])
    attempt: Omitted[int] = Field(
        default=None, description="The attempt that follows.", examples=[2]
    )
    attempts: Omitted[int] = Field(default=None, description="Attempts in all.", examples=[4])


class ComponentRequestedData(FrameData):
    """A UI tool asks the user by a component; the answer names `event_id`."""

    frame_type: ClassVar[str] = "chat.tool_call"
    promoted: ClassVar[tuple[str, ...]] = ("event_id", "awaiting_response")

    agent: Agent
    tool_name: str = Field(description="Same as `ui_tool_id`.")
    ui_tool_id: str = Field(description="The UI tool.", examples=["pick_colour"])
    component_type: str = Field(description="The component to show.", examples=["ColourPicker"])
    awaiting_response: Literal[True] = True
    corr: QuestionId
    event_id: QuestionId
    tool_call_id: QuestionId
    display: Display
    display_type: Display
    payload: JsonObject = Field(description="What the component shows.")


class AutoToolCalledData(FrameData):
    """The runtime calls a tool with an agent's structured output; nothing is asked."""

    frame_type: ClassVar[str] = "chat.tool_call"
    promoted: ClassVar[tuple[str, ...]] = ("awaiting_response",)

    agent: Agent
    tool_name: ToolName
    tool_call_id: ToolCallId
    corr: ToolCallId
    awaiting_response: Literal[False] = False
    component_type: str = Field(description="The component to show.")
    interaction_type: Literal["auto_tool"] = "auto_tool"
    payload: JsonObject = Field(description="The tool's arguments and how to show them.")
    display: Omitted[Display] = None
    mode: Omitted[Display] = None


class AutoToolPayload(BaseModel):
    """Names the agent whose output the tool was called with."""

    model_config = ConfigDict(frozen=True)

    agent_name: Agent
    interaction_type: Literal["auto_tool"] = "auto_tool"


class AutoToolReturnedData(FrameData):
    """A tool that the runtime called returned or failed."""

    frame_type: ClassVar[str] = "chat.tool_response"

    agent: Agent
    tool_name: ToolName
    call_id: ToolCallId
    corr: ToolCallId
    status: str = Field(
        description="`ok`, `error`, or `refused`: not approved, so not made.", examples=["ok"]
    )
    success: bool
    content: str = Field(description="The result as text, or the error.")
    payload: AutoToolPayload
    interaction_type: Literal["auto_tool"] = "auto_tool"


class AttachmentUploadedData(FrameData):
    """The user gave the chat a file."""

    frame_type: ClassVar[str] = "chat.attachment_uploaded"

    attachment_id: str = Field(examples=["att_5f2b9c1e6d0f5c1e9a550a7f5a3c2d11"])
    filename: str = Field(examples=["prices.csv"])
    stored_path: str = Field(description="Names the file for `/api/download/workflow-file`.")
    size_bytes: int = Field(ge=0, examples=[11])
    content_type: str = Field(examples=["text/csv"])
    intent: str = Field(description="What the file is for.", examples=["context"])
    bundle_path: str | None = Field(description="The file's place in its bundle.")
    uploaded_at_utc: Time
    user_id: UserId
    chat_id: ChatId
    app_id: AppId


class ApprovalData(BaseModel):
    """The tool call that a question asks to approve."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: ToolName
    digest: str = Field(description="SHA-256 of the call's arguments, in hex.")
    allow_always: bool = Field(
        description="Whether the answer may approve all further calls of this tool in the chat."
    )


class AudienceData(BaseModel):
    """Who may answer a question: these users, and whose token has one of these roles."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    users: list[str] = Field(description="Ids of users.", examples=[["bob"]])
    roles: list[str] = Field(description="Roles of tokens.", examples=[["finance"]])


class DoubtData(BaseModel):
    """The tool call that a question is about: its process ended, or its time was over, without a result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: ToolName
    digest: str = Field(description="SHA-256 of the call's arguments, in hex.")
    attempt: int = Field(description="The attempt that is in doubt, from 1.", ge=1)


class QuestionData(FrameData):
    """An agent's tool asks the user, or somebody else, and waits for the answer."""

    frame_type: ClassVar[str] = "chat.input_request"
    promoted: ClassVar[tuple[str, ...]] = ("request_id",)

    agent: Agent
    request_id: QuestionId
    prompt: str = Field(description="The question.", examples=["Which colour?"])
    options: list[str] = Field(description="Suggested answers.", examples=[["red", "blue"]])
    password: Literal[False] = False
    expires_at: Time | None = Field(description="When the question expires; null: never.")
    turn: Turn
    tool_call_id: ToolCallId
    approval: Omitted[ApprovalData] = Field(
        default=None, description="The call to approve: the answer is yes or no."
    )
    audience: Omitted[AudienceData] = Field(
        default=None, description="Who answers instead of the chat's user."
    )
    doubt: Omitted[DoubtData] = Field(
        default=None,
        description="The call of which nobody knows whether it took effect: the answer is one of the "
        "`options`; after `It happened: ` its result may follow.",
    )


class QuestionAnsweredData(FrameData):
    """A question has been answered, or the client's own message was accepted."""

    frame_type: ClassVar[str] = "chat.input_ack"

    chat_id: Omitted[ChatId] = None
    request_id: str | None = Field(description="The question; null for a message.")
    input_request_id: str | None = Field(description="Same as `request_id`.")
    status: Literal["accepted"] = "accepted"
    text: Omitted[str] = Field(default=None, description="The answer, once it is stored.")
    approved: Omitted[bool] = Field(
        default=None,
        description="The decision about an approval; absent where the answer is neither yes nor no.",
    )
    always: Omitted[Literal[True]] = Field(
        default=None, description="It approves all further calls of the tool by this agent, too."
    )
    answered_by: Omitted[UserId] = Field(
        default=None,
        description="Who answered, where it may be somebody else than the chat's user.",
    )


class QuestionEscalatedData(FrameData):
    """Nobody has answered a question for a while: from now on others may answer, too."""

    frame_type: ClassVar[str] = "chat.question_escalated"
    promoted: ClassVar[tuple[str, ...]] = ("request_id",)

    request_id: QuestionId
    to: AudienceData


class QuestionExpiredData(FrameData):
    """A question has expired unanswered."""

    frame_type: ClassVar[str] = "chat.input_timeout"
    promoted: ClassVar[tuple[str, ...]] = ("request_id",)

    request_id: QuestionId
    input_request_id: QuestionId


class ComponentCompletedData(FrameData):
    """An inline component has been answered."""

    frame_type: ClassVar[str] = "chat.ui_tool_complete"
    promoted: ClassVar[tuple[str, ...]] = ("eventId",)

    eventId: QuestionId  # noqa: N815 - the wire's spelling
    ui_tool_id: str
    display: Literal["inline"] = "inline"
    status: str = Field(description="The answer's own `status`, else `completed`.")
    summary: str = Field(examples=["pick_colour was answered"])
    response: Omitted[JsonObject] = Field(
        default=None, description="What was answered.", examples=[{"colour": "blue"}]
    )


class ComponentDismissedData(FrameData):
    """An artifact's component has been answered and closes."""

    frame_type: ClassVar[str] = "chat.ui_tool_dismiss"
    promoted: ClassVar[tuple[str, ...]] = ("event_id",)

    event_id: QuestionId
    ui_tool_id: str
    response: Omitted[JsonObject] = Field(
        default=None, description="What was answered.", examples=[{"colour": "blue"}]
    )


class UsageData(_OfGeneralChat):
    """Tokens and cost of one model call."""

    frame_type: ClassVar[str] = "chat.usage_delta"

    agent: Agent
    agent_name: Agent
    model_name: str | None = Field(examples=["gpt-4o-mini"])
    prompt_tokens: int = Field(ge=0, examples=[350])
    completion_tokens: int = Field(ge=0, examples=[40])
    total_tokens: int = Field(ge=0, examples=[390])
    cached: bool = Field(description="Whether the answer was a recorded one.")
    cost: float | None = Field(description="In US dollars; null where unknown.", examples=[0.0021])
    duration_sec: float = Field(ge=0, examples=[0.5])
    event_id: str = Field(description="Id of the event.", examples=["acme.c-1.7"])
    event_ts: Time
    chat_id: ChatId
    app_id: AppId
    user_id: UserId
    workflow_name: WorkflowName
    invocation_id: str = Field(description="`turn.call`", examples=["1.0"])


class OutputContext(BaseModel):
    """Where a structured output came from."""

    model_config = ConfigDict(frozen=True)

    chat_id: ChatId
    app_id: AppId
    workflow_name: WorkflowName
    agent_name: Agent


class StructuredOutputData(FrameData):
    """An agent answered in its structured output model."""

    frame_type: ClassVar[str] = "chat.structured_output_ready"

    agent: Agent
    agent_name: Agent
    model_name: str = Field(description="Name of the output model.", examples=["Plan"])
    structured_data: JsonObject
    auto_tool_mode: bool = Field(description="Whether the runtime calls a tool with it.")
    turn: Turn
    context: OutputContext


class ErrorData(_OfGeneralChat):
    """A request was refused, or a turn or chat failed."""

    frame_type: ClassVar[str] = "chat.error"
    promoted: ClassVar[tuple[str, ...]] = ("message", "error_code")

    message: str = Field(examples=["question_id: no such question is open"])
    error_code: str = Field(examples=["QUESTION_NOT_OPEN"])
    agent: Omitted[Agent] = None
    field: Omitted[str] = Field(default=None, description="The refused message's field.")


class ChatEndedData(FrameData):
    """The chat has ended, or failed."""

    frame_type: ClassVar[str] = "chat.run_complete"
    promoted: ClassVar[tuple[str, ...]] = ("reason", "duration_sec", "total_tokens", "cost")

    agent: str = ""
    status: Literal[1, 2, 3] = Field(description="1 completed, 2 failed, 3 cancelled.")
    reason: str = Field(examples=["terminate"])
    resumable: Omitted[Literal[True]] = Field(
        default=None,
        description="Present where a failed chat goes on with the next message of the user.",
    )
    duration_sec: float = Field(examples=[2.0])
    total_tokens: int = Field(ge=0)
    cost: float = Field(description="In US dollars.", ge=0)


# -- the session of a client -----------------------------------------------------------------------


class LastArtifact(BaseModel):
    """The artifact that was opened last and not closed since."""

    model_config = ConfigDict(frozen=True)

    ui_tool_id: str
    event_id: QuestionId
    component_type: str
    display: Literal["artifact"] = "artifact"
    workflow_name: WorkflowName
    payload: JsonObject
    updated_at: Time


class ChatMetaData(FrameData):
    """The first frame of every connection: which chat this is and where it stands."""

    frame_type: ClassVar[str] = "chat_meta"

    kind: Literal["chat_meta"] = "chat_meta"
    chat_id: ChatId
    workflow_name: WorkflowName
    app_id: AppId
    user_id: UserId
    has_children: Literal[False] = False
    cache_seed: int = Field(description="Colours of the chat and seed of its recorded answers.")
    chat_exists: Literal[True] = True
    last_artifact: LastArtifact | None
    status: StatusNumber
    chat_status: ChatStatus
    last_sequence: Seq
    created_at: Time
    origin_chat_id: Omitted[ChatId] = Field(
        default=None, description="The chat that it is a fork of, if it is one."
    )
    origin_sequence: Omitted[Seq] = Field(
        default=None, description="The `seq` of the last event that it has of its origin."
    )


ChatMetaData.promoted = tuple(
    name for name in ChatMetaData.model_fields if name not in FrameData.model_fields
)


class ResumeBoundaryData(FrameData):
    """End of the history: what follows happens now."""

    frame_type: ClassVar[str] = "chat.resume_boundary"

    chat_id: ChatId
    chat_status: ChatStatus
    status: StatusNumber
    message_count: Seq
    replayed_messages: int
    replayed_events: int
    last_message_index: Seq
    resume_mode: Literal["auto", "client"] = Field(
        description="`client` where the client asked by `client.resume`."
    )


class HistoryData(FrameData):
    """The newest part of the history at once, for clients that ask for `tail`; the boundary follows.

    A history of many bytes comes in several such frames, each with the events that follow.
    """

    frame_type: ClassVar[str] = "chat.history"

    chat_id: ChatId
    title: str = Field(description="The beginning of the user's first message.")
    speaker: Agent | None = Field(
        description="Whose turn it is after these events; null while there is no turn."
    )
    total_tokens: int = Field(description="Of all model calls of the chat so far.", ge=0)
    cost: float = Field(description="Of all model calls so far, in US dollars.", ge=0)
    first_sequence: Seq = Field(
        description="The first event of `frames`; earlier ones are pages of `.../events?before=`."
    )
    last_sequence: Seq = Field(description="The last event of `frames`: the client's cursor.")
    frames: list[dict[str, Any]] = Field(
        default=[],
        description="The frames of these events, as they would be sent one by one.",
        json_schema_extra={"items": {"type": "object", "required": ["type", "data"]}},
    )


class InputAcceptedData(FrameData):
    """The client's message or answer is stored in the command queue."""

    frame_type: ClassVar[str] = "ack.input"

    chat_id: ChatId
    status: Literal["accepted"] = "accepted"
    input_request_id: str | None = Field(description="The question; null for a message.")
    client_message_id: Omitted[str] = Field(
        default=None, description="The id that the client gave the message."
    )


class ComponentAnswerAcceptedData(FrameData):
    """The client's answer of a component is stored in the command queue."""

    frame_type: ClassVar[str] = "ack.ui_tool_response"

    eventId: QuestionId  # noqa: N815 - the wire's spelling
    status: Literal["accepted"] = "accepted"


class ContextSwitchedData(FrameData):
    """The socket shows another chat of the same user and app from here on."""

    frame_type: ClassVar[str] = "chat.context_switched"

    from_chat_id: ChatId
    to_chat_id: ChatId
    chat_id: ChatId
    workflow_name: WorkflowName
    artifact_id: str | None = Field(description="The chat's open artifact.")
    app_id: AppId


class LaunchedWorkflow(BaseModel):
    """A chat that was started from within another one."""

    model_config = ConfigDict(frozen=True)

    chat_id: ChatId
    workflow_name: WorkflowName
    app_id: AppId
    user_id: UserId
    label: str | None


class BlockedWorkflow(BaseModel):
    """A workflow that was not started, and why."""

    model_config = ConfigDict(frozen=True)

    workflow_name: WorkflowName
    message: str
    error_code: str


class ForkStartedData(FrameData):
    """Answer to `chat.fork`: the new chat."""

    frame_type: ClassVar[str] = "chat.fork_started"

    chat_id: ChatId = Field(description="Id of the new chat.")
    workflow_name: WorkflowName
    app_id: AppId
    user_id: UserId
    origin_chat_id: ChatId = Field(description="The chat that it is a fork of.")
    origin_sequence: Seq = Field(
        description="The `seq` of the last event that it has of its origin."
    )


class WorkflowStartedData(LaunchedWorkflow, FrameData):
    """Answer to `chat.start_workflow`."""

    frame_type: ClassVar[str] = "chat.workflow_started"


class WorkflowBlockedData(BlockedWorkflow, FrameData):
    """Answer to `chat.start_workflow` where the workflow was not started."""

    frame_type: ClassVar[str] = "chat.prereq_blocked"


class WorkflowBatchStartedData(FrameData):
    """Answer to `chat.start_workflow_batch`."""

    frame_type: ClassVar[str] = "chat.workflow_batch_started"

    count: int = Field(description="How many were started.", ge=0)
    workflows: list[LaunchedWorkflow]
    blocked: list[BlockedWorkflow]


class GeneralModeData(FrameData):
    """The socket shows a general chat from here on."""

    frame_type: ClassVar[str] = "chat.mode_changed"

    mode: Literal["general"] = "general"
    general_chat_id: str
    general_chat_label: str
    general_chat_sequence: int
    app_id: AppId


class WorkflowModeData(FrameData):
    """The socket shows a workflow's chat from here on."""

    frame_type: ClassVar[str] = "chat.mode_changed"

    mode: Literal["workflow"] = "workflow"
    chat_id: ChatId
    workflow_name: WorkflowName


class GeneralChatCreatedData(FrameData):
    """A general chat has been created, and the socket shows it from here on."""

    frame_type: ClassVar[str] = "chat.general_session_created"

    general_chat_id: str
    general_chat_label: str
    general_chat_sequence: int
    app_id: AppId


class NavigateData(FrameData):
    """An artifact has started another workflow: ChatUI goes there."""

    frame_type: ClassVar[str] = "chat.navigate"

    chat_id: ChatId
    workflow_name: WorkflowName
    artifact_instance_id: None = None
    app_id: AppId


class ArtifactStateUpdatedData(FrameData):
    """Members of an artifact's state were stored as variables."""

    frame_type: ClassVar[str] = "artifact.state.updated"

    artifact_id: str
    state_delta: JsonObject


class ArtifactActionAcceptedData(FrameData):
    """Answer to `chat.artifact_action`."""

    frame_type: ClassVar[str] = "ack.artifact_action"
    promoted: ClassVar[tuple[str, ...]] = ("correlation_id",)

    action: str
    artifact_id: str | None
    status: Literal["accepted", "rejected"]
    correlation_id: Omitted[str] = None


FRAMES: tuple[type[FrameData], ...] = (
    ChatMetaData,
    HistoryData,
    ResumeBoundaryData,
    EventData,
    RunStartedData,
    SpeakerData,
    PrintData,
    TextData,
    TurnLimitData,
    BudgetData,
    AnswerStoppedData,
    ForkedData,
    MessagesConsumedData,
    MessageRefusedData,
    ChatRenamedData,
    ChatArchivedData,
    ChatDeletedData,
    ChatUndeletedData,
    RewoundData,
    RewindRefusedData,
    RewindUnconfirmedData,
    ToolCalledData,
    ToolReturnedData,
    ToolProgressData,
    WaitData,
    ComponentRequestedData,
    ComponentCompletedData,
    ComponentDismissedData,
    AutoToolCalledData,
    AutoToolReturnedData,
    AttachmentUploadedData,
    QuestionData,
    QuestionAnsweredData,
    QuestionEscalatedData,
    QuestionExpiredData,
    UsageData,
    StructuredOutputData,
    ErrorData,
    ChatEndedData,
    InputAcceptedData,
    ComponentAnswerAcceptedData,
    ContextSwitchedData,
    ForkStartedData,
    WorkflowStartedData,
    WorkflowBlockedData,
    WorkflowBatchStartedData,
    GeneralModeData,
    WorkflowModeData,
    GeneralChatCreatedData,
    NavigateData,
    ArtifactStateUpdatedData,
    ArtifactActionAcceptedData,
)
"""Every `data` there is; a type of frame may have several."""


def of_type(frame_type: str) -> Iterator[type[FrameData]]:
    """The models of a frame's `data`, none where this release does not know the type."""
    return (data for data in FRAMES if data.frame_type == frame_type)
