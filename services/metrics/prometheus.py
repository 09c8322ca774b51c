"""Prometheus series of the metrics state: computed at every scrape, so that a restart changes nothing."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from contracts.chat_snapshot import ChatTotals
from services.metrics.metrics_state import MetricsState
from services.metrics.observations import BUCKETS, Label
from services.metrics.series import cumulative

_COUNTERS = {
    "agent_turns": "Turns that agents completed",
    "tool_calls": "Tools that returned",
    "errors": "Failed tools, turns and chats",
    "prompt_tokens": "Tokens given to models",
    "completion_tokens": "Tokens that models wrote",
    "cost": "Price of those tokens in US dollars, by the configured table",
}
_LABELS = ("app", "workflow")


class MetricsCollector(Collector):
    """By app and workflow, never by chat or user: those are on the pages of the snapshots.

    A running chat of which nothing has come for `stalled_seconds` is stalled.
    """

    def __init__(
        self, state: MetricsState, clock: Callable[[], datetime], stalled_seconds: float
    ) -> None:
        self._state = state
        self._clock = clock
        self._stalled_seconds = stalled_seconds

    def collect(self) -> Iterator[Metric]:
        state = self._state
        active = state.in_state("running", "waiting")
        yield GaugeMetricFamily("mozaiks_active_chats", "Chats that have not ended", value=active)
        yield GaugeMetricFamily(
            "mozaiks_tracked_chats", "Chats with a snapshot", value=len(state.chats)
        )
        what = "Messages in the log that are no event of their chat"
        yield CounterMetricFamily("mozaiks_rejected_messages", what, value=state.rejected)
        folded = GaugeMetricFamily(
            "mozaiks_folded_position",
            "The position in a stream of events up to which these numbers are counted",
            labels=["stream"],
        )
        for stream, position in state.positions.items():
            folded.add_metric([stream], position)
        yield folded
        yield from self._totals()
        yield from self._states()
        yield from self._silent()
        yield from state.series.collect()

    def _totals(self) -> Iterator[Metric]:
        for name, what in _COUNTERS.items():
            family = CounterMetricFamily(f"mozaiks_{name}", what, labels=_LABELS)
            for label, metrics in self._state.totals.items():
                family.add_metric(label, _value(metrics.totals, name))
            yield family
        turns = HistogramMetricFamily(
            "mozaiks_turn_duration_seconds", "How long turns took, waits included", labels=_LABELS
        )
        for label, metrics in self._state.totals.items():
            buckets = cumulative(BUCKETS, metrics.turns.counts)
            turns.add_metric(label, buckets, sum_value=metrics.turns.total)
        yield turns

    def _states(self) -> Iterator[Metric]:
        chats = GaugeMetricFamily(
            "mozaiks_chats",
            "Chats by state: running, waiting (for a user), completed, failed, cancelled",
            labels=(*_LABELS, "state"),
        )
        for label, states in self._state.states.items():
            for status, number in states.items():
                chats.add_metric((*label, status), number)
        yield chats

    def _silent(self) -> Iterator[Metric]:
        """Of every app and workflow, so that an alert sees the change from 0."""
        stalled: Counter[Label] = Counter()
        longest = 0.0
        for _, label, silent in self._state.silences(self._clock()):
            stalled[label] += silent >= self._stalled_seconds
            longest = max(longest, silent)
        family = GaugeMetricFamily(
            "mozaiks_stalled_chats",
            "Running chats of which nothing has come for METRICS_STALLED_SECONDS: must be 0",
            labels=_LABELS,
        )
        for label in self._state.totals:
            family.add_metric(label, stalled[label])
        yield family
        yield GaugeMetricFamily(
            "mozaiks_longest_silence_seconds",
            "Since the last event of the running chat that has been silent longest",
            value=longest,
        )


def _value(totals: ChatTotals, name: str) -> float:
    return float(getattr(totals, name))
