"""What a fact adds to the conversation that an AG-UI client keeps: words, tool calls, results."""

import json
from dataclasses import dataclass
from typing import Literal

from contracts.codec import Fact
from contracts.events.chat import UserMessageReceived
from contracts.events.human import HumanAnswered
from contracts.events.parts import text_of
from contracts.events.turn import ModelResponded, ToolInvoked, ToolReturned
from contracts.ids import ChatId
from services.transport.agui import naming
from services.transport.agui.standing import words_of
from services.transport.feed import Viewer, is_heard


@dataclass(frozen=True, slots=True)
class Words:
    """A message; `name` is the agent's."""

    id: str
    role: Literal["user", "assistant"]
    text: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call, which belongs to the message `parent`."""

    id: str
    name: str
    arguments: str
    parent: str
    agent: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool call came to, as a message of its own."""

    id: str
    call: str
    text: str


Piece = Words | Call | Result


def pieces_of(viewer: Viewer, fact: Fact) -> list[Piece]:
    """In order; none for what this viewer must not hear."""
    chat = fact.envelope.chat_id
    match fact.event:
        case UserMessageReceived(text=text):
            return [Words(words_of(fact), "user", text)]
        case HumanAnswered(text=text) if naming.message_of(fact.envelope.cause) is not None:
            return [Words(words_of(fact), "user", text)]
        case ModelResponded() as said if is_heard(viewer, said.agent):
            return _response(chat, said)
        case ToolInvoked(occasion="auto_invoke") as invoked if is_heard(viewer, invoked.agent):
            called = naming.tool_call(invoked.turn, invoked.tool_call_id)
            arguments = json.dumps(invoked.arguments, ensure_ascii=False)
            return [Call(called, invoked.name, arguments, f"{chat}.{called}", invoked.agent)]
        case ToolReturned(occasion=None | "auto_invoke") as back if is_heard(viewer, back.agent):
            return [_result(chat, back)]
        case _:
            return []


def _response(chat: ChatId, said: ModelResponded) -> list[Piece]:
    message = naming.spoken(chat, said.turn, said.call)
    shown = said.text if said.text and not said.hidden else None
    words = [Words(message, "assistant", shown, said.agent)] if shown else []
    calls = [
        Call(naming.tool_call(said.turn, one.id), one.name, one.arguments, message, said.agent)
        for one in said.tool_calls
    ]
    return [*words, *calls]


def _result(chat: ChatId, back: ToolReturned) -> Result:
    return Result(
        naming.result(chat, back.turn, back.tool_call_id),
        naming.tool_call(back.turn, back.tool_call_id),
        back.error or text_of(back.parts),
    )
