"""Parses the input of an AG-UI run into typed, validated form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ag_ui.core import AssistantMessage, Message, RunAgentInput, TextPart, ToolMessage
from ag_ui.core import UserMessage as AgUserMessage

from contracts.ids import Seq
from contracts.reserved_variables import is_reserved
from contracts.subjects import token
from services.transport.errors import bad_request, too_large
from services.transport.path_segments import parse_cursor

BODY_BYTES = 4 * 1024 * 1024
"""Limit of the request body: a client sends the whole conversation with every run."""
CURSOR = "after"
"""The member of `forwardedProps` that is the cursor; all others are variables."""


@dataclass(frozen=True, slots=True)
class UserMessage:
    """A message of the user."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class InterruptAnswer:
    """The answer of the user to one interrupt; `field` is its place in the request, for errors."""

    question: str
    payload: Any
    field: str
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class ClientHistory:
    """What the client has: the text of each message and the arguments of each tool call, by id."""

    messages: Mapping[str, str] = field(default_factory=dict)
    calls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunInput:
    """The input of a run; `message` is the newest of the user, which an earlier run may have sent."""

    thread: str
    run: str
    parent: str | None = None
    message: UserMessage | None = None
    answers: Sequence[InterruptAnswer] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    client_history: ClientHistory = ClientHistory()
    after: Seq | None = None

    @property
    def action_ids(self) -> frozenset[str]:
        """The ids of the message and of the answered questions."""
        message = [] if self.message is None else [self.message.id]
        return frozenset([*message, *(answer.question for answer in self.answers)])


def parse_run_input(parsed: RunAgentInput, last_event_id: Seq | None, limit: int) -> RunInput:
    """Raises ApiError, InvalidIdError."""
    token(parsed.thread_id, "threadId")
    props = _object(parsed.forwarded_props, "forwardedProps")
    cursor = props.get(CURSOR)
    if last_event_id is None and cursor is not None:
        last_event_id = parse_cursor(str(cursor), f"forwardedProps.{CURSOR}")
    forwarded = {name: value for name, value in props.items() if name != CURSOR}
    state = _object(parsed.state, "state")
    _require_not_reserved(state, "state")
    _require_not_reserved(forwarded, "forwardedProps")
    return RunInput(
        thread=parsed.thread_id,
        run=parsed.run_id,
        parent=parsed.parent_run_id,
        message=_newest_user_message(parsed.messages, limit),
        answers=_interrupt_answers(parsed),
        variables={**state, **forwarded},
        client_history=_client_history(parsed.messages),
        after=last_event_id,
    )


def _object(value: Any, field: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_request(field, "must be an object")
    return value


def _require_not_reserved(variables: Mapping[str, Any], field: str) -> None:
    for name in variables:
        if is_reserved(name):
            raise bad_request(f"{field}.{name}", "reserved for the runtime")


def _newest_user_message(messages: Sequence[Message], limit: int) -> UserMessage | None:
    for index, message in reversed(list(enumerate(messages))):
        if isinstance(message, AgUserMessage):
            return _user_message(message, f"messages.{index}.content", limit)
    return None


def _user_message(message: AgUserMessage, field: str, limit: int) -> UserMessage:
    parts = (
        [TextPart(text=message.content)] if isinstance(message.content, str) else message.content
    )
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    if len(texts) < len(parts):
        raise bad_request(field, "must be text")
    text = "".join(texts)
    if not text.strip():
        raise bad_request(field, "must not be empty")
    if len(text.encode(errors="replace")) > limit:
        raise too_large(field, limit)
    token(message.id, field.replace("content", "id"))
    return UserMessage(message.id, text)


def _interrupt_answers(body: RunAgentInput) -> list[InterruptAnswer]:
    return [
        InterruptAnswer(one.interrupt_id, one.payload, f"resume.{index}", one.status == "cancelled")
        for index, one in enumerate(body.resume or [])
    ]


def _client_history(messages: Sequence[Message]) -> ClientHistory:
    calls = {
        call.id: call.function.arguments
        for message in messages
        if isinstance(message, AssistantMessage)
        for call in message.tool_calls or []
    }
    kept = [m for m in messages if isinstance(m, AssistantMessage | AgUserMessage | ToolMessage)]
    return ClientHistory(
        {m.id: m.content if isinstance(m.content, str) else "" for m in kept}, calls
    )
