"""What one event adds to the metrics: to the snapshot of its chat and to the totals of its workflow."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from contracts.chat_snapshot import (
    NO_TOTALS,
    ChatSnapshot,
    ChatTotals,
    Fold,
    added_by,
    totals_of_erased,
)
from contracts.event_log import EMPTY, Head, StoredEvent
from contracts.events import Event
from contracts.events.chat import ChatErased
from contracts.events.turn import (
    ToolDispatched,
    ToolReturned,
    TurnCompleted,
    TurnFailed,
    TurnStopped,
)
from contracts.ids import AppId, WorkflowName
from contracts.prices import Prices
from services.metrics.samples import samples_of
from services.metrics.series import Sample

BUCKETS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
"""Upper bounds, in seconds, of the histogram of turn durations; one more bucket has what is longer."""
MOST_DISPATCHES = 64
"""Open tool calls of a chat whose duration is measured."""

Label = tuple[AppId, WorkflowName]


@dataclass(frozen=True, slots=True)
class TurnDurations:
    """A histogram of turn durations: the number in each bucket, the last for all that is longer."""

    counts: tuple[int, ...] = (0,) * (len(BUCKETS) + 1)
    total: float = 0.0

    def plus(self, seconds: float) -> "TurnDurations":
        place = sum(bound < seconds for bound in BUCKETS)
        counts = tuple(n + (i == place) for i, n in enumerate(self.counts))
        return TurnDurations(counts, self.total + seconds)


_NO_TURNS = TurnDurations()


@dataclass(frozen=True, slots=True)
class WorkflowMetrics:
    """The metrics of the chats of one app's workflow."""

    totals: ChatTotals = NO_TOTALS
    turns: TurnDurations = _NO_TURNS

    def plus(self, totals: ChatTotals, turns_seconds: Iterable[float]) -> "WorkflowMetrics":
        turns = self.turns
        for seconds in turns_seconds:
            turns = turns.plus(seconds)
        return WorkflowMetrics(self.totals.plus(totals), turns)


@dataclass(frozen=True, slots=True)
class OpenDispatch:
    """A tool call that was dispatched and has not returned."""

    tool_call_id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMetrics(ChatSnapshot):
    """One chat, as of its event `last_seq`."""

    last_digest: str = EMPTY.digest
    last_turn_duration_sec: float | None = None
    dispatches: tuple[OpenDispatch, ...] = ()

    @property
    def head(self) -> Head:
        return Head(self.last_seq, self.last_digest)


class Observation(NamedTuple):
    """A chat after the events of a message, and what they add to the metrics of its workflow."""

    chat: ChatMetrics
    totals: ChatTotals
    turns_seconds: tuple[float, ...]
    samples: tuple[Sample, ...]


def observe(
    chat: ChatMetrics, events: Sequence[StoredEvent], prices: Prices, label: Label
) -> Observation:
    """What the next events of a chat add; `label` is the app and the workflow that they count for.

    An event that erases the chat adds what was erased before it was seen.
    """
    fold, totals = Fold(chat), NO_TOTALS
    turns: list[float] = []
    samples: list[Sample] = []
    last_turn, dispatches = chat.last_turn_duration_sec, chat.dispatches
    for stored in events:
        event, since = stored.event, fold.draft.turn_started_at
        if isinstance(event, ChatErased):
            totals = totals.plus(totals_of_erased(event).minus(fold.draft.totals))
        fold.apply(stored.envelope, event, prices)
        if event is None:
            continue
        if (added := added_by(event, prices)) is not NO_TOTALS:
            totals = totals.plus(added)
        if isinstance(event, TurnCompleted | TurnFailed):
            last_turn = _seconds_between(since, fold.draft.last_updated_at)
            turns += [] if last_turn is None else [last_turn]
        dispatched_at = _dispatched_at(dispatches, event)
        samples += samples_of(stored.envelope, event, prices, label, dispatched_at)
        dispatches = _dispatches_after(dispatches, event, stored.envelope.time)
    after = fold.result(
        last_digest=events[-1].head.digest,
        last_turn_duration_sec=last_turn,
        dispatches=dispatches,
    )
    return Observation(after, totals, tuple(turns), tuple(samples))


def _dispatched_at(dispatches: Iterable[OpenDispatch], event: Event) -> datetime | None:
    if not isinstance(event, ToolReturned):
        return None
    return next((one.at for one in dispatches if one.tool_call_id == event.tool_call_id), None)


def _dispatches_after(
    dispatches: tuple[OpenDispatch, ...], event: Event, time: datetime
) -> tuple[OpenDispatch, ...]:
    match event:
        case ToolDispatched(tool_call_id=call):
            others = tuple(one for one in dispatches if one.tool_call_id != call)
            return (*others, OpenDispatch(call, time))[-MOST_DISPATCHES:]
        case ToolReturned(tool_call_id=call):
            return tuple(one for one in dispatches if one.tool_call_id != call)
        case TurnCompleted() | TurnFailed() | TurnStopped():
            return ()
        case _:
            return dispatches


def _seconds_between(start: datetime | None, end: datetime) -> float | None:
    return None if start is None else max(0.0, (end - start).total_seconds())
