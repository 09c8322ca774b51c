"""The transcript of a chat in AG2's strict message format: {role, name, content, tool_calls?, tool_call_id?}."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from contracts.events import Event
from contracts.events.chat import UserMessageReceived
from contracts.events.parts import ToolCall, text_of
from contracts.events.turn import (
    SELECTOR,
    USER,
    InterruptionReason,
    ModelResponded,
    TextInterrupted,
    ToolReturned,
)

Role = Literal["user", "assistant", "tool"]


class CalledFunction(BaseModel):
    """The function of a tool call; `arguments` is the text of a JSON object."""

    model_config = ConfigDict(frozen=True)

    name: str
    arguments: str


class MessageToolCall(BaseModel):
    """A tool call in the form that models and AG2 exchange."""

    model_config = ConfigDict(frozen=True)

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class TranscriptMessage(BaseModel):
    """One message: of the user, of an agent's model, or the result of a tool that the model called."""

    model_config = ConfigDict(frozen=True)

    role: Role
    name: str
    content: str | None
    tool_calls: tuple[MessageToolCall, ...] | None = None
    tool_call_id: str | None = None
    interrupted: InterruptionReason | None = None
    """Why the text ends early; None where it is whole."""

    def to_ag2(self) -> dict[str, Any]:
        """`role`, `name` and `content`, and each other field only where it has a value."""
        message: dict[str, Any] = {"role": self.role, "name": self.name, "content": self.content}
        if self.tool_calls:
            message["tool_calls"] = [call.model_dump(mode="json") for call in self.tool_calls]
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        if self.interrupted is not None:
            message["interrupted"] = self.interrupted
        return message


Message = TypeVar("Message", bound=TranscriptMessage)


def user_message(text: str) -> TranscriptMessage:
    return TranscriptMessage(role="user", name=USER, content=text)


def response_message(response: ModelResponded) -> TranscriptMessage:
    calls = tuple(_call(call) for call in response.tool_calls)
    return TranscriptMessage(
        role="assistant", name=response.agent, content=response.text, tool_calls=calls or None
    )


def interrupted_message(interrupted: TextInterrupted) -> TranscriptMessage:
    """The text that users saw of a model call that ended without a response."""
    return TranscriptMessage(
        role="assistant",
        name=interrupted.agent,
        content=interrupted.text,
        interrupted=interrupted.reason,
    )


def result_message(result: ToolReturned) -> TranscriptMessage:
    return TranscriptMessage(
        role="tool",
        name=result.name,
        content=text_of(result.parts) or result.error or "",
        tool_call_id=result.tool_call_id,
    )


def _call(call: ToolCall) -> MessageToolCall:
    return MessageToolCall(
        id=call.id, function=CalledFunction(name=call.name, arguments=call.arguments)
    )


def message_of(event: Event | None) -> TranscriptMessage | None:
    """The message that an event adds to the transcript; None for most events.

    The answer to a question is not a message of its own: it reaches the model as the result of the
    tool that asked, and the strict format allows nothing else between a call and its result. The
    selector's choices are not messages, nor are the results of tools that no model called.
    """
    match event:
        case UserMessageReceived(text=text):
            return user_message(text)
        case ModelResponded(agent=agent) if agent != SELECTOR:
            return response_message(event)
        case TextInterrupted(agent=agent) if agent != SELECTOR:
            return interrupted_message(event)
        case ToolReturned(agent=agent, occasion=None) if agent != SELECTOR:
            return result_message(event)
        case _:
            return None


def groups(messages: Iterable[Message]) -> Iterator[list[Message]]:
    """The messages, given in the order of their events, in groups that keep together.

    A response is followed by the results of its tool calls, in the order of the calls: tools may
    finish in any order. What the user wrote before the last of them follows the results. Any other
    message is a group of its own.
    """
    group: list[Message] = []
    unanswered: set[str] = set()
    for message in messages:
        if group and (message.role == "assistant" or not unanswered):
            yield _ordered(group)
            group = []
        if not group:
            unanswered = {call.id for call in message.tool_calls or ()}
        group.append(message)
        unanswered.discard(message.tool_call_id or "")
    if group:
        yield _ordered(group)


def _ordered(group: list[Message]) -> list[Message]:
    calls = {call.id: place for place, call in enumerate(group[0].tool_calls or ())}

    def place_of(message: Message) -> int:
        return calls.get(message.tool_call_id or "", len(calls))

    return [group[0], *sorted(group[1:], key=place_of)]


def transcript(events: Iterable[Event | None]) -> list[TranscriptMessage]:
    """The whole chat of these events, in strict order."""
    messages = (message for event in events if (message := message_of(event)) is not None)
    return [message for group in groups(messages) for message in group]
