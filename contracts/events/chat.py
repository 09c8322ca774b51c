"""Events of a chat's life: start, user messages, files, and exactly one end."""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts.envelope import Instant
from contracts.events.body import EventBody
from contracts.ids import AgentName, ChatId, Seq, UserId
from contracts.open_questions import ArtifactReference, OpenQuestion
from contracts.subjects import Category


class ChatStarted(EventBody):
    """`seed` is the chat's deterministic cache seed: SHA-256 of `app:chat`, its first four bytes.

    `workflow_version` pins the manifests that the chat goes on with, `tools_version` says with which
    tool code it began: both SHA-256 in hex; none where the workflow is not read from a folder.
    `before_chat` and `after_chat` name the tools that the runtime calls before the first turn and
    after the last: what a chat waits for depends on its log alone. So does `ends_on_failure`: whether
    the chat has ended once a turn of it fails.
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
    ends_on_failure: bool = Field(default=False, exclude_if=lambda ends: not ends)


class Segment(BaseModel):
    """The events of chat `chat_id` up to `last`, from the one after the segment before it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    chat_id: ChatId
    last: Seq


class ChatForked(EventBody):
    """The first event of a chat that goes on from event `seq` of another one, `origin`.

    The events up to `seq` stay where they are and belong to both: `segments` name the chats that hold
    them, in order, each of the same app and user. This event is event `seq + 1`, and its `previous`
    is the digest of event `seq`. `variables` are those that the runtime sets in every chat.
    """

    type: ClassVar[str] = "chat.forked"
    user_id: UserId
    origin: ChatId
    seq: Seq
    segments: list[Segment]
    variables: dict[str, Any] = {}
    client_request_id: str | None = None


class ToolCodeChanged(EventBody):
    """The chat continues with its own manifests and newer tool code; both SHA-256 in hex."""

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
    """For models, `summary` replaces all messages up to and including turn `through_turn`.

    Users and transcripts keep the whole conversation. `tokens_before` is the estimate that made it
    due.
    """

    type: ClassVar[str] = "chat.history_compacted"
    through_turn: int
    summary: str
    tokens_before: int


WhileRunning = Literal["queue", "steer", "interrupt", "reject"]
"""What becomes of a message that the user sends while an answer is running.

It waits for the end of the turn (`queue`), enters the turn before its next model call after a tool
(`steer`), stops the answer and begins a new turn (`interrupt`), or is refused (`reject`).
"""


class UserMessageReceived(EventBody):
    """A message of the user that answers no question.

    `while_running` is there if an answer was running: the message waits, and
    `chat.user_messages_consumed` or `chat.user_message_refused` says what has become of it.
    """

    type: ClassVar[str] = "chat.user_message_received"
    user_id: UserId
    text: str
    while_running: Literal["queue", "steer", "interrupt"] | None = Field(
        default=None, exclude_if=lambda policy: policy is None
    )


class UserMessagesConsumed(EventBody):
    """Messages that waited are read by turn `turn` from here on; `messages` are their positions.

    `call` is the model call of a running turn that they enter, none where they begin a turn.
    """

    type: ClassVar[str] = "chat.user_messages_consumed"
    turn: int
    agent: AgentName
    messages: list[Seq]
    call: int | None = None


class UserMessageRefused(EventBody):
    """A message of the user that no agent reads.

    `answer_running`: the workflow accepts none while an answer is running; the message is not in the
    log. `chat_ended`: the chat ended before the message at position `message` could be read.
    """

    type: ClassVar[str] = "chat.user_message_refused"
    user_id: UserId
    reason: Literal["answer_running", "chat_ended"]
    message: Seq | None = None


class CommandGivenUp(EventBody):
    """A command that failed on every attempt before it was applied; it will not be applied later.

    `command` is its kind: `send_message`, `answer_question`, ...
    """

    type: ClassVar[str] = "chat.command_given_up"
    user_id: UserId
    command: str


class TurnLimitReported(EventBody):
    """The user is warned that the chat nears `max_turns`, or the chat `waits` for the user there.

    `turns` is how many turns of agents there are with the next one. A message of the user lets the
    chat go on for as many turns again.
    """

    type: ClassVar[str] = "chat.turn_limit_reported"
    turns: int
    max_turns: int
    waits: bool


class ChatCompleted(EventBody):
    """The chat ended regularly: `reason` is `terminate`, `max_turns`, ..."""

    type: ClassVar[str] = "chat.completed"
    reason: str
    turns: int


class ChatFailed(EventBody):
    """The chat stopped by an error: `code` for programs, `message` for the user.

    A `resumable` chat goes on with the next message of the user; any other has ended. Both can be
    retried.
    """

    type: ClassVar[str] = "chat.failed"
    code: str
    message: str
    resumable: bool = Field(default=True, exclude_if=lambda resumable: resumable)


class ChatCancelled(EventBody):
    type: ClassVar[str] = "chat.cancelled"
    user_id: UserId
    reason: str = ""


class ChatErased(EventBody):
    """What the chat held is erased, by its operator's wish; only its numbers are left.

    It is the last event of a chat, and the only one that counts without the events before it, which
    are removed from the log. `status` is how the chat ended, `cancelled` if it had not; the numbers
    are the totals of its events, `cost` in US dollars. It names no user.
    """

    type: ClassVar[str] = "chat.erased"
    status: Literal["completed", "failed", "cancelled"]
    created_at: Instant
    ended_at: Instant
    agent_turns: int = 0
    tool_calls: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0


RewindKind = Literal["retry", "edit", "rewind"]
"""A turn is run again, a message of the user is replaced, or the chat goes back."""


class _Restored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class RestoredQuestion(_Restored):
    """A question that is open again, and the position of the event by which it was asked."""

    question: OpenQuestion
    seq: Seq


class RestoredChat(_Restored):
    """What a chat looks like where it is rewound to, for readers that do not keep its past.

    `turn` is the newest turn that counts, 0 if there is none; `has_title` whether the user had written
    anything. `changed` and `removed` are the context variables that had another value, or none.
    """

    status: Literal["running", "waiting", "completed", "failed", "cancelled"]
    end_reason: str = ""
    ended_at: Instant | None = None
    resumable: bool = False
    speaker: AgentName | None = None
    turn: int
    turn_started_at: Instant | None = None
    turn_seq: Seq | None = None
    questions: list[RestoredQuestion] = []
    last_artifact: ArtifactReference | None = None
    artifact_payload: dict[str, Any] = {}
    has_title: bool = False
    changed: dict[str, Any] = {}
    removed: list[str] = []


class ChatRewound(EventBody):
    """The events after `to_seq` and before this one do not count any more (see `contracts.rewinds`).

    A `retry` runs a turn again, an `edit` is followed by the new text of the user's message. What tools
    have done meanwhile is not undone.
    """

    type: ClassVar[str] = "chat.rewound"
    to_seq: Seq
    kind: RewindKind
    user_id: UserId
    restored: RestoredChat


RewindRefusal = Literal[
    "answer_running",
    "chat_changed",
    "not_a_resting_point",
    "not_editable",
    "nothing_to_retry",
    "nothing_to_rewind",
    "too_many_rewinds",
]
"""`answer_running`: an answer must be stopped first. `chat_changed`: something happened after the
position that the user has seen. `not_a_resting_point`: the chat was not waiting at that position, or
the position does not count. `not_editable`: there is no such message, or it was sent while an answer
was running. `nothing_to_retry`: no agent has had a turn. `nothing_to_rewind`: it is the chat's end."""


class RewindRefused(EventBody):
    """A retry, an edit or a rewind had no effect; nothing has changed."""

    type: ClassVar[str] = "chat.rewind_refused"
    user_id: UserId
    kind: RewindKind
    reason: RewindRefusal
