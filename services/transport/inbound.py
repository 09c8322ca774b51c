"""What clients say, on a socket and in a body: parsed once, or refused by the name of the field."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    field_validator,
)

from contracts.codec import describe
from contracts.ids import WorkflowName
from services.transport.refusals import RefusalError, malformed, too_large


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


VARIABLES = 100
"""Most that one message may give."""
LONGEST_NAME = 128

Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
Given = Annotated[dict[Name, Any], Field(max_length=VARIABLES)]


def of_page(context: Given | None) -> dict[str, Any]:
    """What a page says of itself, as variables: by their prefix never those of the runtime."""
    return {f"ui_{name}": value for name, value in (context or {}).items()}


class Context(_Said):
    """Where on its page the client was; `ask` is the mode without a workflow."""

    conversation_mode: str | None = None
    general_chat_id: str | None = None


class SubmitInput(_Said):
    """Words of the person: the answer to a question where one is named, else a message.

    In the mode `ask` they are for a general chat, whatever `chat_id` says.
    """

    type: Literal["user.input.submit"]
    chat_id: str
    text: str
    input_request_id: str | None = None
    request_id: str | None = None
    context: Context | None = None

    _text = field_validator("text")(_not_blank)

    @property
    def question(self) -> str | None:
        return self.input_request_id or self.request_id

    @property
    def asks(self) -> bool:
        mode = self.context.conversation_mode if self.context is not None else None
        return self.question is None and mode == "ask"

    @property
    def general_chat(self) -> str | None:
        return self.context.general_chat_id or None if self.context is not None else None


class EnterGeneralMode(_Said):
    type: Literal["chat.enter_general_mode"]


class StartGeneralChat(_Said):
    type: Literal["chat.start_general_chat"]


class AnswerComponent(_Said):
    """A component's answer; what is no object is wrapped into one."""

    type: Literal["ui_tool_response"]
    eventId: str  # noqa: N815 - the wire's spelling
    response: Any

    @property
    def answer(self) -> dict[str, Any]:
        return self.response if isinstance(self.response, dict) else {"value": self.response}


class Resume(_Said):
    """Send again what lies past a cursor; -1 is before the beginning."""

    type: Literal["client.resume"]
    chat_id: str
    lastClientIndex: int = Field(ge=-1)  # noqa: N815 - the wire's spelling


class Cancel(_Said):
    type: Literal["chat.cancel"]
    chat_id: str | None = None
    reason: str = ""


class SwitchChat(_Said):
    """Look at another chat of the same user and app."""

    type: Literal["chat.switch_workflow"]
    chat_id: str
    frontend_context: Given | None = None


class Run(_Said):
    """A workflow to start; it begins at once, with the agent that its manifest names."""

    workflow_name: WorkflowName
    initial_message: str | None = None
    message: str | None = None
    prompt: str | None = None
    label: str | None = Field(default=None, max_length=256)
    frontend_context: Given | None = None
    client_request_id: str | None = Field(default=None, min_length=1, max_length=256)
    auto_run: Literal[True] = True
    initial_agent: None = None
    initial_agent_name: None = None

    @property
    def first_message(self) -> str | None:
        return self.initial_message or self.message or self.prompt


class StartWorkflow(Run):
    type: Literal["chat.start_workflow"]


class StartWorkflows(_Said):
    """Several at once; `activate_first` looks at the first of them."""

    type: Literal["chat.start_workflow_batch"]
    runs: list[Run] = Field(min_length=1, max_length=100)
    activate_first: bool = False


class LaunchAction(_Said):
    action: Literal["launch_workflow"]
    payload: Run
    artifact_id: str | None = None


class UpdateAction(_Said):
    """What has changed in a component's state; agents see it as the variables `ui_<key>`."""

    action: Literal["update_state"]
    payload: Annotated[Given, Field(min_length=1)]
    artifact_id: str


class ArtifactAction(_Said):
    type: Literal["chat.artifact_action"]
    data: Annotated[LaunchAction | UpdateAction, Field(discriminator="action")]
    correlation_id: str | None = Field(default=None, max_length=256)


Inbound = (
    SubmitInput
    | AnswerComponent
    | Resume
    | Cancel
    | SwitchChat
    | EnterGeneralMode
    | StartGeneralChat
    | StartWorkflow
    | StartWorkflows
    | ArtifactAction
)

_BY_TYPE: dict[str, type[Inbound]] = {
    "user.input.submit": SubmitInput,
    "ui_tool_response": AnswerComponent,
    "client.resume": Resume,
    "chat.cancel": Cancel,
    "chat.switch_workflow": SwitchChat,
    "chat.enter_general_mode": EnterGeneralMode,
    "chat.start_general_chat": StartGeneralChat,
    "chat.start_workflow": StartWorkflow,
    "chat.start_workflow_batch": StartWorkflows,
    "chat.artifact_action": ArtifactAction,
}


class StartBody(_Said):
    user_id: str
    client_request_id: str | None = Field(default=None, min_length=1, max_length=256)
    force_new: bool | None = None
    message: str | None = None
    frontend_context: Given | None = None


class InputBody(_Said):
    message: str

    _message = field_validator("message")(_not_blank)


class AnswerBody(_Said):
    input_request_id: str
    user_input: str

    _user_input = field_validator("user_input")(_not_blank)


class ComponentBody(_Said):
    event_id: str
    response_data: dict[str, Any]


class ActionData(_Said):
    set: Annotated[Given, Field(min_length=1)]


class ComponentActionBody(_Said):
    """What a component of the page makes of context variables, with nobody waiting for it."""

    component_id: str
    action_type: str
    action_data: ActionData
    user_id: str | None = None


class CancelBody(_Said):
    user_id: str
    reason: str = ""


Intent = Literal["context", "bundle", "deliverable"]


class OlderUploadForm(_Said):
    """`bundle_path` is where the file belongs in its bundle: relative, below the bundle's folder."""

    file: Annotated[Any, WithJsonSchema({"type": "string", "format": "binary"})]
    chatId: str  # noqa: N815 - the wire's spelling
    intent: Intent = "context"
    bundle_path: str | None = Field(default=None, max_length=256)

    @field_validator("bundle_path")
    @classmethod
    def _stays_below(cls, path: str | None) -> str | None:
        if not path:
            return None
        steps = path.split("/")
        if not path.isprintable() or "\\" in path or {"", ".", ".."}.intersection(steps):
            raise ValueError("must be a relative path of plain steps, like docs/a.md")
        return path


class UploadForm(OlderUploadForm):
    appId: str  # noqa: N815 - the wire's spelling
    userId: str  # noqa: N815 - the wire's spelling


DEPTH = 32
"""Levels of objects and lists, one in the other: more than any form has."""

_OBJECT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])

Body = TypeVar("Body", bound=BaseModel)


def frame(text: str | None, limit: int) -> Inbound:
    """One text message off a socket. Raises RefusalError."""
    if text is None:
        raise malformed("message", "must be text, not binary")
    if len(text) > limit or len(text.encode(errors="replace")) > limit:
        raise too_large("message", limit)
    said = _object("message", text)
    kind = said.get("type")
    known = _BY_TYPE.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise malformed("type", f"must be one of {', '.join(_BY_TYPE)}")
    try:
        return known.model_validate(said)
    except ValidationError as broken:
        raise _named(broken) from broken


def body(expected: type[Body], data: bytes, limit: int) -> Body:
    """The body of a request. Raises RefusalError."""
    if len(data) > limit:
        raise too_large("body", limit)
    try:
        return expected.model_validate(_object("body", data))
    except ValidationError as broken:
        raise _named(broken) from broken


def form(parts: Mapping[str, Any]) -> UploadForm:
    """The parts of a form that has come in whole. Raises RefusalError."""
    try:
        said = UploadForm.model_validate(parts)
    except ValidationError as broken:
        raise _named(broken) from broken
    if isinstance(said.file, str):
        raise malformed("file", "must be a file, with its name")
    return said


def _object(field: str, data: str | bytes) -> dict[str, Any]:
    try:
        found = _OBJECT.validate_json(data)
    except ValidationError as broken:
        _, _, problem = describe(broken).partition(": ")
        raise malformed(field, problem) from broken
    if _is_deeper(found, DEPTH):
        raise malformed(field, f"is nested more than {DEPTH} levels deep")
    return found


def _is_deeper(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        layer = [inner for one in layer for inner in _inside(one)]
    return any(isinstance(one, dict | list) for one in layer)


def _inside(value: Any) -> Iterable[Any]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
        case _:
            return ()


def _named(broken: ValidationError) -> RefusalError:
    field, _, problem = describe(broken).partition(": ")
    return malformed(field, problem)
