"""A chat recorded as a test: what the user did, what models replied, and the events that follow."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from contracts.codec import Fact
from contracts.events import Event
from contracts.events.budget import BudgetWarned
from contracts.events.chat import (
    AttachmentUploaded,
    ChatStarted,
    HistoryCompacted,
    UserMessageReceived,
)
from contracts.events.human import (
    HumanAnswered,
    QuestionEscalated,
    QuestionExpired,
    UiToolAnswered,
)
from contracts.events.run import RunClaimed
from contracts.events.turn import (
    RUNTIME,
    USER,
    ModelCallFailed,
    ModelRequested,
    ModelResponded,
    TextInterrupted,
    ToolDispatched,
    TurnStopRequested,
    UsageRecorded,
    VariablesChanged,
)
from contracts.ids import WorkflowName
from contracts.reserved_variables import RUNTIME_VARIABLES, is_reserved
from contracts.settable_variables import why_not_settable
from services.orchestrator.agents.replay.differences import differences, shown
from services.orchestrator.domain.evolution import evolve
from services.orchestrator.domain.state import ChatState, pending
from services.orchestrator.testkit.player import Answer, Component, Expire, Input, Say
from services.orchestrator.workflows.spec import Workflow

_NOT_COMPARED = (
    *(UsageRecorded, RunClaimed, QuestionEscalated, ToolDispatched),
    *(HistoryCompacted, ModelCallFailed, TextInterrupted, BudgetWarned),
)
_VOLATILE = frozenset(
    {
        *("digest", "prompt", "options", "seed", "user_id", "client_request_id"),
        *("workflow_version", "tools_version", "question_id", "occasion", "expires_at", "at"),
        "role",
        *("tokens", "model", "provider", "response_id", "finish_reason"),
        *RUNTIME_VARIABLES,
    }
)
"""What differs from one chat, release or provider to the next; prompts may change without a test."""


class RecordedInput(BaseModel):
    """What the user did: `text` of a message or an answer, `response` of a component.

    `approved` and `always` are the decision about an approval.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["message", "answer", "component", "expire"]
    text: str = ""
    response: dict[str, Any] = {}
    approved: bool | None = None
    always: bool = False

    @property
    def input(self) -> Input:
        match self.kind:
            case "message":
                return Say(self.text)
            case "answer":
                return Answer(self.text, self.approved, self.always)
            case "component":
                return Component(self.response)
            case "expire":
                return Expire()


class Cassette(BaseModel):
    """A recorded chat. `replies` are the events of the model's replies, in order.

    `variables` are what the client sets at the start, `data` the values of variables that are looked
    up in databases.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workflow: WorkflowName
    message: str | None = None
    variables: dict[str, Any] = {}
    data: dict[str, Any] = {}
    inputs: list[RecordedInput] = []
    replies: list[ModelResponded] = []
    events: list[dict[str, Any]] = []

    def to_json(self) -> str:
        return json.dumps(
            self.model_dump(mode="json", exclude_defaults=True), indent=1, ensure_ascii=False
        )


class NotRecordableError(Exception):
    """The chat has something that a cassette cannot repeat; the message says what."""


def cassette_of(facts: Sequence[Fact], workflow: Workflow) -> Cassette:
    """The cassette of a chat's events; `workflow` is the version that the chat runs.

    Raises NotRecordableError.
    """
    first = facts[0].event if facts else None
    if not isinstance(first, ChatStarted):
        raise NotRecordableError("the chat has no events")
    start = facts[0].envelope
    state, message = ChatState(), None
    inputs: list[RecordedInput] = []
    for fact in facts:
        event, envelope = fact.event, fact.envelope
        if isinstance(event, UserMessageReceived) and envelope.cause == start.cause:
            message = event.text
        elif (given := _input(event)) is not None:
            if pending(state) is not None:
                raise NotRecordableError(
                    f"event {envelope.seq}: the user acted while an agent was working, and when "
                    "that was cannot be repeated"
                )
            inputs.append(given)
        state = evolve(state, fact)
    return Cassette(
        workflow=start.workflow_name,
        message=message,
        variables=_set_by_client(first, workflow),
        data=_looked_up(facts, workflow),
        inputs=inputs,
        replies=[fact.event for fact in facts if isinstance(fact.event, ModelResponded)],
        events=compared(fact.event for fact in facts),
    )


def _set_by_client(started: ChatStarted, workflow: Workflow) -> dict[str, Any]:
    """The variables with other values than the workflow's own, of those that a client may set."""
    declared = workflow.variables
    return {
        name: value
        for name, value in started.variables.items()
        if not is_reserved(name)
        and why_not_settable(name, workflow.settable, None) is None
        and not (name in declared and declared[name] == value)
    }


def _looked_up(facts: Iterable[Fact], workflow: Workflow) -> dict[str, Any]:
    """What lookups found. Raises NotRecordableError where one found another value later."""
    names = {one.name for one in workflow.references}
    found: dict[str, Any] = {}
    for fact in facts:
        if not isinstance(fact.event, VariablesChanged):
            continue
        for name in names & fact.event.changed.keys():
            value = fact.event.changed[name]
            if found.setdefault(name, value) != value and fact.event.agent == RUNTIME:
                raise NotRecordableError(
                    f"event {fact.envelope.seq}: the lookup of {name} found another value than before"
                )
    return found


def _input(event: Event) -> RecordedInput | None:
    match event:
        case UserMessageReceived(text=text):
            return RecordedInput(kind="message", text=text)
        case HumanAnswered(by_default=False, text=text, approved=approved, always=always):
            return RecordedInput(kind="answer", text=text, approved=approved, always=always)
        case UiToolAnswered(by_default=False, response=response):
            return RecordedInput(kind="component", response=response)
        case HumanAnswered() | UiToolAnswered() | QuestionExpired():
            return RecordedInput(kind="expire")
        case AttachmentUploaded():
            raise NotRecordableError("the chat has attachments")
        case TurnStopRequested():
            raise NotRecordableError(
                "the user or a budget stopped an answer, and when cannot be repeated"
            )
        case VariablesChanged(agent=agent) if agent == USER:
            raise NotRecordableError("the user set variables during the chat")
        case _:
            return None


def compared(events: Iterable[Event]) -> list[dict[str, Any]]:
    """What is compared of events: their types and bodies, without what differs in every chat.

    Neither model calls that a provider failed nor their repetitions: a cassette has only replies.
    """
    return [
        {"type": event.type, **_stable(event.model_dump(mode="json", exclude_defaults=True))}
        for event in _without_repetitions(events)
        if not isinstance(event, _NOT_COMPARED)
    ]


def _without_repetitions(events: Iterable[Event]) -> Iterator[Event]:
    """The events with the first request of each model call only."""
    requested: set[tuple[int, int]] = set()
    for event in events:
        if isinstance(event, ModelRequested):
            if (event.turn, event.call) in requested:
                continue
            requested.add((event.turn, event.call))
        yield event


def _stable(value: Any) -> Any:
    match value:
        case dict():
            return {key: _stable(one) for key, one in value.items() if key not in _VOLATILE}
        case list():
            return [_stable(one) for one in value]
        case _:
            return value


def first_difference(
    expected: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]
) -> str | None:
    """Where two lists of events differ first: the event, the field, and both values; None: nowhere."""
    for number, (wanted, got) in enumerate(zip(expected, found, strict=False), 1):
        for path, one, other in differences(wanted, got):
            return (
                f"event {number} ({wanted['type']}): {path or 'type'}: expected {shown(one)}, "
                f"found {shown(other)}"
            )
    if len(expected) > len(found):
        return f"event {len(found) + 1} ({expected[len(found)]['type']}) is missing"
    if len(found) > len(expected):
        return f"event {len(expected) + 1} ({found[len(expected)]['type']}) was not expected"
    return None
