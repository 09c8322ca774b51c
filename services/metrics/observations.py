"""What one event adds to the metrics: to the snapshot of its chat and to the totals of its workflow."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from contracts.chat_snapshot import NO_TOTALS, ChatSnapshot, ChatTotals, Fold, added_by
from contracts.event_log import EMPTY, Head, StoredEvent
from contracts.events.chat import ChatStarted
from contracts.events.turn import TurnCompleted, TurnFailed
from contracts.prices import Prices

BUCKETS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
"""Upper bounds, in seconds, of the histogram of turn durations; one more bucket has what is longer."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What is added up over the chats of a workflow."""

    started: int = 0
    ended: int = 0
    totals: ChatTotals = NO_TOTALS

    def plus(self, more: "Counts") -> "Counts":
        return Counts(
            self.started + more.started, self.ended + more.ended, self.totals.plus(more.totals)
        )


@dataclass(frozen=True, slots=True)
class TurnDurations:
    """A histogram of turn durations: the number in each bucket, the last for all that is longer."""

    counts: tuple[int, ...] = (0,) * (len(BUCKETS) + 1)
    total: float = 0.0

    def plus(self, seconds: float) -> "TurnDurations":
        place = sum(bound < seconds for bound in BUCKETS)
        counts = tuple(n + (i == place) for i, n in enumerate(self.counts))
        return TurnDurations(counts, self.total + seconds)


NO_COUNTS = Counts()
_NO_TURNS = TurnDurations()


@dataclass(frozen=True, slots=True)
class WorkflowMetrics:
    """The metrics of the chats of one app's workflow."""

    counts: Counts = NO_COUNTS
    turns: TurnDurations = _NO_TURNS

    def plus(self, counts: Counts, turns_seconds: Iterable[float]) -> "WorkflowMetrics":
        turns = self.turns
        for seconds in turns_seconds:
            turns = turns.plus(seconds)
        return WorkflowMetrics(self.counts.plus(counts), turns)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMetrics(ChatSnapshot):
    """One chat, as of its event `last_seq`."""

    last_digest: str = EMPTY.digest
    last_turn_duration_sec: float | None = None

    @property
    def head(self) -> Head:
        return Head(self.last_seq, self.last_digest)


class Observation(NamedTuple):
    """A chat after the events of a message, and what they add to the metrics of its workflow."""

    chat: ChatMetrics
    counts: Counts
    turns_seconds: tuple[float, ...]


def observe(chat: ChatMetrics, events: Sequence[StoredEvent], prices: Prices) -> Observation:
    """What the next events of a chat add."""
    fold = Fold(chat)
    started, totals = 0, NO_TOTALS
    turns: list[float] = []
    last_turn = chat.last_turn_duration_sec
    for stored in events:
        event, since = stored.event, fold.draft.turn_started_at
        fold.apply(stored.envelope, event, prices)
        if event is None:
            continue
        if (added := added_by(event, prices)) is not NO_TOTALS:
            totals = totals.plus(added)
        if isinstance(event, TurnCompleted | TurnFailed):
            last_turn = _seconds_between(since, fold.draft.last_updated_at)
            turns += [] if last_turn is None else [last_turn]
        started += isinstance(event, ChatStarted)
    after = fold.result(last_digest=events[-1].head.digest, last_turn_duration_sec=last_turn)
    ended = int(after.ended_at is not None and chat.ended_at is None)
    adds = started or ended or totals is not NO_TOTALS
    counts = Counts(started, ended, totals) if adds else NO_COUNTS
    return Observation(after, counts, tuple(turns))


def _seconds_between(start: datetime | None, end: datetime) -> float | None:
    return None if start is None else max(0.0, (end - start).total_seconds())
