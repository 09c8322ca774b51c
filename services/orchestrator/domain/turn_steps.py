"""Decide the next step of an agent's turn from the events of the turn so far."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts.cache_seed import turn_key
from contracts.events.chat import HistoryCompacted
from contracts.events.parts import text_of
from contracts.events.turn import (
    RUNTIME,
    SELECTOR,
    ConversationProcessed,
    ModelCallFailed,
    ModelResponded,
    ModelWait,
    Occasion,
    OutputStructured,
    ToolInvoked,
    ToolReturned,
)
from contracts.ids import AgentName, ChatId
from services.orchestrator.domain.state import ChatState, LifecycleOccasion, lifecycle_call
from services.orchestrator.domain.turn import Turn, invocation_id
from services.orchestrator.workflows.spec import Agent, OutputInvalidError, Tool, Workflow

MAX_OUTPUT_ATTEMPTS = 3
"""Replies of an agent that do not match its output model before its turn fails."""
HANDOFF_KEY = "handoff"
"""The key of a handoff's target in the metadata of a tool result."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The turn is over: its text, and the agent that it hands over to, if any."""

    text: str
    handoff: AgentName | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The turn cannot be finished, and the chat fails; `detail` is what only operators read.

    `waits` are those of the model call that failed.
    """

    code: str
    message: str
    detail: str | None = None
    waits: tuple[ModelWait, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Suspended:
    """The turn continues when the user has answered."""


@dataclass(frozen=True, slots=True)
class Done:
    """Every effect is in the log already, and nothing follows from the outcome."""


Outcome = Completed | Failed | Suspended | Done


@dataclass(frozen=True, slots=True)
class ProcessConversation:
    """Pass the conversation through the workflow's hooks before the agent reads it."""


@dataclass(frozen=True, slots=True)
class CallModel:
    """Call the model; `correction` tells it why its last reply was not accepted."""

    correction: str | None = None


@dataclass(frozen=True, slots=True)
class SummariseConversation:
    """Summarise the conversation before the turn, which is too long for the model.

    `context_window` is the model's, in tokens, if the provider named it. If nothing of the
    conversation can be summarised, the turn ends with `failure`.
    """

    failure: Failed
    context_window: int | None = None


@dataclass(frozen=True, slots=True)
class RecordOutput:
    """Record the structured output of the reply."""

    output: OutputStructured


@dataclass(frozen=True, slots=True)
class InvokeTool:
    """Call a tool that the runtime calls, not a model."""

    tool: Tool
    call: ToolInvoked


@dataclass(frozen=True, slots=True)
class EndTurn:
    """End the turn with an outcome."""

    outcome: Completed | Failed


Step = ProcessConversation | CallModel | SummariseConversation | RecordOutput | InvokeTool | EndTurn


def next_step(turn: Turn, agent: Agent, chat: ChatId) -> Step:
    """The first of these that is not done: the `before_agent` tools, the model calls, the structured
    output, the tool that is invoked with it, the `after_agent` tools, the end of the turn.
    """
    if (failure := doubt_failure(turn)) is not None:
        return EndTurn(failure)
    return (
        _invocation("before_agent", agent.before_tools, turn)
        or _model_step(turn, agent)
        or _output_step(turn, agent, chat)
        or _invocation("after_agent", agent.after_tools, turn)
        or EndTurn(completion_of(turn))
    )


def doubt_failure(turn: Turn) -> Failed | None:
    """The failure of a turn with a call in doubt that is to fail it (`in_doubt: fail`)."""
    for step in turn.steps:
        if isinstance(step, ToolReturned) and step.status == "unknown" and step.error is not None:
            return Failed("TOOL_IN_DOUBT", step.error)
    return None


def lifecycle_calls(
    occasion: LifecycleOccasion, state: ChatState, workflow: Workflow
) -> tuple[InvokeTool, ...]:
    """The calls of lifecycle tools that have no result yet."""
    tools = workflow.before_chat if occasion == "before_chat" else workflow.after_chat
    ids = [lifecycle_call(occasion, number, state) for number in range(len(tools))]
    calls = _invocations(occasion, tools, ids, turn=0, agent=RUNTIME)
    return tuple(one for one in calls if one.call.tool_call_id not in state.lifecycle_results)


def completion_of(turn: Turn) -> Completed:
    """The outcome of a turn after its last model response."""
    last = turn.responses[-1]
    final = final_result(turn, last)
    if final is None:
        return Completed(last.text or "", None)
    target = final.metadata.get(HANDOFF_KEY)
    text = last.text or text_of(final.parts)
    return Completed(text, None if target is None else AgentName(target))


def final_result(turn: Turn, response: ModelResponded) -> ToolReturned | None:
    """The result that ends the turn without another model call: the first in the order of calls."""
    returned = turn.tool_results
    if any(call.id not in returned for call in response.tool_calls):
        return None
    results = (returned[call.id] for call in response.tool_calls)
    return next((result for result in results if result.final), None)


# -- model calls --------------------------------------------------------------------------------


def _model_step(
    turn: Turn, agent: Agent
) -> ProcessConversation | CallModel | SummariseConversation | EndTurn | None:
    """None once no model call is needed any more."""
    call = _model_call(turn, agent)
    if call is None:
        return None
    return _after_failure(turn) or (ProcessConversation() if _is_unprocessed(turn, agent) else call)


def _is_unprocessed(turn: Turn, agent: Agent) -> bool:
    """Whether the hooks have to change the conversation: first, and again where it was summarised."""
    if not agent.has_input_hooks or turn.processed is not None:
        return False
    return not turn.requests or any(isinstance(one, ConversationProcessed) for one in turn.steps)


def _after_failure(turn: Turn) -> SummariseConversation | EndTurn | None:
    """What a failed model request leads to; none where the model is called again, or for the first time.

    It is called again once after an empty answer and once after one that was cut, of which the limit
    is known; after a refused form of answer, as there are fewer forms each time; and once in a turn
    with a summary of the conversation.
    """
    failed = turn.failed_call
    if failed is None:
        return None
    codes = [one.code for one in turn.failures]
    is_first = codes.count(failed.code) == 1 and not failed.final
    was_cut = "ANSWER_CUT" in codes
    ended = EndTurn(_ended_by(failed, turn))
    match failed.code:
        case "MODEL_EMPTY":
            return None if is_first and turn.agent != SELECTOR else ended
        case "ANSWER_CUT":
            return None if is_first and failed.max_tokens is not None else ended
        case "RESPONSE_FORMAT_REFUSED":
            return None
        case "CONTEXT_TOO_LONG":
            # With the limit that was raised before, the request exceeds the context window.
            if was_cut or _was_summarised_after_failure(turn):
                return ended
            failure = Failed(failed.code, failed.message)
            return SummariseConversation(failure, failed.context_window)


def _ended_by(failed: ModelCallFailed, turn: Turn) -> Completed | Failed:
    """The outcome; the selector's turn completes, so that another speaker is chosen without it."""
    cut = next((one for one in turn.failures if one.code == "ANSWER_CUT"), None)
    if failed.code == "CONTEXT_TOO_LONG" and cut is not None:
        failed = cut
    if turn.agent == SELECTOR and failed.code in ("MODEL_EMPTY", "ANSWER_CUT"):
        return Completed("", None)
    return Failed(failed.code, failed.message)


def _was_summarised_after_failure(turn: Turn) -> bool:
    steps = iter(turn.steps)
    return any(isinstance(one, ModelCallFailed) for one in steps) and any(
        isinstance(one, HistoryCompacted) for one in steps
    )


def _model_call(turn: Turn, agent: Agent) -> CallModel | None:
    """None once the turn has its last response."""
    if not turn.responses:
        return CallModel()
    last = turn.responses[-1]
    if last.tool_calls:
        return None if final_result(turn, last) else CallModel()
    if not agent.output_required or agent.output is None:
        return None
    output_errors = [_output_error(agent, one) for one in turn.responses if not one.tool_calls]
    if output_errors[-1] is None or len(output_errors) >= MAX_OUTPUT_ATTEMPTS:
        return None
    return CallModel(
        correction=f"Your answer does not have the required form: {output_errors[-1]}. "
        "Answer again with exactly one JSON object of the given form."
    )


def _output_error(agent: Agent, response: ModelResponded) -> str | None:
    """Why a reply does not match the agent's output model, None if it does."""
    assert agent.output is not None  # noqa: S101  checked by the caller
    try:
        agent.output.parse(response.text or "")
    except OutputInvalidError as invalid:
        return str(invalid)
    return None


# -- structured output --------------------------------------------------------------------------


def _output_step(
    turn: Turn, agent: Agent, chat: ChatId
) -> RecordOutput | InvokeTool | EndTurn | None:
    last = turn.responses[-1]
    if agent.output is None or final_result(turn, last) is not None:
        return None
    if turn.output is not None:
        return _auto_invocation(turn, agent, turn.output.data, chat)
    try:
        data = agent.output.parse(last.text or "")
    except OutputInvalidError as invalid:
        return EndTurn(_invalid_output(agent, invalid)) if agent.output_required else None
    return RecordOutput(
        OutputStructured(
            turn=turn.number,
            agent=turn.agent,
            model_name=agent.output.name,
            data=data,
            auto_tool_mode=agent.auto_tool_mode,
        )
    )


def _invalid_output(agent: Agent, invalid: OutputInvalidError) -> Failed:
    name = agent.output.name if agent.output else ""
    return Failed("OUTPUT_INVALID", f"The reply of {agent.name} does not match {name}: {invalid}")


def _auto_invocation(
    turn: Turn, agent: Agent, data: dict[str, Any], chat: ChatId
) -> InvokeTool | None:
    tool = agent.auto_tool
    key = invocation_id(turn, turn_key(chat, turn.number))
    if tool is None or key in turn.tool_results:
        return None
    caption = data.get("agent_message")
    ui = tool.ui
    call = ToolInvoked(
        turn=turn.number,
        agent=turn.agent,
        tool_call_id=key,
        name=tool.name,
        occasion="auto_invoke",
        arguments=data,
        component=None if ui is None else ui.component,
        display=None if ui is None else ui.display,
        caption=caption if isinstance(caption, str) else None,
    )
    return InvokeTool(tool, call)


# -- tools before and after the turn ------------------------------------------------------------


def _invocation(occasion: Occasion, tools: Sequence[Tool], turn: Turn) -> InvokeTool | None:
    ids = [invocation_id(turn, f"{occasion}-{number}") for number in range(len(tools))]
    calls = _invocations(occasion, tools, ids, turn.number, turn.agent)
    return next((one for one in calls if one.call.tool_call_id not in turn.tool_results), None)


def _invocations(
    occasion: Occasion, tools: Iterable[Tool], ids: Iterable[str], turn: int, agent: AgentName
) -> Iterable[InvokeTool]:
    for tool, tool_call in zip(tools, ids, strict=True):
        call = ToolInvoked(
            turn=turn,
            agent=agent,
            tool_call_id=tool_call,
            name=tool.name,
            occasion=occasion,
        )
        yield InvokeTool(tool, call)
