"""Messages of AG-UI: what each fact of a chat adds to the conversation, and the whole conversation."""

import json
from dataclasses import dataclass
from typing import Literal

from ag_ui.core import AssistantMessage, FunctionCall, Message, ToolCall, ToolMessage, UserMessage

from contracts.codec import Fact
from contracts.events.chat import UserMessageReceived
from contracts.events.human import HumanAnswered
from contracts.events.parts import text_of
from contracts.events.turn import ModelResponded, TextInterrupted, ToolInvoked, ToolReturned
from contracts.ids import ChatId
from contracts.message_ids import client_message_id
from services.transport.agui import ids
from services.transport.agui.state import user_message_id
from services.transport.protocol.event_to_frames import Viewer, is_visible


@dataclass(frozen=True, slots=True)
class TextPart:
    """A text message; `name` is the agent."""

    id: str
    role: Literal["user", "assistant"]
    text: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """A tool call of the message `parent`."""

    id: str
    name: str
    arguments: str
    parent: str
    agent: str


@dataclass(frozen=True, slots=True)
class ToolResultPart:
    """The result of a tool call, which is a message of its own."""

    id: str
    call: str
    text: str


Part = TextPart | ToolCallPart | ToolResultPart


def parts_of(viewer: Viewer, fact: Fact) -> list[Part]:
    """The parts that a fact adds to the conversation, in order; none that this viewer may not see."""
    chat = fact.envelope.chat_id
    match fact.event:
        case UserMessageReceived(text=text):
            return [TextPart(user_message_id(fact), "user", text)]
        case HumanAnswered(text=text) if client_message_id(fact.envelope.cause) is not None:
            return [TextPart(user_message_id(fact), "user", text)]
        case ModelResponded() as response if is_visible(viewer, response.agent):
            return _model_response(chat, response)
        case TextInterrupted() as interrupted if is_visible(viewer, interrupted.agent):
            message_id = interrupted_id(fact, interrupted)
            return [TextPart(message_id, "assistant", interrupted.text, interrupted.agent)]
        case ToolInvoked(occasion="auto_invoke") as invoked if is_visible(viewer, invoked.agent):
            call_id = ids.tool_call(invoked.turn, invoked.tool_call_id)
            arguments = json.dumps(invoked.arguments, ensure_ascii=False)
            return [
                ToolCallPart(call_id, invoked.name, arguments, f"{chat}.{call_id}", invoked.agent)
            ]
        case ToolReturned(occasion=None | "auto_invoke") as returned if is_visible(
            viewer, returned.agent
        ):
            return [_tool_result(chat, returned)]
        case _:
            return []


def begins_anew(interrupted: TextInterrupted) -> bool:
    """Whether the model call is made again, so that its text begins anew."""
    return interrupted.reason in ("retried", "runner_lost")


def interrupted_id(fact: Fact, interrupted: TextInterrupted) -> str:
    """The id of the model call's message, unless that is for the text that is still to come."""
    chat, turn, call = fact.envelope.chat_id, interrupted.turn, interrupted.call
    if begins_anew(interrupted) or interrupted.offset:
        return ids.interrupted_message_id(chat, turn, call, fact.envelope.seq)
    return ids.model_message_id(chat, turn, call)


def _model_response(chat: ChatId, response: ModelResponded) -> list[Part]:
    message = ids.model_message_id(chat, response.turn, response.call)
    text = response.text if response.text and not response.hidden else None
    text_parts = [TextPart(message, "assistant", text, response.agent)] if text else []
    calls = [
        ToolCallPart(
            ids.tool_call(response.turn, call.id),
            call.name,
            call.arguments,
            message,
            response.agent,
        )
        for call in response.tool_calls
    ]
    return [*text_parts, *calls]


def _tool_result(chat: ChatId, returned: ToolReturned) -> ToolResultPart:
    return ToolResultPart(
        ids.tool_result_id(chat, returned.turn, returned.tool_call_id),
        ids.tool_call(returned.turn, returned.tool_call_id),
        returned.error or text_of(returned.parts),
    )


class ConversationBuilder:
    """Builds the conversation from the facts of a chat, which are added in order."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._messages: dict[str, Message] = {}

    @property
    def messages(self) -> list[Message]:
        return list(self._messages.values())

    def add(self, fact: Fact) -> None:
        for part in parts_of(self._viewer, fact):
            self._add(part)

    def _add(self, part: Part) -> None:
        match part:
            case TextPart(id=name, role="user", text=text):
                self._messages[name] = UserMessage(id=name, content=text)
            case TextPart(id=name, text=text, name=agent):
                self._messages[name] = AssistantMessage(id=name, name=agent, content=text)
            case ToolCallPart():
                self._add_tool_call(part)
            case ToolResultPart(id=name, call=call, text=text):
                self._messages[name] = ToolMessage(id=name, tool_call_id=call, content=text)

    def _add_tool_call(self, call: ToolCallPart) -> None:
        tool_call = ToolCall(
            id=call.id, function=FunctionCall(name=call.name, arguments=call.arguments)
        )
        parent = self._messages.get(call.parent)
        if not isinstance(parent, AssistantMessage):
            parent = AssistantMessage(id=call.parent, name=call.agent)
        calls = [*(parent.tool_calls or []), tool_call]
        self._messages[call.parent] = parent.model_copy(update={"tool_calls": calls})
