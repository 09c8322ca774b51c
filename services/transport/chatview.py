"""What the facts of a chat add up to for those who look at it: status, open questions, totals."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from contracts.catalogue import ChatStatus
from contracts.codec import Fact
from contracts.events.chat import (
    AttachmentUploaded,
    ChatCancelled,
    ChatCompleted,
    ChatFailed,
    ChatStarted,
)
from contracts.events.human import (
    HumanAnswered,
    HumanAsked,
    QuestionExpired,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.turn import ModelRequested, ModelResponded, SpeakerSelected, UsageRecorded
from contracts.ids import ChatKey, QuestionId, Seq, UserId, WorkflowName
from contracts.prices import PRICES, cost_told
from services.chassis.event_log import START, Place
from services.transport.speech import Call

STATUS_NUMBER: dict[ChatStatus, int] = {
    "running": 0,
    "waiting": 0,
    "completed": 1,
    "failed": 2,
    "cancelled": 3,
}
"""The status as ChatUI counts it."""

PERSON = "user"
"""The speaker's name when it is the person's turn."""

Asked = Literal["words", "component"]


@dataclass(frozen=True, slots=True)
class Component:
    """A UI tool that was shown: what its answer has to name."""

    ui_tool_id: str
    display: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """What was last opened beside the conversation and not closed since."""

    event_id: QuestionId
    ui_tool_id: str
    component: str
    payload: Mapping[str, Any]
    shown: datetime


@dataclass(frozen=True, slots=True)
class ChatView:
    """A chat after the event `last_seq`; later facts only ever add to it."""

    key: ChatKey
    workflow: WorkflowName
    user: UserId
    seed: int
    started: datetime
    last_seq: Seq
    last_time: datetime
    ended: Literal["completed", "failed", "cancelled"] | None = None
    speaker: str = ""
    questions: Mapping[QuestionId, Asked] = field(default_factory=dict)
    components: Mapping[QuestionId, Component] = field(default_factory=dict)
    artifact: Artifact | None = None
    attachments: Mapping[str, AttachmentUploaded] = field(default_factory=dict)
    call: Call | None = None
    call_asked: datetime | None = None
    tokens: float = 0
    cost: float = 0.0
    place: Place = START
    """How far the log was read."""

    @property
    def status(self) -> ChatStatus:
        if self.ended is not None:
            return self.ended
        return "waiting" if self.questions or self.speaker == PERSON else "running"


def begin(fact: Fact) -> ChatView | None:
    """The view that a chat's first fact gives; none where it is not a beginning."""
    match fact.event:
        case ChatStarted(user_id=user, seed=seed):
            envelope = fact.envelope
            return ChatView(
                key=envelope.key,
                workflow=envelope.workflow_name,
                user=user,
                seed=seed,
                started=envelope.time,
                last_seq=envelope.seq,
                last_time=envelope.time,
            )
        case _:
            return None


def see(view: ChatView, fact: Fact) -> ChatView:
    """The view after one more fact; what it has seen already changes nothing."""
    if fact.envelope.seq <= view.last_seq:
        return view
    return replace(_after(view, fact), last_seq=fact.envelope.seq, last_time=fact.envelope.time)


def _after(view: ChatView, fact: Fact) -> ChatView:
    match fact.event:
        case ChatCompleted():
            return _ended(view, "completed")
        case ChatFailed():
            return _ended(view, "failed")
        case ChatCancelled():
            return _ended(view, "cancelled")
        case SpeakerSelected(agent=agent):
            return replace(view, speaker=agent, call=None)
        case ModelRequested(turn=turn, call=call):
            return replace(view, call=Call(turn, call), call_asked=fact.envelope.time)
        case ModelResponded():
            return replace(view, call=None)
        case HumanAsked(question_id=question):
            return replace(view, questions={**view.questions, question: "words"})
        case UiToolRequested() as requested:
            return _shown(view, requested, fact.envelope.time)
        case (
            HumanAnswered(question_id=question)
            | UiToolAnswered(question_id=question)
            | QuestionExpired(question_id=question)
        ):
            left = {q: how for q, how in view.questions.items() if q != question}
            artifact = view.artifact
            if artifact is not None and artifact.event_id == question:
                artifact = None
            return replace(view, questions=left, artifact=artifact)
        case AttachmentUploaded(attachment_id=attached) as file:
            return replace(view, attachments={**view.attachments, attached: file})
        case UsageRecorded(tokens=tokens) as usage:
            spent = view.cost + cost_told(usage, PRICES)
            return replace(view, tokens=view.tokens + (tokens.total or 0), cost=spent)
        case _:
            return view


def _shown(view: ChatView, requested: UiToolRequested, time: datetime) -> ChatView:
    question, tool = requested.question_id, requested.ui_tool_id
    opened = Artifact(question, tool, requested.component, requested.payload, time)
    return replace(
        view,
        questions={**view.questions, question: "component"},
        components={**view.components, question: Component(tool, requested.display)},
        artifact=opened if requested.display == "artifact" else view.artifact,
    )


def _ended(view: ChatView, how: Literal["completed", "failed", "cancelled"]) -> ChatView:
    return replace(view, ended=how, questions={}, call=None)
