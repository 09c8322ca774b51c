"""The conversation as one agent remembers it, and as messages in strict AG2 format."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.events.parts import TextPart, ToolCall, text_of
from contracts.events.turn import (
    SELECTOR,
    ConversationProcessed,
    ModelRequested,
    ModelResponded,
    ToolReturned,
)
from contracts.ids import AgentName
from contracts.json_preview import pruned
from contracts.transcript import (
    TranscriptMessage,
    response_message,
    result_message,
    user_message,
)
from services.orchestrator.domain.conversation_changes import changed
from services.orchestrator.domain.speaker_selection import candidates
from services.orchestrator.domain.state import ChatState, ConversationEntry
from services.orchestrator.domain.turn import Turn, UserInput
from services.orchestrator.workflows.spec import USER, Agent, Workflow


@dataclass(frozen=True, slots=True)
class UserMessage:
    """A message with the role `user`: from the user, from another agent or from the runtime."""

    text: str


@dataclass(frozen=True, slots=True)
class AgentMessage:
    """A model response of the agent that remembers the conversation."""

    response: ModelResponded


@dataclass(frozen=True, slots=True)
class ToolResults:
    """The results of the tool calls of the preceding response, in the order of the calls."""

    results: tuple[ToolReturned, ...]


Message = UserMessage | AgentMessage | ToolResults

CONTINUE_MESSAGE = "Please continue."
"""Appended if the last message is the agent's own: providers want a user message at the end."""
BEGIN_MESSAGE = "Please begin."
SUMMARY_PREFIX = "A summary of the conversation so far: "
MAX_VARIABLE_CHARS = 200_000
"""How much of one context variable a prompt shows, as of one tool result."""
MAX_ROLE_CHARS = 400
"""How much of each agent's prompt the selector's prompt quotes."""


def conversation_for(state: ChatState, agent: AgentName, seed: str | None) -> list[Message]:
    """The conversation before the open turn, as an agent remembers it; ends in a UserMessage.

    The agent's own turns are responses and tool results, every other turn is one user message
    `[name]: text`. `seed` is the workflow's hidden first message.
    """
    messages = _messages_before_turn(state, agent, seed)
    return [*messages, *closing_messages(messages)]


def closing_messages(messages: Sequence[Message]) -> list[Message]:
    """What is appended to a conversation that does not end in a UserMessage."""
    if not messages:
        return [UserMessage(BEGIN_MESSAGE)]
    if isinstance(messages[-1], UserMessage):
        return []
    return [UserMessage(CONTINUE_MESSAGE)]


def system_prompt(agent: Agent, state: ChatState) -> str:
    """The agent's system prompt, followed by its context variables and the user's attachments."""
    blocks = [agent.prompt, _known_variables(agent, state.variables), _attachments(state)]
    return "\n\n".join(block for block in blocks if block)


def _attachments(state: ChatState) -> str:
    files = [
        f"- {one.filename} ({one.content_type}, {one.size_bytes} bytes), id {one.attachment_id}"
        for one in state.attachments
    ]
    return "\n".join(["The user's files:", *files]) if files else ""


def _known_variables(agent: Agent, variables: Mapping[str, Any]) -> str:
    values = [f"- {name}: {_shown_value(variables.get(name))}" for name in agent.variables]
    return "\n".join(["Context variables:", *values]) if values else ""


def _shown_value(value: Any) -> str:
    text = json.dumps(value)
    return (
        text if len(text) <= MAX_VARIABLE_CHARS else json.dumps(pruned(value, MAX_VARIABLE_CHARS))
    )


def selector_conversation(workflow: Workflow, state: ChatState) -> list[Message]:
    """The conversation as the selector reads it, with its own earlier answers, and the question."""
    messages = _messages_before_turn(state, SELECTOR, workflow.initial_message)
    return [*messages, selector_question(workflow, state)]


def selector_question(workflow: Workflow, state: ChatState) -> UserMessage:
    """The question to the selector; it says so if the selector's last answer names nobody."""
    question = f"Who speaks next? One of: {', '.join(candidates(workflow))}."
    repeated = bool(state.conversation) and _is_selection(state.conversation[-1])
    return UserMessage(f"Your answer names no participant. {question}" if repeated else question)


def selector_prompt(workflow: Workflow) -> str:
    """The selector's system prompt: its task, and a line about each candidate."""
    prompts = {name: agent.prompt for name, agent in workflow.agents.items()}
    prompts[USER] = "The user whom the others work for: choose when only the user can continue."
    roles = [
        f"- {name}: {' '.join(prompts[name].split())[:MAX_ROLE_CHARS]}"
        for name in candidates(workflow)
    ]
    return "\n".join([_SELECTOR_TASK, "", *roles])


_SELECTOR_TASK = (
    "You moderate a conversation without taking part in it: you only choose who speaks next. "
    "Answer with one name of this list:"
)


def turn_messages(turn: Turn) -> list[Message]:
    """The model responses and tool results of a turn so far.

    Tool results are included once all calls of their response have one. The correction of a reply
    that was not accepted follows the reply, a message of the user that entered the turn the results
    after which it did. The text of a call that the user stopped is the last message.
    """
    results, first = turn.tool_results, turn.first_call
    messages: list[Message] = []
    for step in turn.steps:
        match step:
            case ModelRequested(call=call, parts=parts) if call > first and parts:
                messages.append(UserMessage(text_of(parts)))
            case ModelResponded() as response:
                messages.append(AgentMessage(response))
                done = tuple(results[c.id] for c in response.tool_calls if c.id in results)
                if response.tool_calls and len(done) == len(response.tool_calls):
                    messages.append(ToolResults(done))
            case _:
                pass
    if (stopped := _stopped_response(turn)) is not None:
        messages.append(AgentMessage(stopped))
    return messages


def _stopped_response(turn: Turn) -> ModelResponded | None:
    """The text that the user saw of a stopped call, as a response; providers refuse a blank one."""
    text, requests = turn.stopped_text, turn.requests
    if not text.strip() or not requests:
        return None
    return ModelResponded(turn=turn.number, call=requests[-1].call, agent=turn.agent, text=text)


def _messages_before_turn(state: ChatState, agent: AgentName, seed: str | None) -> list[Message]:
    messages = opening_messages(state, seed)
    for entry in unsummarised_entries(state):
        messages.extend(messages_of_entry(entry, agent))
    return messages


def opening_messages(state: ChatState, seed: str | None) -> list[Message]:
    """The messages before the first entry: the workflow's hidden one, and the summary."""
    messages: list[Message] = [] if seed is None else [UserMessage(seed)]
    if state.compacted is not None:
        messages.append(UserMessage(f"{SUMMARY_PREFIX}{state.compacted.summary}"))
    return messages


def unsummarised_entries(state: ChatState) -> tuple[ConversationEntry, ...]:
    """The entries that models read in full: those that no summary replaces."""
    return state.conversation[first_unsummarised(state) :]


def first_unsummarised(state: ChatState) -> int:
    """The index of the first entry that no summary replaces."""
    return (
        0
        if state.compacted is None
        else _first_after_turn(state.conversation, state.compacted.through_turn)
    )


def entries_after_turn(
    entries: tuple[ConversationEntry, ...], turn: int
) -> tuple[ConversationEntry, ...]:
    """The entries after the end of a turn."""
    return entries[_first_after_turn(entries, turn) :]


def _first_after_turn(entries: Sequence[ConversationEntry], turn: int) -> int:
    for count in range(len(entries), 0, -1):
        entry = entries[count - 1]
        if isinstance(entry, Turn) and entry.number <= turn:
            return count
    return 0


def messages_of_entry(entry: ConversationEntry, agent: AgentName) -> list[Message]:
    """How an agent remembers an entry."""
    if isinstance(entry, Turn) and entry.agent == agent:
        return _without_open_calls(turn_messages(entry))
    message = others_message(entry, agent)
    return [] if message is None else [message]


def _without_open_calls(messages: list[Message]) -> list[Message]:
    """The messages of a turn that is over: without calls that have no result, which models refuse."""
    match messages:
        case [*before, AgentMessage(response)] if response.tool_calls:
            return before
        case _:
            return messages


def others_message(entry: ConversationEntry, agent: AgentName) -> UserMessage | None:
    """The message as which an agent remembers what others said; None for its own turns."""
    match entry:
        case UserInput(text):
            return None if entry.read_by == agent else UserMessage(text)
        case Turn(text=text) if text and entry.agent != agent:
            return UserMessage(f"[{entry.agent}]: {text}")
        case _:
            return None


@dataclass(frozen=True, slots=True)
class ConversationSize:
    """How long a conversation is: in characters, and as far as the provider has counted its tokens.

    `counted` is the newest response with a count, `chars_since` the characters after it.
    """

    chars: int = 0
    counted: ModelResponded | None = None
    chars_since: int = 0

    def after(self, message: Message) -> "ConversationSize":
        """The size with one more message."""
        chars = _chars_of(message)
        if isinstance(message, AgentMessage) and message.response.tokens.prompt:
            return ConversationSize(self.chars + chars, message.response, 0)
        return ConversationSize(self.chars + chars, self.counted, self.chars_since + chars)


EMPTY_SIZE = ConversationSize()


def _chars_of(message: Message) -> int:
    match message:
        case UserMessage(text):
            return len(text)
        case AgentMessage(response):
            calls = sum(len(call.name) + len(call.arguments) for call in response.tool_calls)
            return len(response.text or "") + calls
        case ToolResults(results):
            return sum(len(text_of(result.parts)) for result in results)


def as_text(entries: Iterable[ConversationEntry]) -> list[str]:
    """One line of text for each message of these entries, tool calls and results included."""
    return [_line_of(m) for one in entries if not _is_selection(one) for m in _messages_of(one)]


def _line_of(message: TranscriptMessage) -> str:
    if message.role == "tool":
        return f"{message.name} returned: {message.content}"
    calls = [call.function for call in message.tool_calls or ()]
    called = "".join(f" [calls {call.name} with {call.arguments}]" for call in calls)
    return f"{message.name}: {message.content or ''}{called}"


def _is_selection(entry: ConversationEntry) -> bool:
    return isinstance(entry, Turn) and entry.agent == SELECTOR


def _messages_of(entry: ConversationEntry) -> Iterator[TranscriptMessage]:
    if isinstance(entry, UserInput):
        yield user_message(entry.text)
        return
    results = entry.tool_results
    for response in entry.responses:
        yield response_message(response)
        for call in response.tool_calls:
            if (result := results.get(call.id)) is not None:
                yield result_message(result)
    if (stopped := _stopped_response(entry)) is not None:
        yield response_message(stopped)


def to_ag2(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """The conversation that an agent remembers, in strict AG2 format."""
    return [one.to_ag2() for message in messages for one in _transcript_messages(message)]


def _transcript_messages(message: Message) -> list[TranscriptMessage]:
    match message:
        case UserMessage(text):
            return [user_message(text)]
        case AgentMessage(response):
            return [response_message(response)]
        case ToolResults(results):
            return [result_message(result) for result in results]


def from_ag2(ag2: Iterable[Mapping[str, Any]], agent: AgentName) -> list[Message]:
    """The conversation that an agent remembers, from messages in strict AG2 format.

    Tool results must follow the response that made the calls. Raises InvalidMessageError.
    """
    messages: list[Message] = []
    for one in ag2:
        match one:
            case {"role": "tool", "tool_call_id": str(call), "content": str(text)}:
                _append_tool_result(messages, call, str(one.get("name", "")), text, agent)
            case {"role": "assistant", "content": str() | None as text}:
                calls = [_tool_call_of(call) for call in one.get("tool_calls") or ()]
                response = ModelResponded(turn=0, call=0, agent=agent, text=text, tool_calls=calls)
                messages.append(AgentMessage(response))
            case {"role": "user" | "system", "content": str(text)}:
                messages.append(UserMessage(text))
            case _:
                raise InvalidMessageError(one)
    return messages


def processed_conversation(
    before: Iterable[Message], processed: ConversationProcessed
) -> list[Message]:
    """The conversation that hooks made of the one before the turn. Raises OtherConversationError.

    An answer that they did not change keeps what its provider must get back.
    """
    before = list(before)
    messages = changed(to_ag2(before), processed.changes, processed.base)
    native = {_ag2_text(one): one for one in before if _is_native(one)}
    found = from_ag2(messages, processed.agent)
    return [native.get(_ag2_text(one), one) for one in found] if native else found


def _is_native(message: Message) -> bool:
    return isinstance(message, AgentMessage) and message.response.native is not None


def _ag2_text(message: Message) -> str:
    return json.dumps(to_ag2([message]))


class InvalidMessageError(ValueError):
    """A message that is not in strict AG2 format; the text names its keys, not its content."""

    def __init__(self, message: Any) -> None:
        keys = sorted(map(str, message)) if isinstance(message, Mapping) else type(message).__name__
        super().__init__(f"not a message in strict AG2 format: {keys}")


def _tool_call_of(given: Any) -> ToolCall:
    match given:
        case {"id": str(call), "function": {"name": str(name), "arguments": str(arguments)}}:
            return ToolCall(id=call, name=name, arguments=arguments)
        case _:
            raise InvalidMessageError(given)


def _append_tool_result(
    messages: list[Message], call: str, name: str, text: str, agent: AgentName
) -> None:
    result = ToolReturned(
        turn=0,
        call=0,
        agent=agent,
        tool_call_id=call,
        name=name,
        status="ok",
        parts=[TextPart(text=text)],
    )
    last = messages[-1] if messages else None
    if isinstance(last, ToolResults):
        messages[-1] = ToolResults((*last.results, result))
    elif isinstance(last, AgentMessage) and last.response.tool_calls:
        messages.append(ToolResults((result,)))
    else:
        raise InvalidMessageError({"role": "tool", "without": "a call before it"})
