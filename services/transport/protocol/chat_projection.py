"""Projection of a chat for its viewers: the snapshot, and what frames need beside it. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from contracts.catalogue import ChatStatus
from contracts.chat_snapshot import ChatSnapshot, OpenQuestion, SnapshotChanges, changes
from contracts.envelope import Envelope
from contracts.events import Event
from contracts.events.chat import (
    AttachmentUploaded,
    ChatCancelled,
    ChatCompleted,
    ChatErased,
    ChatFailed,
    ChatRewound,
)
from contracts.events.human import (
    HumanAnswered,
    QuestionExpired,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.turn import (
    ModelRequested,
    ModelResponded,
    SpeakerSelected,
    TextInterrupted,
    TurnStopped,
)
from contracts.frozen import replace
from contracts.ids import ChatId, QuestionId, RunnerId, Seq, UserId
from contracts.streamed_text import CallId
from contracts.wire.frames import StatusNumber
from services.chassis.jetstream.event_log import START, Place
from services.transport.protocol.log_positions import LogPositions
from services.transport.protocol.stored_values import payload_of

STATUS_NUMBER: dict[ChatStatus, StatusNumber] = {
    "running": 0,
    "waiting": 0,
    "completed": 1,
    "failed": 2,
    "cancelled": 3,
}
"""The number of each status in ChatUI."""


_NO_QUESTIONS: Mapping[QuestionId, Seq] = {}  # shared: an empty dict takes 64 bytes


_NO_ATTEMPTS: frozenset[RunnerId] = frozenset()


def _no_questions() -> Mapping[QuestionId, Seq]:
    return _NO_QUESTIONS


@dataclass(frozen=True, slots=True)
class Component:
    """A UI tool that was shown: what the frame of its answer needs."""

    ui_tool_id: str
    display: str


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A file of a chat, and the chat that it was given to: a fork has those of its origin."""

    chat_id: ChatId
    event: AttachmentUploaded


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatView(ChatSnapshot):
    """A started chat after its event `last_seq`."""

    components: Mapping[QuestionId, Component] = field(default_factory=dict)
    artifact_payload: Mapping[str, Any] = field(default_factory=dict)
    """The payload of `last_artifact`; empty where there is none."""
    attachments: Mapping[str, AttachedFile] = field(default_factory=dict)
    call: CallId | None = None
    """The open model call, of which text may be streamed."""
    call_requested_at: datetime | None = None
    turn: int | None = None
    """The newest turn."""
    closed_attempts: frozenset[RunnerId] = frozenset()
    """The attempts of the open model call that have ended: no more text of them is shown."""
    question_seqs: Mapping[QuestionId, Seq] = field(default_factory=_no_questions)
    """The events of the open questions."""
    is_whole: bool = True
    """Whether `components` and `attachments` are those of all events, not only of the newest."""
    place: Place = START
    """The place in the log up to which the view was read."""
    positions: LogPositions = field(default_factory=LogPositions, compare=False)
    """Where earlier events are in the log."""

    @property
    def user(self) -> UserId:
        """The user of the chat: a view starts with `chat.started`, which names user and seed."""
        return self.user_id or UserId("")

    @property
    def since_rewind(self) -> str:
        """What the ids of commands end in, so that they are other ones after a rewind."""
        return f"-r{self.dropped[-1].before}" if self.dropped else ""

    @property
    def seed(self) -> int:
        return self.cache_seed or 0


class ViewChanges(SnapshotChanges, total=False):
    """The fields of a view that an event changes, with their new values."""

    components: Mapping[QuestionId, Component]
    artifact_payload: Mapping[str, Any]
    attachments: Mapping[str, AttachedFile]
    call: CallId | None
    call_requested_at: datetime
    turn: int
    closed_attempts: frozenset[RunnerId]
    question_seqs: Mapping[QuestionId, Seq]


def apply(view: ChatView, envelope: Envelope, event: Event | None) -> ChatView:
    """The view after one more event; an event that it knows already changes nothing."""
    if envelope.seq <= view.last_seq:
        return view
    made = cast(ViewChanges, changes(view, envelope, event))
    match event:
        case SpeakerSelected(turn=turn):
            made["call"], made["turn"] = None, turn
        case ModelResponded() | ChatCompleted() | ChatFailed() | ChatCancelled() | TurnStopped():
            made["call"] = None
        case ModelRequested(turn=turn, call=call):
            made["call"], made["call_requested_at"] = CallId(turn, call), envelope.time
            made["closed_attempts"] = _NO_ATTEMPTS
        case TextInterrupted(runner=runner):
            made["closed_attempts"] = view.closed_attempts | {runner}
        case UiToolRequested(question_id=question, ui_tool_id=tool, display=display):
            made["components"] = {**view.components, question: Component(tool, display)}
            if display == "artifact":
                made["artifact_payload"] = payload_of(envelope, event)
        case HumanAnswered() | UiToolAnswered() | QuestionExpired():
            if made["last_artifact"] is None:
                made["artifact_payload"] = {}
        case ChatRewound(restored=restored):
            made["call"], made["closed_attempts"] = None, _NO_ATTEMPTS
            made["turn"], made["artifact_payload"] = restored.turn, restored.artifact_payload
        case AttachmentUploaded(attachment_id=attached):
            file = AttachedFile(envelope.chat_id, event)
            made["attachments"] = {**view.attachments, attached: file}
        case ChatErased():
            made |= {"call": None, "components": {}, "artifact_payload": {}, "attachments": {}}
        case _:
            pass
    if "open_questions" in made:
        made["question_seqs"] = _question_seqs(view, envelope.seq, made["open_questions"])
    if isinstance(event, ChatRewound):
        questions = event.restored.questions
        made["question_seqs"] = {one.question.question_id: one.seq for one in questions}
    return replace(view, **made)


def _question_seqs(
    view: ChatView, seq: Seq, questions: Iterable[OpenQuestion]
) -> Mapping[QuestionId, Seq]:
    found = {one.question_id: view.question_seqs.get(one.question_id, seq) for one in questions}
    return found or _NO_QUESTIONS


def tail_cursor(view: ChatView, events: int) -> Seq:
    """The cursor of a client that wants the newest `events`, and every question that is open."""
    newest = Seq(max(view.last_seq - events, 0))
    return min([newest, *(Seq(seq - 1) for seq in view.question_seqs.values())])
