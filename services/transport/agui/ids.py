"""Ids of AG-UI messages, tool calls and answers."""

from hashlib import sha256

from contracts.ids import ChatId, CommandId


def answer_command_id(question: str, run: str) -> CommandId:
    """Id of the command of a run that answers a question: the same if the run is sent again."""
    return CommandId(f"answer-{question}-{sha256(run.encode()).hexdigest()[:16]}")


def model_message_id(chat: ChatId, turn: int, call: int) -> str:
    """Id of the message of model call `call` of a turn."""
    return f"{chat}.{turn}.{call}"


def interrupted_message_id(chat: ChatId, turn: int, call: int, seq: int) -> str:
    """Id of the text of a model call that begins anew, as another message, after event `seq`."""
    return f"{chat}.{turn}.{call}.{seq}"


def user_message_id(chat: ChatId, seq: int) -> str:
    """Id of a message of the user that no AG-UI client sent."""
    return f"{chat}.{seq}"


def tool_call(turn: int, tool_call_id: str) -> str:
    """Id of a tool call: our ids are unique in a turn, those of AG-UI in a thread."""
    return f"{turn}.{tool_call_id}"


def tool_result_id(chat: ChatId, turn: int, tool_call_id: str) -> str:
    """Id of the message that holds the result of a tool call."""
    return f"{chat}.{turn}.{tool_call_id}.result"


def json_pointer(name: str) -> str:
    """A variable as a JSON Pointer (RFC 6901)."""
    return "/" + name.replace("~", "~0").replace("/", "~1")
