"""Prometheus series of the metrics state: computed at every scrape, so that a restart changes nothing."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from contracts.chat_snapshot import ChatTotals
from services.metrics.metrics_state import MetricsState
from services.metrics.observations import BUCKETS, TurnDurations

_COUNTERS = {
    "agent_turns": "Turns that agents completed",
    "tool_calls": "Tools that returned",
    "errors": "Failed tools, turns and chats",
    "prompt_tokens": "Tokens given to models",
    "completion_tokens": "Tokens that models wrote",
    "cost": "Price of those tokens, by the configured table",
}


class MetricsCollector(Collector):
    """By app and workflow, never by chat or user: those are on the pages of the snapshots."""

    def __init__(self, state: MetricsState) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        active, tracked = self._state.active_chats, self._state.tracked_chats
        yield GaugeMetricFamily("mozaiks_active_chats", "Chats that have not ended", value=active)
        yield GaugeMetricFamily("mozaiks_tracked_chats", "Chats with a snapshot", value=tracked)
        what = "Messages in the log that are no event of their chat"
        yield CounterMetricFamily("mozaiks_rejected_messages", what, value=self._state.rejected)
        yield from self._workflows()

    def _workflows(self) -> Iterator[Metric]:
        labels = ["app", "workflow"]
        for name, what in _COUNTERS.items():
            family = CounterMetricFamily(f"mozaiks_{name}", what, labels=labels)
            for label, totals in self._state.totals.items():
                family.add_metric(label, _value(totals.counts.totals, name))
            yield family
        turns = HistogramMetricFamily(
            "mozaiks_turn_duration_seconds", "How long turns took, waits included", labels=labels
        )
        for label, totals in self._state.totals.items():
            turns.add_metric(label, _cumulative(totals.turns), sum_value=totals.turns.total)
        yield turns


def _value(totals: ChatTotals, name: str) -> float:
    return float(getattr(totals, name))


def _cumulative(turns: TurnDurations) -> list[tuple[str, float]]:
    reached = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip((*map(str, BUCKETS), "+Inf"), turns.counts, strict=True):
        reached += count
        buckets.append((bound, float(reached)))
    return buckets
