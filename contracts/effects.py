"""The effect ledger: what a chat's tools did to the world, folded from the events of their calls.

A record is what one event says of calls; the records of a turn are folded to effects. Arguments are
redacted when the record is made: what is named like a secret, or looks like one, is in no record.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from contracts.chat_snapshot import to_milliseconds
from contracts.envelope import Envelope
from contracts.events import Event
from contracts.events.human import HumanAnswered, HumanAsked
from contracts.events.turn import (
    DispatchReason,
    ModelResponded,
    Occasion,
    Resolution,
    ToolDispatched,
    ToolEffect,
    ToolInvoked,
    ToolReturned,
)
from contracts.ids import AgentName, ChatId, QuestionId, Seq, UserId, WorkflowName
from contracts.rewinds import DroppedRange, is_dropped
from contracts.wire.json_values import MAX_SAFE_INTEGER

MAX_ARGUMENTS_CHARS = 4_000
"""Of the arguments that the ledger shows; the digest is that of all of them."""
MAX_TEXT_CHARS = 500
"""Of an answer and of an error."""
REDACTED = "[redacted]"

_SECRET_NAME = re.compile(
    r"(?:^|[^a-z])(?:api_?key|key|token|secret|passw(?:or)?d|passphrase|credentials?|authorization"
    r"|cookie|pin|cvv|cvc)(?:[^a-z]|$)",
    re.IGNORECASE,
)
_WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SECRET_VALUE = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{20,}|AKIA[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{35}|gh[pousr]_[A-Za-z0-9]{36,}"
    r"|xox[abprs]-[A-Za-z0-9-]{10,}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,})"
    r"|(?<=Bearer )[A-Za-z0-9._~+/=-]{16,}"
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


# -- records ------------------------------------------------------------------------------------


class RecordedCall(_Frozen):
    """A call that a model or the runtime wants to make; `arguments` is redacted JSON text."""

    id: str
    arguments: str


class CallsRecord(_Frozen):
    kind: Literal["calls"] = "calls"
    turn: int
    calls: tuple[RecordedCall, ...]


class DispatchRecord(_Frozen):
    kind: Literal["dispatch"] = "dispatch"
    turn: int
    agent: AgentName
    tool_call_id: str
    tool: str
    idempotency_key: str
    arguments_digest: str
    effect: ToolEffect
    attempt: int
    reason: DispatchReason
    approval: QuestionId | None
    occasion: Occasion | None

    @property
    def is_start(self) -> bool:
        """Whether it is the first attempt of a call that may have an effect."""
        return self.attempt == 1 and self.effect != "read"


class QuestionRecord(_Frozen):
    """A question about a call in doubt."""

    kind: Literal["question"] = "question"
    turn: int
    tool_call_id: str
    question_id: QuestionId
    attempt: int


class AnswerRecord(_Frozen):
    """The answer about a call in doubt, or the decision about an approval."""

    kind: Literal["answer"] = "answer"
    turn: int
    question_id: QuestionId
    user_id: UserId
    text: str


class ResultRecord(_Frozen):
    kind: Literal["result"] = "result"
    turn: int
    tool_call_id: str
    status: str
    resolved_by: Resolution | None
    receipt: Any
    error: str | None


RecordBody = Annotated[
    CallsRecord | DispatchRecord | QuestionRecord | AnswerRecord | ResultRecord,
    Field(discriminator="kind"),
]


class EffectRecord(_Frozen):
    """What event `seq` of a chat says of tool calls; `time` in milliseconds."""

    seq: Seq
    time: datetime
    body: RecordBody


def record_of(envelope: Envelope, event: Event | None) -> EffectRecord | None:
    """The record of an event; None for most events."""
    body = _body_of(event)
    if body is None:
        return None
    return EffectRecord(seq=envelope.seq, time=to_milliseconds(envelope.time), body=body)


def _body_of(event: Event | None) -> RecordBody | None:
    match event:
        case ModelResponded(turn=turn, tool_calls=[_, *_] as calls):
            made = [RecordedCall(id=one.id, arguments=redacted(one.arguments)) for one in calls]
            return CallsRecord(turn=turn, calls=tuple(made))
        case ToolInvoked(turn=turn, tool_call_id=call, arguments=arguments):
            text = redacted(json.dumps(arguments, ensure_ascii=False))
            return CallsRecord(turn=turn, calls=(RecordedCall(id=call, arguments=text),))
        case ToolDispatched():
            return DispatchRecord(
                turn=event.turn,
                agent=event.agent,
                tool_call_id=event.tool_call_id,
                tool=event.name,
                idempotency_key=event.idempotency_key,
                arguments_digest=event.arguments_digest,
                effect=event.effect,
                attempt=event.attempt,
                reason=event.reason,
                approval=event.approval,
                occasion=event.occasion,
            )
        case HumanAsked(turn=turn, tool_call_id=call, question_id=question, doubt=doubt):
            if doubt is None:
                return None
            return QuestionRecord(
                turn=turn, tool_call_id=call, question_id=question, attempt=doubt.attempt
            )
        case HumanAnswered(question_id=question, user_id=user, text=text):
            place = _place_of(question)
            if place is None or not (event.approved is not None or "doubt-" in question):
                return None
            return AnswerRecord(
                turn=place, question_id=question, user_id=user, text=_cut(text, MAX_TEXT_CHARS)
            )
        case ToolReturned():
            error = event.error
            return ResultRecord(
                turn=event.turn,
                tool_call_id=event.tool_call_id,
                status=event.status,
                resolved_by=event.resolved_by,
                receipt=event.receipt,
                error=None if error is None else _cut(error, MAX_TEXT_CHARS),
            )
        case _:
            return None


def _place_of(question: QuestionId) -> int | None:
    """The turn in which a question was asked."""
    match question.split("."):
        case [_, _, turn, _, _] if turn.isdecimal():
            return int(turn)
        case _:
            return None


# -- effects ------------------------------------------------------------------------------------

LedgerTime = Annotated[
    datetime,
    PlainSerializer(datetime.isoformat, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A point in time in UTC, written as the HTTP API writes all of them."""

EffectOutcome = Literal["ok", "error", "unknown", "in_doubt", "open"]
"""`in_doubt`: somebody is asked what happened; `open`: no result yet, the call runs or its process
has ended."""


class EffectAttempt(_Frozen):
    number: int = Field(description="From 1.", ge=1, le=MAX_SAFE_INTEGER)
    reason: DispatchReason = Field(description="Why the tool was called.")
    time: LedgerTime


class EffectDoubt(_Frozen):
    """A question about an attempt whose outcome was unknown, and its answer."""

    attempt: int = Field(description="The attempt that was in doubt.", ge=1, le=MAX_SAFE_INTEGER)
    question_id: QuestionId
    asked_at: LedgerTime
    answer: str | None = None
    answered_by: UserId | None = None
    answered_at: LedgerTime | None = None


class EffectApproval(_Frozen):
    """The question whose answer allowed the newest attempt."""

    question_id: QuestionId
    answered_by: UserId | None = None
    answered_at: LedgerTime | None = None


class CallEffect(_Frozen):
    """One tool call that may have changed something, and what is known of it."""

    chat_id: ChatId
    workflow_name: WorkflowName | None = None
    seq: Seq = Field(description="The event of its first attempt.", le=MAX_SAFE_INTEGER)
    turn: int = Field(description="0 before and after the chat.", le=MAX_SAFE_INTEGER)
    agent: AgentName
    tool_call_id: str
    tool: str
    effect: ToolEffect
    occasion: Occasion | None = Field(
        default=None, description="Why the runtime called it; null where a model did."
    )
    idempotency_key: str
    arguments: str = Field(description="JSON text, redacted, and cut if it is long.")
    arguments_digest: str = Field(description="SHA-256 of the whole arguments, in hex.")
    approval: EffectApproval | None = None
    attempts: list[EffectAttempt]
    doubts: list[EffectDoubt] = []
    outcome: EffectOutcome
    resolved_by: Resolution | None = Field(
        default=None, description="Who gave the result of a call in doubt; null: the tool."
    )
    receipt: Any = Field(default=None, description="What the tool kept by `runtime.receipt`.")
    error: str | None = None
    rewound: bool = Field(
        default=False, description="Whether the chat went back to before it; it was not undone."
    )
    dispatched_at: LedgerTime
    ended_at: LedgerTime | None = None


@dataclass(slots=True)
class _Draft:
    """The records of one call."""

    arguments: str = "{}"
    dispatches: list[tuple[EffectRecord, DispatchRecord]] = field(default_factory=list)
    doubts: list[tuple[EffectRecord, QuestionRecord]] = field(default_factory=list)
    result: tuple[EffectRecord, ResultRecord] | None = None


def effects_of(
    records: Iterable[EffectRecord], chat: ChatId, workflow: WorkflowName | None = None
) -> list[CallEffect]:
    """The effects of a chat, or of whole turns of it, in the order of their first attempts."""
    drafts: dict[tuple[int, str], _Draft] = {}
    answers: dict[QuestionId, tuple[EffectRecord, AnswerRecord]] = {}
    for record in records:
        match record.body:
            case CallsRecord(turn=turn, calls=calls):
                for call in calls:
                    drafts.setdefault((turn, call.id), _Draft()).arguments = call.arguments
            case DispatchRecord() as dispatch:
                draft = drafts.setdefault((dispatch.turn, dispatch.tool_call_id), _Draft())
                draft.dispatches.append((record, dispatch))
            case QuestionRecord() as question:
                draft = drafts.setdefault((question.turn, question.tool_call_id), _Draft())
                draft.doubts.append((record, question))
            case AnswerRecord() as answer:
                answers[answer.question_id] = record, answer
            case ResultRecord() as result:
                draft = drafts.setdefault((result.turn, result.tool_call_id), _Draft())
                draft.result = record, result
    made = [
        _effect(draft, answers, chat, workflow) for draft in drafts.values() if _has_effect(draft)
    ]
    return sorted(made, key=lambda one: one.seq)


def effects_after(
    records: Iterable[EffectRecord], after: Seq, chat: ChatId, workflow: WorkflowName | None = None
) -> list[CallEffect]:
    """The effects of calls that were made after event `after`: what a rewind to it does not undo."""
    known = list(records)
    made = {
        (one.body.turn, one.body.tool_call_id)
        for one in known
        if isinstance(one.body, DispatchRecord) and one.seq > after
    }
    effects = effects_of(known, chat, workflow)
    return [one for one in effects if (one.turn, one.tool_call_id) in made]


def marked(effects: Iterable[CallEffect], dropped: Sequence[DroppedRange]) -> list[CallEffect]:
    """The effects, each with whether the chat went back to before it."""
    return [
        one.model_copy(update={"rewound": True}) if is_dropped(dropped, one.seq) else one
        for one in effects
    ]


def _has_effect(draft: _Draft) -> bool:
    return bool(draft.dispatches) and draft.dispatches[0][1].effect != "read"


def _effect(
    draft: _Draft,
    answers: dict[QuestionId, tuple[EffectRecord, AnswerRecord]],
    chat: ChatId,
    workflow: WorkflowName | None,
) -> CallEffect:
    record, first = draft.dispatches[0]
    newest = draft.dispatches[-1][1]
    doubts = [_doubt(asked, question, answers) for asked, question in draft.doubts]
    result = None if draft.result is None else draft.result[1]
    return CallEffect(
        chat_id=chat,
        workflow_name=workflow,
        seq=record.seq,
        turn=first.turn,
        agent=first.agent,
        tool_call_id=first.tool_call_id,
        tool=first.tool,
        effect=first.effect,
        occasion=first.occasion,
        idempotency_key=first.idempotency_key,
        arguments=draft.arguments,
        arguments_digest=first.arguments_digest,
        approval=None if newest.approval is None else _approval(newest.approval, answers),
        attempts=[
            EffectAttempt(number=one.attempt, reason=one.reason, time=at.time)
            for at, one in draft.dispatches
        ],
        doubts=doubts,
        outcome=_outcome(result, doubts),
        resolved_by=None if result is None else result.resolved_by,
        receipt=None if result is None else result.receipt,
        error=None if result is None else result.error,
        dispatched_at=record.time,
        ended_at=None if draft.result is None else draft.result[0].time,
    )


def _doubt(
    asked: EffectRecord,
    question: QuestionRecord,
    answers: dict[QuestionId, tuple[EffectRecord, AnswerRecord]],
) -> EffectDoubt:
    answered = answers.get(question.question_id)
    return EffectDoubt(
        attempt=question.attempt,
        question_id=question.question_id,
        asked_at=asked.time,
        answer=None if answered is None else answered[1].text,
        answered_by=None if answered is None else answered[1].user_id,
        answered_at=None if answered is None else answered[0].time,
    )


def _approval(
    question: QuestionId, answers: dict[QuestionId, tuple[EffectRecord, AnswerRecord]]
) -> EffectApproval:
    answered = answers.get(question)
    return EffectApproval(
        question_id=question,
        answered_by=None if answered is None else answered[1].user_id,
        answered_at=None if answered is None else answered[0].time,
    )


def _outcome(result: ResultRecord | None, doubts: list[EffectDoubt]) -> EffectOutcome:
    if result is None:
        return "in_doubt" if doubts and doubts[-1].answer is None else "open"
    match result.status:
        case "ok":
            return "ok"
        case "unknown":
            return "unknown"
        case _:
            return "error"


# -- redaction ----------------------------------------------------------------------------------


def redacted(arguments: str) -> str:
    """Arguments as the ledger shows them: without secrets, cut to MAX_ARGUMENTS_CHARS."""
    try:
        text = json.dumps(_without_secrets(json.loads(arguments or "{}")), ensure_ascii=False)
    except (ValueError, RecursionError):
        text = arguments
    return _cut(_SECRET_VALUE.sub(REDACTED, text), MAX_ARGUMENTS_CHARS)


def _without_secrets(value: Any) -> Any:
    match value:
        case dict():
            return {
                name: REDACTED if _names_secret(name) else _without_secrets(one)
                for name, one in value.items()
            }
        case list():
            return [_without_secrets(one) for one in value]
        case _:
            return value


def _names_secret(name: str) -> bool:
    return _SECRET_NAME.search(_WORD_BOUNDARY.sub("_", name)) is not None


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"
