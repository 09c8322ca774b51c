"""How AG-UI's threads, messages and tool calls are called, and which of our chats and orders they are."""

from contracts.ids import ChatId, ChatKey, CommandId
from contracts.subjects import InvalidSubjectError, chat_tokens, token, untoken

_STARTS, _SAYS = "agui-start", "agui-say"


def starting_order(key: ChatKey, message: str) -> CommandId:
    """The order to begin a chat with a client's message. Raises InvalidIdError."""
    return CommandId(f"{_STARTS}.{chat_tokens(key)}.{token(message, 'messages')}")


def saying_order(key: ChatKey, message: str) -> CommandId:
    """The order that says a client's message in a chat. Raises InvalidIdError."""
    return CommandId(f"{_SAYS}.{chat_tokens(key)}.{token(message, 'messages')}")


def message_of(cause: str) -> str | None:
    """The client's message that an event came of; none where it came of something else."""
    match cause.split("."):
        case [("agui-start" | "agui-say"), _, _, message]:
            try:
                return untoken(message)
            except InvalidSubjectError:
                return None
        case _:
            return None


def spoken(chat: ChatId, turn: int, call: int) -> str:
    """The message that model call `call` of a turn says."""
    return f"{chat}.{turn}.{call}"


def heard(chat: ChatId, seq: int) -> str:
    """A person's message that came from elsewhere."""
    return f"{chat}.{seq}"


def tool_call(turn: int, tool_call_id: str) -> str:
    """A tool call: our ids tell those of one turn apart, the protocol's those of a whole thread."""
    return f"{turn}.{tool_call_id}"


def result(chat: ChatId, turn: int, tool_call_id: str) -> str:
    """The message that a tool's result is."""
    return f"{chat}.{turn}.{tool_call_id}.result"


def pointer(name: str) -> str:
    """A variable as a JSON Pointer (RFC 6901)."""
    return "/" + name.replace("~", "~0").replace("/", "~1")
