"""Commands to the orchestrator: the only way for anyone else to change a chat."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from contracts.ids import AppId, ChatId, ChatKey, CommandId, QuestionId, UserId, WorkflowName


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


class SendMessage(_Command):
    name: Literal["send_message"] = "send_message"
    text: str


class AnswerQuestion(_Command):
    name: Literal["answer_question"] = "answer_question"
    question_id: QuestionId
    text: str


class AnswerUiTool(_Command):
    name: Literal["answer_ui_tool"] = "answer_ui_tool"
    question_id: QuestionId
    response: dict[str, Any]


class ExpireQuestion(_Command):
    """Sent by a timer, at the question's `expires_at`."""

    name: Literal["expire_question"] = "expire_question"
    question_id: QuestionId


class SetVariables(_Command):
    """The person sets context variables, by a component of the page; those of the runtime stay."""

    name: Literal["set_variables"] = "set_variables"
    variables: dict[str, Any] = Field(min_length=1)


class AttachFile(_Command):
    """The bytes are in bucket `attachments` already; this makes them known to the chat."""

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


class ResumeChat(_Command):
    """Sent by the audit where a chat waits for us and the message that owned it is gone.

    `owner` is that message's sequence in COMMANDS: nothing happens where the chat has moved on.
    """

    name: Literal["resume_chat"] = "resume_chat"
    owner: int


Command = (
    StartChat
    | SendMessage
    | AnswerQuestion
    | AnswerUiTool
    | ExpireQuestion
    | SetVariables
    | AttachFile
    | CancelChat
    | ResumeChat
)

COMMAND: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="name")])
"""Parses a command off the wire. Raises pydantic.ValidationError."""
