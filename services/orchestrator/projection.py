"""The conversation as one agent sees it, and as AG2-format messages for everyone else."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contracts.events.parts import TextPart, ToolCall, text_of
from contracts.events.turn import SELECTOR, ModelRequested, ModelResponded, ToolReturned
from contracts.ids import AgentName
from services.orchestrator.patterns import candidates
from services.orchestrator.state import ChatState, Line, Said, Turn
from services.orchestrator.workflows.spec import USER, Agent, Workflow


@dataclass(frozen=True, slots=True)
class Heard:
    """Something another speaker said; to a model, a user's message."""

    text: str


@dataclass(frozen=True, slots=True)
class Spoke:
    """A model response of the agent's own."""

    response: ModelResponded


@dataclass(frozen=True, slots=True)
class Returned:
    """The results of the calls of the response before, in the order of the calls."""

    results: tuple[ToolReturned, ...]


Passage = Heard | Spoke | Returned

CONTINUE = "Please continue."
"""What a model hears when the last words are its own: providers want a user's message at the end."""
BEGIN = "Please begin."
SUMMARY = "A summary of the conversation so far: "
ROLE_LENGTH = 400
"""How much of an agent's prompt the selector is told."""


def conversation(state: ChatState, me: AgentName, seed: str | None) -> list[Passage]:
    """What was said before the open turn, as the agent `me` remembers it; ends in a Heard.

    Its own turns are responses and tool results, everyone else's one line each, `[name]: text`.
    `seed` is the workflow's hidden first message, heard before anything else.
    """
    heard = _so_far(state, me, seed)
    if not heard:
        return [Heard(BEGIN)]
    return heard if isinstance(heard[-1], Heard) else [*heard, Heard(CONTINUE)]


def prompt(agent: Agent, state: ChatState) -> str:
    """The agent's system prompt, with what it is to be told of: context variables and attachments."""
    blocks = [agent.prompt, _known_variables(agent, state.variables), _attachments(state)]
    return "\n\n".join(block for block in blocks if block)


def _attachments(state: ChatState) -> str:
    told = [
        f"- {one.filename} ({one.content_type}, {one.size_bytes} bytes), id {one.attachment_id}"
        for one in state.attachments
    ]
    return "\n".join(["The person's files:", *told]) if told else ""


def _known_variables(agent: Agent, variables: Mapping[str, Any]) -> str:
    told = [f"- {name}: {json.dumps(variables.get(name))}" for name in agent.variables]
    return "\n".join(["Context variables:", *told]) if told else ""


def selection(workflow: Workflow, state: ChatState) -> list[Passage]:
    """The conversation as the selector sees it, with its own earlier choices, and the question."""
    asked = f"Who speaks next? One of: {', '.join(candidates(workflow))}."
    missed = bool(state.lines) and _is_selection(state.lines[-1])
    told = _so_far(state, SELECTOR, workflow.initial_message)
    return [*told, Heard(f"Nobody is called that. {asked}" if missed else asked)]


def selector_prompt(workflow: Workflow) -> str:
    """What the selector is told of everyone it may choose."""
    told = {name: agent.prompt for name, agent in workflow.agents.items()}
    told[USER] = "The person whom the others work for: choose them when only they can go on."
    roles = [
        f"- {name}: {' '.join(told[name].split())[:ROLE_LENGTH]}" for name in candidates(workflow)
    ]
    return "\n".join([_SELECTOR_TASK, "", *roles])


_SELECTOR_TASK = (
    "You lead a conversation and say nothing in it yourself: you only choose who speaks next. "
    "Answer with one name of this list. These may speak:"
)


def recorded(turn: Turn) -> list[Passage]:
    """A turn's own responses and results so far, answered calls only where all are answered.

    Where an answer was not accepted, what the model was told of it stands behind the answer.
    """
    results = turn.returned
    passages: list[Passage] = []
    for step in turn.steps:
        match step:
            case ModelRequested(call=call, parts=parts) if call > 0 and parts:
                passages.append(Heard(text_of(parts)))
            case ModelResponded() as response:
                passages.append(Spoke(response))
                done = tuple(results[c.id] for c in response.tool_calls if c.id in results)
                if response.tool_calls and len(done) == len(response.tool_calls):
                    passages.append(Returned(done))
            case _:
                pass
    return passages


def _so_far(state: ChatState, me: AgentName, seed: str | None) -> list[Passage]:
    heard: list[Passage] = [] if seed is None else [Heard(seed)]
    if state.compacted is not None:
        heard.append(Heard(f"{SUMMARY}{state.compacted.summary}"))
    for line in unsummarised(state):
        heard.extend(_remembered(line, me))
    return heard


def unsummarised(state: ChatState) -> tuple[Line, ...]:
    """The lines that models hear as they were said: those for which no summary stands."""
    if state.compacted is None:
        return state.lines
    return after_turn(state.lines, state.compacted.through_turn)


def after_turn(lines: tuple[Line, ...], turn: int) -> tuple[Line, ...]:
    """What was said after a turn had ended."""
    ended = [place for place, line in enumerate(lines, 1) if _is_of(line, turn)]
    return lines[ended[-1] :] if ended else lines


def _is_of(line: Line, turn: int) -> bool:
    return isinstance(line, Turn) and line.number <= turn


def _remembered(line: Line, me: AgentName) -> Iterable[Passage]:
    match line:
        case Said(text):
            return [Heard(text)]
        case Turn(agent=agent) if agent == me:
            return recorded(line)
        case Turn(text=""):
            return []
        case Turn(agent=agent, text=text):
            return [Heard(f"[{agent}]: {text}")]


def messages(state: ChatState) -> list[dict[str, Any]]:
    """The whole chat in strict AG2 format: {role, name, content, tool_calls?, tool_call_id?}.

    Tool messages stand in the order of the calls, whatever order the tools finished in.
    """
    lines = state.lines if state.open is None else (*state.lines, state.open, *state.open.said)
    return [m for line in lines if not _is_selection(line) for m in _messages_of(line)]


def told(lines: Iterable[Line]) -> list[str]:
    """What was said and done in these lines, as a reader would write it down."""
    return [_told(m) for line in lines if not _is_selection(line) for m in _messages_of(line)]


def _told(message: Mapping[str, Any]) -> str:
    if message["role"] == "tool":
        return f"{message['name']} returned: {message['content']}"
    calls = [call["function"] for call in message.get("tool_calls", ())]
    called = "".join(f" [calls {call['name']} with {call['arguments']}]" for call in calls)
    return f"{message['name']}: {message['content'] or ''}{called}"


def _is_selection(line: Line) -> bool:
    return isinstance(line, Turn) and line.agent == SELECTOR


def _messages_of(line: Line) -> Iterator[dict[str, Any]]:
    if isinstance(line, Said):
        yield _message(Heard(line.text))
        return
    results = line.returned
    for response in line.responses:
        yield _spoken(response, line.agent)
        for call in response.tool_calls:
            if (result := results.get(call.id)) is not None:
                yield _result(result, call.name)


def as_messages(passages: Iterable[Passage], me: AgentName) -> list[dict[str, Any]]:
    """What the agent `me` remembers, in strict AG2 format."""
    told: list[dict[str, Any]] = []
    for passage in passages:
        match passage:
            case Heard():
                told.append(_message(passage))
            case Spoke(response):
                told.append(_spoken(response, me))
            case Returned(results):
                told.extend(_result(one, one.name) for one in results)
    return told


def as_passages(messages: Iterable[Mapping[str, Any]], me: AgentName) -> list[Passage]:
    """The way back: messages in strict AG2 format as what the agent `me` remembers.

    Results stand behind the response that called for them. Raises InvalidMessageError.
    """
    passages: list[Passage] = []
    for message in messages:
        match message:
            case {"role": "tool", "tool_call_id": str(call), "content": str(text)}:
                _give_back(passages, call, str(message.get("name", "")), text, me)
            case {"role": "assistant", "content": str() | None as text}:
                calls = [_call_of(one) for one in message.get("tool_calls") or ()]
                said = ModelResponded(turn=0, call=0, agent=me, text=text, tool_calls=calls)
                passages.append(Spoke(said))
            case {"role": "user" | "system", "content": str(text)}:
                passages.append(Heard(text))
            case _:
                raise InvalidMessageError(message)
    return passages


class InvalidMessageError(ValueError):
    """A message that is not in strict AG2 format: its role and keys, without what it says."""

    def __init__(self, message: Any) -> None:
        keys = sorted(map(str, message)) if isinstance(message, Mapping) else type(message).__name__
        super().__init__(f"not a message in strict AG2 format: {keys}")


def _call_of(told: Any) -> ToolCall:
    match told:
        case {"id": str(call), "function": {"name": str(name), "arguments": str(arguments)}}:
            return ToolCall(id=call, name=name, arguments=arguments)
        case _:
            raise InvalidMessageError(told)


def _give_back(passages: list[Passage], call: str, name: str, text: str, me: AgentName) -> None:
    result = ToolReturned(
        turn=0,
        call=0,
        agent=me,
        tool_call_id=call,
        name=name,
        status="ok",
        parts=[TextPart(text=text)],
    )
    last = passages[-1] if passages else None
    if isinstance(last, Returned):
        passages[-1] = Returned((*last.results, result))
    elif isinstance(last, Spoke) and last.response.tool_calls:
        passages.append(Returned((result,)))
    else:
        raise InvalidMessageError({"role": "tool", "without": "a call before it"})


def _message(heard: Heard) -> dict[str, Any]:
    return {"role": "user", "name": USER, "content": heard.text}


def _spoken(response: ModelResponded, agent: AgentName) -> dict[str, Any]:
    spoken: dict[str, Any] = {"role": "assistant", "name": agent, "content": response.text}
    if response.tool_calls:
        spoken["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in response.tool_calls
        ]
    return spoken


def _result(result: ToolReturned, name: str) -> dict[str, Any]:
    return {
        "role": "tool",
        "name": name,
        "tool_call_id": result.tool_call_id,
        "content": text_of(result.parts),
    }
