"""One agent's turn: who speaks, what the model was asked and said, what its tools returned."""

from typing import Any, ClassVar, Literal

from contracts.events.body import EventBody
from contracts.events.human import Display
from contracts.events.parts import BinaryPart, Part, Tokens, ToolCall
from contracts.ids import AgentName

Choice = Literal[
    "initial",
    "before_reply",
    "handoff",
    "after_work",
    "user_message",
    "reply_limit",
    "round_robin",
    "random",
    "auto",
    "fallback",
]
"""Why this speaker: the rule that chose it, or the pattern; `fallback` where the selector could not."""

SELECTOR = AgentName("_selector")
"""Who has the word while a model chooses the next speaker: what it says is for nobody's eyes."""

ToolStatus = Literal["ok", "error", "not_found"]
Occasion = Literal["auto_invoke", "before_chat", "after_chat", "before_agent", "after_agent"]
"""When the runtime calls a tool of its own accord: with an agent's structured output, or around it."""

RUNTIME = AgentName("runtime")
"""Whose turn it is in events of no agent's turn: number 0 before the first turn."""


class SpeakerSelected(EventBody):
    """Turn `turn` (from 1) belongs to `agent`; the agent `user` is the person.

    The turn of `_selector` has no `turn.completed`: it ends when the next speaker is selected.
    """

    type: ClassVar[str] = "turn.speaker_selected"
    turn: int
    agent: AgentName
    by: Choice


class ModelRequested(EventBody):
    """The `call`-th (from 0) model request of a turn is about to leave.

    `prompt` is the system prompt in force; `parts` is what the model is newly told: the turn's
    trigger on its first call, why its answer was not accepted on a call that asks again; `digest` is
    the SHA-256 of the prompt and the conversation that the model was given.
    """

    type: ClassVar[str] = "turn.model_requested"
    turn: int
    call: int
    agent: AgentName
    prompt: list[str]
    parts: list[Part] = []
    digest: str


class ConversationProcessed(EventBody):
    """What the workflow's hooks made of the conversation before turn `turn`, in strict AG2 format.

    `prompt` is the system prompt as they left it.
    """

    type: ClassVar[str] = "turn.conversation_processed"
    turn: int
    agent: AgentName
    messages: list[dict[str, Any]]
    prompt: str


class ModelResponded(EventBody):
    """What the model said, whole; a `hidden` text is for the runtime, not for people."""

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


class ToolInvoked(EventBody):
    """The runtime calls a tool of its own accord; its result is a ToolReturned of the same `occasion`.

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


class ToolReturned(EventBody):
    """A tool finished.

    `error` is what the model may know of a failure: no traceback, no path. `final` ends the turn
    without another model call; a handoff is such a result, its target in `metadata`. `occasion` is
    there where no model but the runtime called it.
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


class TurnCompleted(EventBody):
    """`handoff` is whom the agent asked to go on; none where its after-work rule decides."""

    type: ClassVar[str] = "turn.completed"
    turn: int
    agent: AgentName
    text: str
    handoff: AgentName | None = None


class TurnFailed(EventBody):
    type: ClassVar[str] = "turn.failed"
    turn: int
    agent: AgentName
    code: str
    message: str


class VariablesChanged(EventBody):
    """Context variables that a tool, a rule, an answer, the person or data elsewhere set or removed."""

    type: ClassVar[str] = "turn.variables_changed"
    turn: int
    agent: AgentName
    changed: dict[str, Any] = {}
    removed: list[str] = []


class UsageRecorded(EventBody):
    """What one model call cost: tokens as the provider counted them, seconds as we did.

    `cost` is in US dollars by the orchestrator's price table, none for a model without a price; a
    `cached` answer was recorded earlier and cost nothing. Version 2 gathers the counts in `tokens`, where version 1 had three of them side by side.
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


class OutputStructured(EventBody):
    """An agent's reply, validated against its output model; in `auto_tool_mode` a tool gets it."""

    type: ClassVar[str] = "turn.output_structured"
    turn: int
    agent: AgentName
    model_name: str
    data: dict[str, Any]
    auto_tool_mode: bool = False
