"""Messages that a client sends over the WebSocket, as models."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
)

from contracts.chat_list import MAX_TITLE_CHARS
from contracts.ids import WorkflowName
from contracts.settable_variables import PAGE_PREFIX
from contracts.trace_context import parse_traceparent
from contracts.wire.json_values import MAX_SAFE_INTEGER

MAX_VARIABLES = 100
"""Variables of one message."""
MAX_NAME_LENGTH = 128
"""Characters of a variable's name."""

VariableName = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
Variables = Annotated[
    dict[VariableName, Any],
    Field(
        max_length=MAX_VARIABLES,
        description="JSON values by name. Integers beyond ±(2^53 - 1) must be sent as strings.",
        examples=[{"route": "/orders"}],
    ),
]


def not_blank(text: str) -> str:
    """Raises ValueError for a text without a visible character."""
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def one_line(text: str) -> str:
    """The words of a title, one space between them. Raises ValueError where there are none, or many."""
    line = " ".join(text.split())
    if not line:
        raise ValueError("must not be empty")
    if len(line) > MAX_TITLE_CHARS:
        raise ValueError(f"has {len(line)} characters, at most {MAX_TITLE_CHARS} are accepted")
    return line


Title = Annotated[
    str,
    AfterValidator(one_line),
    Field(
        description=f"The title, in one line of at most {MAX_TITLE_CHARS} characters.",
        examples=["Bread shop"],
    ),
]


def ui_variables(context: Mapping[str, Any] | None) -> dict[str, Any]:
    """Members of a page's context as context variables: the prefix keeps them apart from others."""
    return {f"{PAGE_PREFIX}{name}": value for name, value in (context or {}).items()}


ClientMessageId = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=64,
        description="An id of the client for this message: sent again with it, by whatever protocol,"
        " the message changes nothing.",
        examples=["m-1"],
    ),
]


class _ClientModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


def _valid_traceparent(given: object) -> str | None:
    return parse_traceparent(given) if isinstance(given, str) else None


class _Message(_ClientModel):
    traceparent: Annotated[str | None, BeforeValidator(_valid_traceparent)] = Field(
        default=None,
        description="W3C trace context of what the client does, as pages cannot set headers of a"
        " socket. An invalid one is ignored.",
        examples=["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
    )


class Context(_ClientModel):
    """Where on its page the client is."""

    conversation_mode: str | None = Field(
        default=None, description="`ask` is the mode without a workflow.", examples=["ask"]
    )
    general_chat_id: str | None = Field(
        default=None, description="The general chat that the client shows."
    )


class SubmitInput(_Message):
    """A message of the user, or an answer where it names a question.

    In the mode `ask` it is for a general chat, whatever `chat_id` says.
    """

    type: Literal["user.input.submit"]
    chat_id: str = Field(description="The chat of this socket.")
    text: str = Field(description="The message; not blank.", examples=["A shop for bread"])
    input_request_id: str | None = Field(
        default=None, description="The question that the text answers."
    )
    request_id: str | None = Field(default=None, description="Same as `input_request_id`.")
    approved: bool | None = Field(
        default=None, description="The decision about an approval, whatever the text says."
    )
    always: bool = Field(
        default=False,
        description="With `approved`: approve all further calls of the tool, where that is offered.",
    )
    client_message_id: ClientMessageId = None
    context: Context | None = None

    _text = field_validator("text")(not_blank)

    @property
    def question(self) -> str | None:
        return self.input_request_id or self.request_id

    @property
    def is_general(self) -> bool:
        mode = self.context.conversation_mode if self.context is not None else None
        return self.question is None and mode == "ask"

    @property
    def general_chat(self) -> str | None:
        return self.context.general_chat_id or None if self.context is not None else None


class EnterGeneralMode(_Message):
    """Show the user's newest general chat on this socket."""

    type: Literal["chat.enter_general_mode"]


class StartGeneralChat(_Message):
    """Start a general chat and show it on this socket."""

    type: Literal["chat.start_general_chat"]


class AnswerComponent(_Message):
    """The answer of a component."""

    type: Literal["ui_tool_response"]
    eventId: str = Field(  # noqa: N815 - the wire's spelling
        description="The question: `event_id` of the `chat.tool_call` frame."
    )
    response: Any = Field(
        description="What the tool returns; a value that is no object becomes `value` of one.",
        examples=[{"colour": "red"}],
    )

    @property
    def answer(self) -> dict[str, Any]:
        return self.response if isinstance(self.response, dict) else {"value": self.response}


class Resume(_Message):
    """Send every frame past a cursor again."""

    type: Literal["client.resume"]
    chat_id: str = Field(description="The chat of this socket.")
    lastClientIndex: int = Field(  # noqa: N815 - the wire's spelling
        ge=-1, description="The newest `seq` that the client has; -1 is none.", examples=[12]
    )


class Cancel(_Message):
    """End the chat of this socket."""

    type: Literal["chat.cancel"]
    chat_id: str | None = Field(default=None, description="The chat of this socket.")
    reason: str = Field(default="", description="Kept with the chat.", examples=["enough"])


class Stop(_Message):
    """Stop the answer that is running; then it is the user's turn. Ignored where none is running."""

    type: Literal["chat.stop"]
    chat_id: str | None = Field(default=None, description="The chat of this socket.")
    turn: int | None = Field(
        default=None,
        ge=1,
        description="The turn that the user saw, from the frame of its speaker or its text: an answer"
        " to a later message is not stopped. Without it: the running one.",
        examples=[3],
    )


class RenameChat(_Message):
    """Give the chat of this socket a title."""

    type: Literal["chat.rename"]
    chat_id: str | None = Field(default=None, description="The chat of this socket.")
    title: Title


class ArchiveChat(_Message):
    """Take the chat of this socket out of the user's lists, or put it there again."""

    type: Literal["chat.archive"]
    chat_id: str | None = Field(default=None, description="The chat of this socket.")
    archived: bool = Field(default=True, description="False: it is listed again.")


class DeleteChat(_Message):
    """Delete the chat of this socket: it stops, is hidden, and is erased after a time of grace."""

    type: Literal["chat.delete"]
    chat_id: str | None = Field(default=None, description="The chat of this socket.")


class Fork(_Message):
    """Begin a chat that goes on from an event of the chat of this socket, which stays as it is."""

    type: Literal["chat.fork"]
    chat_id: str | None = Field(default=None, description="The chat of this socket.")
    seq: int | None = Field(
        default=None,
        ge=1,
        le=MAX_SAFE_INTEGER,
        description="The last event that the new chat has of this one. Without it: the newest.",
        examples=[12],
    )
    message: str | None = Field(
        default=None, description="The first message of the user in the new chat."
    )
    client_request_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="Idempotency key: equal requests give one fork.",
    )


class _Rewind(_Message):
    chat_id: str | None = Field(default=None, description="The chat of this socket.")
    confirm: bool = Field(
        default=False,
        description="Go on although tools have had effects meanwhile that are not undone.",
    )
    seen_seq: int | None = Field(
        default=None,
        ge=1,
        le=MAX_SAFE_INTEGER,
        description="The last event that the user has seen: after another one nothing happens.",
        examples=[12],
    )


class Retry(_Rewind):
    """Run the last turn of an agent again, also after a failure or the end of the chat."""

    type: Literal["chat.retry"]


class Edit(_Rewind):
    """Replace a message of the user: what came after it does not count any more."""

    type: Literal["chat.edit"]
    message_seq: int = Field(
        ge=1,
        le=MAX_SAFE_INTEGER,
        description="The message: `seq` of its `chat.text` frame.",
        examples=[7],
    )
    text: str = Field(description="The new text; not blank.", examples=["A shop for bread"])

    _text = field_validator("text")(not_blank)


class Rewind(_Rewind):
    """Take the chat back to where it waited for the user, or had ended."""

    type: Literal["chat.rewind"]
    to_seq: int = Field(
        ge=1, le=MAX_SAFE_INTEGER, description="The last event that is to count.", examples=[6]
    )


class SwitchChat(_Message):
    """Show another chat of the same user and app on this socket."""

    type: Literal["chat.switch_workflow"]
    chat_id: str = Field(description="The chat to show.")
    frontend_context: Variables | None = None


class Run(_ClientModel):
    """A workflow to start; it begins at once, with the agent that its manifest names."""

    workflow_name: WorkflowName = Field(description="The workflow.", examples=["HelloWorld"])
    initial_message: str | None = Field(default=None, description="The user's first message.")
    message: str | None = Field(default=None, description="Same as `initial_message`.")
    prompt: str | None = Field(default=None, description="Same as `initial_message`.")
    label: str | None = Field(
        default=None, max_length=256, description="Returned with the answer.", examples=["A"]
    )
    frontend_context: Variables | None = None
    client_request_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="Idempotency key: equal requests start one chat.",
    )
    auto_run: Literal[True] = True
    initial_agent: None = None
    initial_agent_name: None = None

    @property
    def first_message(self) -> str | None:
        return self.initial_message or self.message or self.prompt


class StartWorkflow(_Message, Run):
    """Start another chat of the same user and app."""

    type: Literal["chat.start_workflow"]


class StartWorkflows(_Message):
    """Start several chats at once."""

    type: Literal["chat.start_workflow_batch"]
    runs: list[Run] = Field(min_length=1, max_length=100)
    activate_first: bool = Field(
        default=False, description="Whether this socket shows the first of them from then on."
    )


class LaunchAction(_ClientModel):
    """An artifact starts a workflow."""

    action: Literal["launch_workflow"]
    payload: Run
    artifact_id: str | None = Field(default=None, description="The artifact.")


class UpdateAction(_ClientModel):
    """Members of an artifact's state; agents see them as the variables `ui_<name>`."""

    action: Literal["update_state"]
    payload: Annotated[Variables, Field(min_length=1)]
    artifact_id: str = Field(description="The artifact.")


class ArtifactAction(_Message):
    """An action of an artifact."""

    type: Literal["chat.artifact_action"]
    data: Annotated[LaunchAction | UpdateAction, Field(discriminator="action")]
    correlation_id: str | None = Field(
        default=None, max_length=256, description="Returned with the answer."
    )


ClientMessage = (
    SubmitInput
    | AnswerComponent
    | Resume
    | Cancel
    | Stop
    | Retry
    | Edit
    | Rewind
    | RenameChat
    | ArchiveChat
    | DeleteChat
    | Fork
    | SwitchChat
    | EnterGeneralMode
    | StartGeneralChat
    | StartWorkflow
    | StartWorkflows
    | ArtifactAction
)
