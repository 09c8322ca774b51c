"""A chat as the messages of AG-UI: what a client should have, were it to start anew."""

from ag_ui.core import AssistantMessage, FunctionCall, Message, ToolCall, ToolMessage, UserMessage

from contracts.codec import Fact
from services.transport.agui.pieces import Call, Piece, Result, Words, pieces_of
from services.transport.feed import Viewer


class Conversation:
    """Grows by the facts of a chat, in order."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._messages: dict[str, Message] = {}

    @property
    def messages(self) -> list[Message]:
        return list(self._messages.values())

    def add(self, fact: Fact) -> None:
        for piece in pieces_of(self._viewer, fact):
            self._add(piece)

    def _add(self, piece: Piece) -> None:
        match piece:
            case Words(id=name, role="user", text=text):
                self._messages[name] = UserMessage(id=name, content=text)
            case Words(id=name, text=text, name=agent):
                self._messages[name] = AssistantMessage(id=name, name=agent, content=text)
            case Call():
                self._called(piece)
            case Result(id=name, call=call, text=text):
                self._messages[name] = ToolMessage(id=name, tool_call_id=call, content=text)

    def _called(self, call: Call) -> None:
        made = ToolCall(id=call.id, function=FunctionCall(name=call.name, arguments=call.arguments))
        parent = self._messages.get(call.parent)
        if not isinstance(parent, AssistantMessage):
            parent = AssistantMessage(id=call.parent, name=call.agent)
        calls = [*(parent.tool_calls or []), made]
        self._messages[call.parent] = parent.model_copy(update={"tool_calls": calls})
