"""Events of an agent's turn: speaker, model requests and responses, tool calls and results."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts.envelope import Instant
from contracts.events.body import EventBody
from contracts.events.human import Display
from contracts.events.parts import BinaryPart, NativeAnswer, Part, Tokens, ToolCall
from contracts.ids import AgentName, QuestionId, RunnerId, UserId

Choice = Literal[
    "initial",
    "before_reply",
    "handoff",
    "after_work",
    "user_message",
    "reply_limit",
    "max_turns",
    "round_robin",
    "random",
    "auto",
    "fallback",
    "stopped",
]
"""The rule or pattern that chose the speaker; `fallback` where the selector failed, `stopped` where
the user stopped the answer before."""

InterruptionReason = Literal["stopped", "cancelled", "failed", "retried", "runner_lost", "budget"]
"""Why the text of a model call ends early.

The user stopped the answer or cancelled the chat, the turn failed, the call was tried again, the
process that ran it was lost, or a budget is used up.
"""

USER = AgentName("user")
"""Whose turn it is when the chat waits for the user's message."""
SELECTOR = AgentName("_selector")
"""The speaker while a model chooses the next one; its text is never shown."""

ToolStatus = Literal["ok", "error", "not_found", "refused", "unknown"]
"""`refused`: a call that needs an approval was not approved, so it was not made; `unknown`: the call
was in doubt, and nobody knows whether it took effect."""
ToolEffect = Literal["read", "idempotent", "once"]
"""What a repeated call does: nothing at all, nothing more under the same key, or the effect again."""
DispatchReason = Literal["first", "retry", "repeat", "check", "answer", "continue"]
"""Why a call is dispatched: `first`; `retry` after an attempt that failed; `repeat` in doubt, because
the tool may be repeated; `check` and `answer` in doubt, because the tool's check or the user found
that it was not done; `continue` after the answer to a question that the tool has asked."""
Resolution = Literal["check", "user", "policy"]
"""Who gave the result of a call in doubt: its check, the user, or `in_doubt` of the manifest."""
Occasion = Literal["auto_invoke", "before_chat", "after_chat", "before_agent", "after_agent"]
"""When the runtime itself calls a tool: with a structured output, or around a chat or turn."""

ResponseFormat = Literal["json_schema", "json_object", "text"]
FailedCallCode = Literal["MODEL_EMPTY", "ANSWER_CUT", "CONTEXT_TOO_LONG", "RESPONSE_FORMAT_REFUSED"]

RUNTIME = AgentName("runtime")
"""The agent in events outside any agent's turn: turn 0 before the first."""


def _is_none(value: object) -> bool:
    return value is None


def _is_empty(values: list[Any]) -> bool:
    return not values


class SpeakerSelected(EventBody):
    """Turn `turn` (from 1) belongs to `agent`; `user` is the chat's user.

    The turn of `_selector` has no `turn.completed`: it ends when the next speaker is selected.
    """

    type: ClassVar[str] = "turn.speaker_selected"
    turn: int
    agent: AgentName
    by: Choice


class RequestOptions(BaseModel):
    """How an answer is asked for: in which form, and with how many tokens at most.

    `json_schema` has the provider keep to a schema; after `json_object`, and after `text`, the
    system prompt describes it. None where nothing is asked for.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    response_format: ResponseFormat | None = None
    max_tokens: int | None = None


class ModelRequested(EventBody):
    """Model request `call` (from 0) of a turn is about to be sent.

    `prompt` is the system prompt; `parts` is what is new to the model: the turn's trigger on its
    first call, the reason of the rejection on a call that asks again; `digest` is
    the SHA-256 of the prompt and the conversation that the model was given; `offered` is that of what
    the agent offers beside them: its tools, without those of MCP servers, and the schema of its
    answer; none in logs of earlier releases. After a `turn.model_call_failed` there may be another
    request for the same call.
    """

    type: ClassVar[str] = "turn.model_requested"
    turn: int
    call: int
    agent: AgentName
    prompt: list[str]
    parts: list[Part] = []
    digest: str
    options: RequestOptions | None = Field(default=None, exclude_if=_is_none)
    offered: str | None = Field(default=None, exclude_if=_is_none)


class ModelCallFailed(EventBody):
    """A model request led to no answer, in a way that the runtime can do something about.

    `code` is one of `MODEL_EMPTY` (neither text nor a tool call), `ANSWER_CUT` (the answer was cut
    at its limit of tokens and is of no use), `CONTEXT_TOO_LONG` and `RESPONSE_FORMAT_REFUSED`. What
    follows is another request for the same call, a summary of the conversation, or the failure of
    the turn with this `code` and `message`.

    `text` and `reasoning` are what came of the answer; nothing of it is sent to a model again.
    `max_tokens` is the limit at which the answer was cut, `context_window` the model's in tokens,
    where the provider named them. After a `final` failure nothing is asked again, because the
    orchestrator repeats no model calls.
    """

    type: ClassVar[str] = "turn.model_call_failed"
    turn: int
    call: int
    agent: AgentName
    code: FailedCallCode
    message: str
    text: str | None = None
    reasoning: str | None = None
    max_tokens: int | None = None
    context_window: int | None = None
    final: bool = False


class _ChangeOfConversation(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class KeptMessages(_ChangeOfConversation):
    """`count` messages of the conversation before the turn, from index `first` on."""

    kind: Literal["kept"] = "kept"
    first: int = Field(ge=0)
    count: int = Field(ge=1)


class EditedMessage(_ChangeOfConversation):
    """Message `index` of the conversation before the turn with another text.

    Of its content `start` characters from the beginning and `end` from the end are kept, and `text`
    is between them.
    """

    kind: Literal["edited"] = "edited"
    index: int = Field(ge=0)
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    text: str


class NewMessages(_ChangeOfConversation):
    """Messages in strict AG2 format that were not in the conversation."""

    kind: Literal["new"] = "new"
    messages: list[dict[str, Any]]


MessageChange = Annotated[KeptMessages | EditedMessage | NewMessages, Field(discriminator="kind")]


class ConversationProcessed(EventBody):
    """The conversation before turn `turn` as the workflow's hooks changed it.

    `changes`, one after the other, are the conversation that the model reads; `base` is the SHA-256
    in hex of the one before, empty where nothing of it is kept. `prompt` is the system prompt as
    hooks changed it. Version 1 had all `messages`.
    """

    type: ClassVar[str] = "turn.conversation_processed"
    version: ClassVar[int] = 2
    turn: int
    agent: AgentName
    changes: list[MessageChange] = []
    base: str = ""
    prompt: str


class ModelResponded(EventBody):
    """A complete model response; a `hidden` text is for the runtime, not for users.

    `native` is there where the provider must get more of it back than the text and the calls.
    """

    type: ClassVar[str] = "turn.model_responded"
    turn: int
    call: int
    agent: AgentName
    text: str | None = None
    metadata: dict[str, Any] = {}
    tool_calls: list[ToolCall] = []
    files: list[BinaryPart] = []
    tokens: Tokens = Tokens()
    model: str | None = None
    provider: str | None = None
    finish_reason: str | None = None
    response_id: str | None = None
    hidden: bool = False
    native: NativeAnswer | None = Field(default=None, exclude_if=_is_none)


class ToolInvoked(EventBody):
    """The runtime itself calls a tool; its result is a ToolReturned of the same `occasion`.

    `component` and `display` are the UI that an auto-invoked UI tool is shown by, `caption` is what
    the agent says to it.
    """

    type: ClassVar[str] = "turn.tool_invoked"
    turn: int
    agent: AgentName
    tool_call_id: str
    name: str
    occasion: Occasion
    arguments: dict[str, Any] = {}
    component: str | None = None
    display: Display | None = None
    caption: str | None = None


class ToolDispatched(EventBody):
    """The function or the MCP server of a tool is about to be called, for the n-th time.

    It is stored before the call: a call without this event has never begun, one with a ToolReturned
    has ended, and one that only has this event is in doubt as soon as its process is gone.
    `arguments_digest` is that of `contracts.arguments`; `approval` is the question whose answer
    allowed the call; `occasion` is there where no model but the runtime calls it.
    """

    type: ClassVar[str] = "turn.tool_dispatched"
    turn: int
    call: int
    agent: AgentName
    tool_call_id: str
    name: str
    idempotency_key: str
    arguments_digest: str
    effect: ToolEffect
    attempt: int
    reason: DispatchReason = "first"
    approval: QuestionId | None = None
    occasion: Occasion | None = None


class ToolReturned(EventBody):
    """A tool finished.

    `error` is what the model gets of a failure: no traceback, no path. `final` ends the turn
    without another model call; a handoff is such a result, its target in `metadata`. `occasion` is
    there where no model but the runtime called it.

    `receipt` is what the tool kept with `runtime.receipt`, any JSON value. `resolved_by` is there
    where not the tool gave the result, because the call was in doubt; a result `unknown` with an
    `error` fails the turn.
    """

    type: ClassVar[str] = "turn.tool_returned"
    turn: int
    call: int
    agent: AgentName
    tool_call_id: str
    name: str
    status: ToolStatus
    parts: list[Part] = []
    final: bool = False
    metadata: dict[str, Any] = {}
    error: str | None = None
    occasion: Occasion | None = None
    receipt: Any = None
    resolved_by: Resolution | None = None


class TextInterrupted(EventBody):
    """The part of a model call's text that was shown before the call ended without a response.

    `runner` is the attempt, as in the deltas of its text. A text that is too large for one event is
    kept in several, `offset` characters into it each. Models read it only if the user stopped the
    answer, or a budget did.
    """

    type: ClassVar[str] = "turn.text_interrupted"
    turn: int
    call: int
    agent: AgentName
    runner: RunnerId
    offset: int = 0
    text: str
    reason: InterruptionReason


class TurnStopRequested(EventBody):
    """The user ends the turn: its runner stops the model and the tools, then ends it.

    `by` is the command: a stop, a message that interrupts, or the cancellation of the chat, whose
    `reason` is given; or `budget`, where not the user but a `budget.exceeded` ends the turn. The turn
    ends with `turn.stopped`, or `chat.cancelled`.
    """

    type: ClassVar[str] = "turn.stop_requested"
    turn: int
    agent: AgentName
    user_id: UserId
    by: Literal["stop", "message", "cancel", "budget"]
    reason: str = ""


class TurnStopped(EventBody):
    """The turn ended early, because the user stopped it, or a budget did.

    `by` is a stop, a message that interrupts, or `budget`.
    """

    type: ClassVar[str] = "turn.stopped"
    turn: int
    agent: AgentName
    user_id: UserId
    by: Literal["stop", "message", "budget"]


class TurnCompleted(EventBody):
    """`handoff` is the agent that the model handed off to; none where the after-work rule decides."""

    type: ClassVar[str] = "turn.completed"
    turn: int
    agent: AgentName
    text: str
    handoff: AgentName | None = None


class ModelWait(BaseModel):
    """A pause of `seconds`, to `until`, before a model was requested the `attempt`th time, from 1.

    `code` is that of the failure before.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    code: str
    seconds: float
    until: Instant
    attempt: int


class TurnFailed(EventBody):
    """A turn that cannot be finished: `code` for programs, `message` for the user.

    `detail` is for operators only: what the provider itself said. `waits` are the pauses between the
    attempts of the model call that failed.
    """

    type: ClassVar[str] = "turn.failed"
    turn: int
    agent: AgentName
    code: str
    message: str
    detail: str | None = Field(default=None, exclude_if=_is_none)
    waits: list[ModelWait] = Field(default=[], exclude_if=_is_empty)


class VariablesChanged(EventBody):
    """Context variables that a tool, a rule, an answer, the user or a data reference set or removed."""

    type: ClassVar[str] = "turn.variables_changed"
    turn: int
    agent: AgentName
    changed: dict[str, Any] = {}
    removed: list[str] = []


class UsageRecorded(EventBody):
    """Usage of one model call: tokens as the provider counted them, `duration` in seconds.

    `cost` is in US dollars by the orchestrator's price table, none for a model without a price; a
    `cached` answer was recorded earlier and cost nothing. `estimated`: the call was stopped, and
    what it used is estimated, from the characters of its prompt and of the text that came.
    `time_to_first_chunk` are the seconds until the first part of the last attempt's answer came,
    `request_digest` is the SHA-256 of what the model was given, as in `turn.model_requested`. `waits` are
    the pauses between its attempts. Version 1 had three counts instead of `tokens`.
    """

    type: ClassVar[str] = "turn.usage_recorded"
    version: ClassVar[int] = 2
    turn: int
    call: int
    agent: AgentName
    model: str | None = None
    provider: str | None = None
    tokens: Tokens = Tokens()
    duration: float
    cost: float | None = None
    cached: bool = False
    estimated: bool = Field(default=False, exclude_if=lambda value: not value)
    time_to_first_chunk: float | None = Field(default=None, exclude_if=_is_none)
    request_digest: str | None = Field(default=None, exclude_if=_is_none)
    waits: list[ModelWait] = Field(default=[], exclude_if=_is_empty)


class OutputStructured(EventBody):
    """An agent's reply validated against its output model; in `auto_tool_mode` a tool is called with it."""

    type: ClassVar[str] = "turn.output_structured"
    turn: int
    agent: AgentName
    model_name: str
    data: dict[str, Any]
    auto_tool_mode: bool = False
