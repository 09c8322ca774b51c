"""Types of ids, and the only place where new ids are created."""

from collections.abc import Sequence
from typing import NamedTuple, NewType
from uuid import UUID, uuid4, uuid5

AppId = NewType("AppId", str)
ChatId = NewType("ChatId", str)
UserId = NewType("UserId", str)
WorkflowName = NewType("WorkflowName", str)
AgentName = NewType("AgentName", str)
CommandId = NewType("CommandId", str)
EventId = NewType("EventId", str)
QuestionId = NewType("QuestionId", str)
RunnerId = NewType("RunnerId", str)
Seq = NewType("Seq", int)
"""Position of an event in its chat: contiguous from 1. The cursor of every client and projection."""
StreamSeq = NewType("StreamSeq", int)
"""Position of a message in its JetStream stream: global, with holes between one chat's events."""


class DeliveryId(NamedTuple):
    """One delivery of a command's message: to which process, which message, which attempt.

    `process` tells every delivery apart; `message` is the message's sequence in stream COMMANDS;
    `attempt` counts its deliveries from 1, and may count again where a consumer lost its state.
    Written as a RunnerId: `process:message:attempt`.
    """

    process: str
    message: int
    attempt: int

    @property
    def runner(self) -> RunnerId:
        return RunnerId(f"{self.process}:{self.message}:{self.attempt}")


def delivery_of(runner: RunnerId) -> DeliveryId | None:
    """The delivery that a RunnerId names; none where it names none."""
    match runner.split(":"):
        case [process, message, attempt] if message.isdecimal() and attempt.isdecimal():
            return DeliveryId(process, int(message), int(attempt))
        case _:
            return None


_STARTS = UUID("6b8f0c1e-4b57-4f0c-9d54-1f8f2d6f5a11")
_FORKS = UUID("0d1d3a52-7f6e-4d0b-8a77-2a9a4f0f6c3e")


class ChatKey(NamedTuple):
    """One chat of one tenant: chat ids are unique within an app only."""

    app: AppId
    chat: ChatId


def new_chat_id() -> ChatId:
    return ChatId(str(uuid4()))


def new_command_id() -> CommandId:
    return CommandId(str(uuid4()))


def new_process_id() -> str:
    return uuid4().hex[:12]


def new_message_id() -> str:
    """For a message without an id of its own, such as a timer or a lookup."""
    return uuid4().hex


def chat_id_of_start(
    app: AppId, workflow: WorkflowName, user: UserId, client_request_id: str
) -> ChatId:
    """The chat of a start request: equal requests give the same chat, also in parallel."""
    return _chat_of_request(_STARTS, (app, workflow, user, client_request_id))


def chat_id_of_fork(key: ChatKey, user: UserId, client_request_id: str) -> ChatId:
    """The chat of a request to fork a chat: equal requests give the same fork, also in parallel."""
    return _chat_of_request(_FORKS, (key.app, key.chat, user, client_request_id))


def _chat_of_request(kind: UUID, parts: Sequence[str]) -> ChatId:
    return ChatId(str(uuid5(kind, "".join(f"{len(part)}:{part}" for part in parts))))
