"""What an agent's turn needs next, read off its log: one step at a time, to its last word."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from contracts.events.parts import text_of
from contracts.events.turn import (
    RUNTIME,
    ModelResponded,
    Occasion,
    OutputStructured,
    ToolInvoked,
    ToolReturned,
)
from contracts.ids import AgentName, ChatId
from contracts.seed import turn_key
from services.orchestrator.state import AroundChat, ChatState, Turn
from services.orchestrator.workflows.spec import Agent, OutputInvalidError, Tool, Workflow

OUTPUT_TRIES = 3
"""How often running an agent may miss its output model before its turn fails."""
HANDOFF = "handoff"
"""Under which a handoff's target travels in a tool result's metadata."""


@dataclass(frozen=True, slots=True)
class Spoke:
    """An agent's turn came to its end."""

    text: str
    handoff: AgentName | None


@dataclass(frozen=True, slots=True)
class Broke:
    """An agent's turn cannot be finished."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Waits:
    """An agent's turn goes on when a person has answered."""


@dataclass(frozen=True, slots=True)
class Noted:
    """All that came of it is in the log already."""


Outcome = Spoke | Broke | Waits | Noted


@dataclass(frozen=True, slots=True)
class Process:
    """Let the workflow's hooks see the conversation before the agent does."""


@dataclass(frozen=True, slots=True)
class Talk:
    """Let the model go on; `again` says why its last answer was not accepted."""

    again: str | None = None


@dataclass(frozen=True, slots=True)
class Capture:
    """Keep the structured output of the reply."""

    output: OutputStructured


@dataclass(frozen=True, slots=True)
class Invoke:
    """Call a tool of the runtime's own accord, once."""

    tool: Tool
    call: ToolInvoked


@dataclass(frozen=True, slots=True)
class Done:
    """The turn has come to its end."""

    outcome: Spoke | Broke


Step = Process | Talk | Capture | Invoke | Done


def next_step(turn: Turn, agent: Agent, chat: ChatId) -> Step:
    """Before the agent, the agent itself, its output, the tool that gets it, after the agent."""
    return (
        _invocation("before_agent", agent.before, turn)
        or _talk(turn, agent)
        or _output(turn, agent, chat)
        or _invocation("after_agent", agent.after, turn)
        or Done(said(turn))
    )


def around_chat(occasion: AroundChat, state: ChatState, workflow: Workflow) -> tuple[Invoke, ...]:
    """The tools that are still to be called before or after a chat."""
    tools = workflow.before_chat if occasion == "before_chat" else workflow.after_chat
    calls = _invocations(occasion, tools, turn=0, agent=RUNTIME)
    return tuple(one for one in calls if one.call.tool_call_id not in state.around)


def said(turn: Turn) -> Spoke:
    """What a turn comes to whose model has said its last word."""
    last = turn.responses[-1]
    final = final_result(turn, last)
    if final is None:
        return Spoke(last.text or "", None)
    target = final.metadata.get(HANDOFF)
    words = last.text or text_of(final.parts)
    return Spoke(words, None if target is None else AgentName(target))


def final_result(turn: Turn, response: ModelResponded) -> ToolReturned | None:
    """The result that ended the turn without another model call: the first in the order of calls."""
    returned = turn.returned
    if any(call.id not in returned for call in response.tool_calls):
        return None
    results = (returned[call.id] for call in response.tool_calls)
    return next((result for result in results if result.final), None)


# -- the agent itself ---------------------------------------------------------------------------


def _talk(turn: Turn, agent: Agent) -> Process | Talk | None:
    """None once the model has nothing more to say."""
    if not turn.responses:
        unseen = agent.reshapes and turn.processed is None and not turn.requests
        return Process() if unseen else Talk()
    last = turn.responses[-1]
    if last.tool_calls:
        return None if final_result(turn, last) else Talk()
    if not agent.output_required or agent.output is None:
        return None
    missed = [_missed(agent, one) for one in turn.responses if not one.tool_calls]
    if missed[-1] is None or len(missed) >= OUTPUT_TRIES:
        return None
    return Talk(
        again=f"Your answer is not what was asked for: {missed[-1]}. Answer once more, {_ONLY}"
    )


_ONLY = "with nothing but one JSON object of the given form."


def _missed(agent: Agent, response: ModelResponded) -> str | None:
    """Why a reply does not meet the agent's model."""
    assert agent.output is not None  # noqa: S101  asked for by the caller
    try:
        agent.output.parse(response.text or "")
    except OutputInvalidError as invalid:
        return str(invalid)
    return None


# -- what comes of it ---------------------------------------------------------------------------


def _output(turn: Turn, agent: Agent, chat: ChatId) -> Capture | Invoke | Done | None:
    last = turn.responses[-1]
    if agent.output is None or final_result(turn, last) is not None:
        return None
    if turn.output is not None:
        return _auto_invocation(turn, agent, turn.output.data, chat)
    try:
        data = agent.output.parse(last.text or "")
    except OutputInvalidError as invalid:
        return Done(_invalid(agent, invalid)) if agent.output_required else None
    return Capture(
        OutputStructured(
            turn=turn.number,
            agent=turn.agent,
            model_name=agent.output.name,
            data=data,
            auto_tool_mode=agent.auto_tool_mode,
        )
    )


def _invalid(agent: Agent, invalid: OutputInvalidError) -> Broke:
    name = agent.output.name if agent.output else ""
    return Broke("OUTPUT_INVALID", f"{agent.name} did not answer in the form of {name}: {invalid}")


def _auto_invocation(turn: Turn, agent: Agent, data: dict[str, Any], chat: ChatId) -> Invoke | None:
    tool = agent.auto_tool
    key = turn_key(chat, turn.number)
    if tool is None or key in turn.returned:
        return None
    caption = data.get("agent_message")
    shown = tool.interface
    call = ToolInvoked(
        turn=turn.number,
        agent=turn.agent,
        tool_call_id=key,
        name=tool.name,
        occasion="auto_invoke",
        arguments=data,
        component=None if shown is None else shown.component,
        display=None if shown is None else shown.display,
        caption=caption if isinstance(caption, str) else None,
    )
    return Invoke(tool, call)


# -- around it ----------------------------------------------------------------------------------


def _invocation(occasion: Occasion, tools: Iterable[Tool], turn: Turn) -> Invoke | None:
    calls = _invocations(occasion, tools, turn.number, turn.agent)
    return next((one for one in calls if one.call.tool_call_id not in turn.returned), None)


def _invocations(
    occasion: Occasion, tools: Iterable[Tool], turn: int, agent: AgentName
) -> Iterable[Invoke]:
    for number, tool in enumerate(tools):
        call = ToolInvoked(
            turn=turn,
            agent=agent,
            tool_call_id=f"{occasion}-{number}",
            name=tool.name,
            occasion=occasion,
        )
        yield Invoke(tool, call)
