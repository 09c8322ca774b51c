"""What readers see of a chat, and what a rewind tells them of the position that it goes to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from contracts.chat_snapshot import ChatSnapshot, fold
from contracts.envelope import Envelope
from contracts.events import Event
from contracts.events.chat import (
    ChatCancelled,
    ChatCompleted,
    ChatFailed,
    ChatRewound,
    ChatStarted,
    UserMessageReceived,
)
from contracts.events.human import (
    HumanAnswered,
    HumanAsked,
    QuestionEscalated,
    QuestionExpired,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.turn import SpeakerSelected, TurnCompleted, TurnFailed, TurnStopped
from contracts.frozen import replace
from contracts.ids import QuestionId, Seq

_NOTHING: Mapping[str, Any] = MappingProxyType({})

CHANGING_TYPES = (
    ChatStarted
    | UserMessageReceived
    | ChatCompleted
    | ChatFailed
    | ChatCancelled
    | ChatRewound
    | SpeakerSelected
    | TurnCompleted
    | TurnFailed
    | TurnStopped
    | HumanAsked
    | HumanAnswered
    | QuestionEscalated
    | QuestionExpired
    | UiToolRequested
    | UiToolAnswered
)
"""The events that change what a rewind restores; any other is not folded here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownChat(ChatSnapshot):
    """The snapshot of a chat, as far as a rewind restores it.

    `question_seqs` are the positions at which the open questions were asked, `artifact_payload` is the
    payload of `last_artifact`.
    """

    question_seqs: Mapping[QuestionId, Seq] = field(default_factory=lambda: MappingProxyType({}))
    artifact_payload: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)


def shown_after(shown: ShownChat | None, envelope: Envelope, event: Event) -> ShownChat | None:
    """What is shown after one more event."""
    if not isinstance(event, CHANGING_TYPES):
        return shown
    before = ShownChat.before(envelope) if shown is None else shown
    after = fold(before, envelope, event)
    if after.open_questions is not before.open_questions:
        after = replace(after, question_seqs=_question_seqs(after, envelope.seq, event))
    match event:
        case UiToolRequested(display="artifact", payload=payload):
            return replace(after, artifact_payload=payload)
        case ChatRewound(restored=restored):
            return replace(after, artifact_payload=restored.artifact_payload)
        case _ if after.last_artifact is None:
            return replace(after, artifact_payload=_NOTHING)
        case _:
            return after


def _question_seqs(shown: ShownChat, seq: Seq, event: Event) -> Mapping[QuestionId, Seq]:
    known = dict(shown.question_seqs)
    if isinstance(event, ChatRewound):
        known = {one.question.question_id: one.seq for one in event.restored.questions}
    return {one.question_id: known.get(one.question_id, seq) for one in shown.open_questions}
