"""A chat begins, hears its user, and ends in exactly one way."""

from typing import Any, ClassVar, Literal

from contracts.events.body import EventBody
from contracts.ids import UserId
from contracts.subjects import Category


class ChatStarted(EventBody):
    """`seed` is the chat's deterministic cache seed: SHA-256 of `app:chat`, its first four bytes.

    `workflow_version` pins the manifests that the chat goes on with, `tools_version` says with which
    tool code it began: both SHA-256 in hex; none where the workflow is not read from a folder.
    `before_chat` and `after_chat` name the tools that the runtime calls before the first turn and
    when all is over: what a chat waits for is a property of its log alone.
    """

    type: ClassVar[str] = "chat.started"
    user_id: UserId
    seed: int
    client_request_id: str | None = None
    variables: dict[str, Any] = {}
    workflow_version: str | None = None
    tools_version: str | None = None
    before_chat: list[str] = []
    after_chat: list[str] = []


class ToolCodeChanged(EventBody):
    """The chat goes on with its own manifests, but with newer tool code: SHA-256 in hex, each."""

    type: ClassVar[str] = "chat.tool_code_changed"
    before: str | None
    now: str


class AttachmentUploaded(EventBody):
    """The user gave the chat a file; its bytes are object `attachment_id` of bucket `attachments`.

    `content_type` is what the bytes look like, not what the client declared; `digest` is their
    SHA-256 in hex.
    """

    type: ClassVar[str] = "chat.attachment_uploaded"
    category: ClassVar[Category] = "ui"
    attachment_id: str
    user_id: UserId
    filename: str
    size_bytes: int
    content_type: str
    digest: str
    intent: Literal["context", "bundle", "deliverable"] = "context"
    bundle_path: str | None = None


class HistoryCompacted(EventBody):
    """For models, `summary` stands for all that was said up to and including turn `through_turn`.

    People and transcripts keep the whole conversation. `tokens_before` is the estimate that made it
    due.
    """

    type: ClassVar[str] = "chat.history_compacted"
    through_turn: int
    summary: str
    tokens_before: int


class UserMessageReceived(EventBody):
    """The user said something of their own accord, not as the answer to a question."""

    type: ClassVar[str] = "chat.user_message_received"
    user_id: UserId
    text: str


class CommandGivenUp(EventBody):
    """A command that failed again and again before it was taken in; it will not be taken in later.

    `command` is its kind: `send_message`, `answer_question`, ...
    """

    type: ClassVar[str] = "chat.command_given_up"
    user_id: UserId
    command: str


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
