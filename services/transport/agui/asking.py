"""What an AG-UI client asks for with a run: parsed once, or refused by the name of the field."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ag_ui.core import AssistantMessage, Message, RunAgentInput, TextPart, ToolMessage, UserMessage

from contracts.ids import Seq
from contracts.reserved import is_reserved
from contracts.subjects import token
from services.transport import cursors, inbound
from services.transport.refusals import malformed, too_large

BODY_BYTES = 4 * 1024 * 1024
"""A client sends the whole conversation with every run."""
CURSOR = "after"
"""The member of `forwardedProps` that is no variable."""


@dataclass(frozen=True, slots=True)
class Words:
    """A message of the person."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the person says to one interrupt, unless they have left it."""

    question: str
    payload: Any
    field: str
    abandoned: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """What the client has already: the text of each message, the arguments of each tool call."""

    messages: Mapping[str, str] = field(default_factory=dict)
    calls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """A run: its words are the newest of the person, which may have been said long ago."""

    thread: str
    run: str
    parent: str | None = None
    words: Words | None = None
    answers: Sequence[Answer] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    known: Known = Known()
    after: Seq | None = None

    @property
    def things(self) -> frozenset[str]:
        """What the person wants done, by the names under which the chat will hold it."""
        said = [] if self.words is None else [self.words.id]
        return frozenset([*said, *(answer.question for answer in self.answers)])


def asked(body: bytes, last_event_id: str | None, limit: int) -> Asked:
    """The run that a request's body asks for. Raises RefusalError, InvalidIdError."""
    said = inbound.body(RunAgentInput, body, BODY_BYTES)
    token(said.thread_id, "threadId")
    props = _members(said.forwarded_props, "forwardedProps")
    after = last_event_id or props.get(CURSOR)
    forwarded = {name: value for name, value in props.items() if name != CURSOR}
    state = _members(said.state, "state")
    _must_be_free(state, "state")
    _must_be_free(forwarded, "forwardedProps")
    return Asked(
        thread=said.thread_id,
        run=said.run_id,
        parent=said.parent_run_id,
        words=_newest(said.messages, limit),
        answers=_answers(said),
        variables={**state, **forwarded},
        known=_known(said.messages),
        after=None if after is None else cursors.cursor(str(after), f"forwardedProps.{CURSOR}"),
    )


def _members(value: Any, field: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise malformed(field, "must be an object")
    return value


def _must_be_free(variables: Mapping[str, Any], field: str) -> None:
    for name in variables:
        if is_reserved(name):
            raise malformed(f"{field}.{name}", "belongs to the runtime")


def _newest(messages: Sequence[Message], limit: int) -> Words | None:
    for place, message in reversed(list(enumerate(messages))):
        if isinstance(message, UserMessage):
            return _words(message, f"messages.{place}.content", limit)
    return None


def _words(message: UserMessage, field: str, limit: int) -> Words:
    parts = (
        [TextPart(text=message.content)] if isinstance(message.content, str) else message.content
    )
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    if len(texts) < len(parts):
        raise malformed(field, "must be text")
    text = "".join(texts)
    if not text.strip():
        raise malformed(field, "must not be empty")
    if len(text.encode(errors="replace")) > limit:
        raise too_large(field, limit)
    token(message.id, field.replace("content", "id"))
    return Words(message.id, text)


def _answers(said: RunAgentInput) -> list[Answer]:
    return [
        Answer(one.interrupt_id, one.payload, f"resume.{place}", one.status == "cancelled")
        for place, one in enumerate(said.resume or [])
    ]


def _known(messages: Sequence[Message]) -> Known:
    calls = {
        call.id: call.function.arguments
        for message in messages
        if isinstance(message, AssistantMessage)
        for call in message.tool_calls or []
    }
    kept = [m for m in messages if isinstance(m, AssistantMessage | UserMessage | ToolMessage)]
    return Known({m.id: m.content if isinstance(m.content, str) else "" for m in kept}, calls)
