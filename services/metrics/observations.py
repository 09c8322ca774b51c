"""Events -> what they add to the numbers: one snapshot per chat, one row of totals per workflow."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from contracts.envelope import Envelope
from contracts.event_log import Head, StoredEvent
from contracts.events import Event
from contracts.events.chat import ChatCancelled, ChatCompleted, ChatFailed, ChatStarted
from contracts.events.turn import (
    SpeakerSelected,
    ToolReturned,
    TurnCompleted,
    TurnFailed,
    UsageRecorded,
)
from contracts.ids import AppId, ChatId, Seq, UserId, WorkflowName
from contracts.prices import Prices, cost_told

BUCKETS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
"""Upper bounds, in seconds, of the turn duration histogram; what is longer has a place after them."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What can be added up."""

    started: int = 0
    ended: int = 0
    agent_turns: int = 0
    tool_calls: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    def plus(self, more: "Counts") -> "Counts":
        return Counts(
            self.started + more.started,
            self.ended + more.ended,
            self.agent_turns + more.agent_turns,
            self.tool_calls + more.tool_calls,
            self.errors + more.errors,
            self.prompt_tokens + more.prompt_tokens,
            self.completion_tokens + more.completion_tokens,
            self.cost + more.cost,
        )


@dataclass(frozen=True, slots=True)
class Durations:
    """A histogram of turn durations: how many in each bucket, the last for all that is longer."""

    counts: tuple[int, ...] = (0,) * (len(BUCKETS) + 1)
    total: float = 0.0

    def plus(self, seconds: float) -> "Durations":
        place = sum(bound < seconds for bound in BUCKETS)
        counts = tuple(n + (i == place) for i, n in enumerate(self.counts))
        return Durations(counts, self.total + seconds)


@dataclass(frozen=True, slots=True)
class Totals:
    counts: Counts = Counts()
    turns: Durations = Durations()


@dataclass(frozen=True, slots=True)
class Chat:
    """One chat in numbers, as of its event `last_seq`."""

    app_id: AppId
    chat_id: ChatId
    workflow_name: WorkflowName
    started_at: datetime
    last_seq: Seq
    last_digest: str = ""
    user_id: UserId | None = None
    ended_at: datetime | None = None
    turn_started_at: datetime | None = None
    last_turn_duration_sec: float | None = None
    counts: Counts = field(default_factory=Counts)

    @property
    def head(self) -> Head:
        return Head(self.last_seq, self.last_digest)


@dataclass(frozen=True, slots=True)
class Observation:
    """What one event adds: to its chat and, equally, to its workflow's totals."""

    counts: Counts = Counts()
    turn_seconds: float | None = None


_NOTHING = Observation()


def begin(envelope: Envelope) -> Chat:
    """A chat that is seen for the first time, at whatever event that is."""
    return Chat(
        app_id=envelope.app_id,
        chat_id=envelope.chat_id,
        workflow_name=envelope.workflow_name,
        started_at=envelope.time,
        last_seq=Seq(envelope.seq - 1),
    )


def observe(chat: Chat, envelope: Envelope, event: Event, prices: Prices) -> Observation:
    """What the next event of a chat adds to the numbers."""
    match event:
        case ChatStarted():
            return Observation(Counts(started=1))
        case TurnCompleted():
            return Observation(Counts(agent_turns=1), _turn_seconds(chat, envelope))
        case TurnFailed():
            return Observation(Counts(errors=1), _turn_seconds(chat, envelope))
        case ToolReturned(status=status):
            return Observation(Counts(tool_calls=1, errors=int(status != "ok")))
        case UsageRecorded(tokens=tokens):
            return Observation(
                Counts(
                    prompt_tokens=round(tokens.prompt or 0),
                    completion_tokens=round(tokens.completion or 0),
                    cost=cost_told(event, prices),
                )
            )
        case ChatFailed():
            return Observation(Counts(errors=1, ended=1))
        case ChatCompleted() | ChatCancelled():
            return Observation(Counts(ended=1))
        case _:
            return _NOTHING


def _turn_seconds(chat: Chat, envelope: Envelope) -> float | None:
    if chat.turn_started_at is None:
        return None
    return max(0.0, (envelope.time - chat.turn_started_at).total_seconds())


def advance(chat: Chat, stored: StoredEvent, seen: Observation) -> Chat:
    """The chat after its next event."""
    envelope, head = stored.envelope, stored.head
    counts = chat.counts.plus(seen.counts)
    chat = replace(chat, last_seq=head.seq, last_digest=head.digest, counts=counts)
    match stored.event:
        case ChatStarted(user_id=user):
            return replace(chat, user_id=user, started_at=envelope.time)
        case SpeakerSelected():
            return replace(chat, turn_started_at=envelope.time)
        case TurnCompleted() | TurnFailed():
            return replace(chat, turn_started_at=None, last_turn_duration_sec=seen.turn_seconds)
        case ChatCompleted() | ChatFailed() | ChatCancelled():
            return replace(chat, turn_started_at=None, ended_at=envelope.time)
        case _:
            return chat
