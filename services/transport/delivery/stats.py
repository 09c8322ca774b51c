"""Statistics of the events that this process streamed since it started."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from contracts.envelope import Envelope
from services.transport.metrics import TransportMetrics

_NAMES = {"runtime": "runtime", "ui": "ui_tool", "business": "business"}
"""The names of the categories in the original's metrics."""


@dataclass(slots=True)
class StreamStats:
    """Events of the chats that are watched in this process, each counted once."""

    by_category: Counter[str] = field(default_factory=Counter)
    rejected: int = 0
    """Messages that are not valid events of such a chat, and unreadable deltas."""
    metrics: TransportMetrics | None = None

    def count(self, envelope: Envelope) -> None:
        self.by_category[_NAMES[envelope.category]] += 1

    def delivered(self, event_time: datetime) -> None:
        """A live event of this time was given to a viewer's connection."""
        if self.metrics is not None:
            self.metrics.delivered(event_time)

    def lagged(self) -> None:
        """A viewer has to read the log, because it was too slow or missed a message."""
        if self.metrics is not None:
            self.metrics.lagging.inc()

    def as_dict(self) -> dict[str, Any]:
        business = self.by_category["business"]
        return {
            "events_processed": self.by_category.total(),
            "events_failed": self.rejected,
            "events_by_category": {name: self.by_category[name] for name in _NAMES.values()},
            "custom_events_emitted": business,
            "custom_events_by_type": {"business.logged": business} if business else {},
        }
