"""A chat begins, hears its user, and ends in exactly one way."""

from typing import Any, ClassVar

from contracts.events.body import EventBody
from contracts.ids import UserId


class ChatStarted(EventBody):
    """`seed` is the chat's deterministic cache seed: SHA-256 of `app:chat`, its first four bytes."""

    type: ClassVar[str] = "chat.started"
    user_id: UserId
    seed: int
    client_request_id: str | None = None
    variables: dict[str, Any] = {}


class UserMessageReceived(EventBody):
    """The user said something of their own accord, not as the answer to a question."""

    type: ClassVar[str] = "chat.user_message_received"
    user_id: UserId
    text: str


class ChatCompleted(EventBody):
    """Ended as the workflow meant it to: `reason` is `terminate`, `max_turns`, ..."""

    type: ClassVar[str] = "chat.completed"
    reason: str
    turns: int


class ChatFailed(EventBody):
    """Ended by a fault: `code` for programs, `message` for the person who waits."""

    type: ClassVar[str] = "chat.failed"
    code: str
    message: str


class ChatCancelled(EventBody):
    type: ClassVar[str] = "chat.cancelled"
    user_id: UserId
    reason: str = ""
