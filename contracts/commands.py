"""Commands to the orchestrator: the only way for other services to change a chat."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from contracts.chat_list import MAX_GRACE_SECONDS, MAX_TITLE_CHARS
from contracts.ids import (
    AppId,
    ChatId,
    ChatKey,
    CommandId,
    QuestionId,
    Seq,
    StreamSeq,
    UserId,
    WorkflowName,
)


class _Command(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    command_id: CommandId
    app_id: AppId
    chat_id: ChatId
    user_id: UserId
    trace: str | None = None

    @property
    def key(self) -> ChatKey:
        return ChatKey(self.app_id, self.chat_id)


class StartChat(_Command):
    """`message`, if given, is the user's first; `variables` seed the context."""

    name: Literal["start_chat"] = "start_chat"
    workflow_name: WorkflowName
    client_request_id: str | None = None
    message: str | None = None
    variables: dict[str, Any] = {}


class ForkChat(_Command):
    """Begin a chat that goes on from event `seq` of chat `origin` of the same app and user.

    `message`, if given, is the first of the user in it. `position` is where the sender found the
    message of the log that holds the event.
    """

    name: Literal["fork_chat"] = "fork_chat"
    origin: ChatId
    seq: Seq = Field(ge=1)
    client_request_id: str | None = None
    message: str | None = None
    position: StreamSeq | None = None


class SendMessage(_Command):
    name: Literal["send_message"] = "send_message"
    text: str


class AnswerQuestion(_Command):
    """`user_id` answers, by a `role` of theirs where the question does not name them.

    `approved` and `always` decide an approval, else its text does. With a `digest`, the answer has
    an effect only if the question asks about arguments with that digest.
    """

    name: Literal["answer_question"] = "answer_question"
    question_id: QuestionId
    text: str
    role: str | None = None
    approved: bool | None = None
    always: bool = False
    digest: str | None = None


class AnswerUiTool(_Command):
    name: Literal["answer_ui_tool"] = "answer_ui_tool"
    question_id: QuestionId
    response: dict[str, Any]
    role: str | None = None


class ExpireQuestion(_Command):
    """Sent by a timer, at the question's `expires_at`."""

    name: Literal["expire_question"] = "expire_question"
    question_id: QuestionId


class EscalateQuestion(_Command):
    """Sent by a timer, at the time of the question's escalation."""

    name: Literal["escalate_question"] = "escalate_question"
    question_id: QuestionId


class SetVariables(_Command):
    """A client sets context variables of which the workflow says that users may set them.

    `component` is the component that sets them, where one does.
    """

    name: Literal["set_variables"] = "set_variables"
    variables: dict[str, Any] = Field(min_length=1)
    component: str | None = None


class AttachFile(_Command):
    """Adds a file to the chat; its bytes are in object store `attachments` already."""

    name: Literal["attach_file"] = "attach_file"
    attachment_id: str
    filename: str
    size_bytes: int = Field(ge=0)
    content_type: str
    digest: str
    intent: Literal["context", "bundle", "deliverable"] = "context"
    bundle_path: str | None = None


class CancelChat(_Command):
    name: Literal["cancel_chat"] = "cancel_chat"
    reason: str = ""


class RenameChat(_Command):
    """`title` is one line: what is not is refused before."""

    name: Literal["rename_chat"] = "rename_chat"
    title: str = Field(min_length=1, max_length=MAX_TITLE_CHARS)


class ArchiveChat(_Command):
    name: Literal["archive_chat"] = "archive_chat"


class UnarchiveChat(_Command):
    name: Literal["unarchive_chat"] = "unarchive_chat"


class DeleteChat(_Command):
    """Stops the running answer, if any, and hides the chat; `grace_seconds` later it may be erased."""

    name: Literal["delete_chat"] = "delete_chat"
    grace_seconds: int = Field(ge=0, le=MAX_GRACE_SECONDS)


class UndeleteChat(_Command):
    name: Literal["undelete_chat"] = "undelete_chat"


class StopAnswer(_Command):
    """Ends the answer that is running, and nothing else; then it is the user's turn.

    `turn` is the turn that the user saw running: the answer that goes on from it is stopped, not one
    to a later message. None: whatever answer is running.
    """

    name: Literal["stop_answer"] = "stop_answer"
    turn: int | None = None


class _Rewind(_Command):
    """`seen_seq` is the last event of the chat that the user knew: after another one, nothing happens."""

    seen_seq: Seq = Field(ge=1)


class RetryAnswer(_Rewind):
    """Runs the last turn of an agent again, also after a failure or the end of the chat."""

    name: Literal["retry_answer"] = "retry_answer"


class EditMessage(_Rewind):
    """Replaces the user's message at position `message`: what came after it does not count any more."""

    name: Literal["edit_message"] = "edit_message"
    message: Seq = Field(ge=1)
    text: str


class RewindChat(_Rewind):
    """Takes the chat back to position `to_seq`, at which it waited for the user or had ended."""

    name: Literal["rewind_chat"] = "rewind_chat"
    to_seq: Seq = Field(ge=1)


class ResumeChat(_Command):
    """Sent by the audit where a chat is pending and the message that owned it is gone.

    `owner` is that message's sequence in COMMANDS: where the chat has moved on, nothing happens.
    """

    name: Literal["resume_chat"] = "resume_chat"
    owner: int


Command = (
    StartChat
    | ForkChat
    | SendMessage
    | AnswerQuestion
    | AnswerUiTool
    | ExpireQuestion
    | EscalateQuestion
    | SetVariables
    | AttachFile
    | CancelChat
    | RenameChat
    | ArchiveChat
    | UnarchiveChat
    | DeleteChat
    | UndeleteChat
    | StopAnswer
    | RetryAnswer
    | EditMessage
    | RewindChat
    | ResumeChat
)

COMMAND: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="name")])
"""Parses a command. Raises pydantic.ValidationError."""
COMMAND_NAMES = frozenset(str(model.model_fields["name"].default) for model in get_args(Command))
"""The commands of this release; the last token of a command's subject is its name."""
