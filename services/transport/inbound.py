"""What clients say, on a socket and in a body: parsed once, or refused by the name of the field."""

from collections.abc import Iterable
from typing import Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
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


class SubmitInput(_Said):
    """Words of the person: the answer to a question where one is named, else a message."""

    type: Literal["user.input.submit"]
    chat_id: str
    text: str
    input_request_id: str | None = None
    request_id: str | None = None

    _text = field_validator("text")(_not_blank)

    @property
    def question(self) -> str | None:
        return self.input_request_id or self.request_id


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


class Run(_Said):
    """A workflow to start; it begins at once, with the agent that its manifest names."""

    workflow_name: WorkflowName
    initial_message: str | None = None
    message: str | None = None
    prompt: str | None = None
    label: str | None = Field(default=None, max_length=256)
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


Inbound = (
    SubmitInput | AnswerComponent | Resume | Cancel | SwitchChat | StartWorkflow | StartWorkflows
)

_BY_TYPE: dict[str, type[Inbound]] = {
    "user.input.submit": SubmitInput,
    "ui_tool_response": AnswerComponent,
    "client.resume": Resume,
    "chat.cancel": Cancel,
    "chat.switch_workflow": SwitchChat,
    "chat.start_workflow": StartWorkflow,
    "chat.start_workflow_batch": StartWorkflows,
}


class StartBody(_Said):
    user_id: str
    client_request_id: str | None = Field(default=None, min_length=1, max_length=256)
    force_new: bool | None = None
    message: str | None = None


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


class CancelBody(_Said):
    user_id: str
    reason: str = ""


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
