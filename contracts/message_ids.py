"""Ids that clients give their messages, inside the ids of the commands that send them.

So a message that is sent again is the same command, whichever client, protocol and replica sends it,
and the log shows which messages a chat has.
"""

from hashlib import sha256

from contracts.ids import ChatKey, CommandId
from contracts.subjects import InvalidSubjectError, chat_tokens, token, untoken

_START, _MESSAGE = "agui-start", "agui-say"
"""The first clients with ids of messages were those of AG-UI; logs keep the names."""


def start_command_id(key: ChatKey, message: str, field: str) -> CommandId:
    """Id of the command that starts a chat with a client's message. Raises InvalidIdError."""
    return CommandId(f"{_START}.{chat_tokens(key)}.{token(message, field)}")


def message_command_id(key: ChatKey, message: str, field: str) -> CommandId:
    """Id of the command that sends a client's message to a chat. Raises InvalidIdError."""
    return CommandId(f"{_MESSAGE}.{chat_tokens(key)}.{token(message, field)}")


def answer_command_id(question: str, name: str | None) -> CommandId | None:
    """Id of the command of an answer that a client has named; None for one without a name."""
    if name is None:
        return None
    named = f"{question}\n{name}".encode()
    return CommandId(f"answer-{sha256(named).hexdigest()}")


def client_message_id(cause: str) -> str | None:
    """The id of the client's message that caused an event; None for another cause."""
    match cause.split("."):
        case [("agui-start" | "agui-say"), _, _, message]:
            try:
                return untoken(message)
            except InvalidSubjectError:
                return None
        case _:
            return None
