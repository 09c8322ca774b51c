"""Statistics of the events that this process streamed since it started."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from contracts.business_events import milestone_of
from contracts.envelope import Envelope
from contracts.events import Event
from services.transport.metrics import TransportMetrics

_NAMES = {"runtime": "runtime", "ui": "ui_tool", "business": "business"}
"""The names of the categories in the original's metrics."""


@dataclass(slots=True)
class StreamStats:
    """Events of the chats that are watched in this process, each counted once."""

    by_category: Counter[str] = field(default_factory=Counter)
    milestones: Counter[str] = field(default_factory=Counter)
    """Business events of the runtime itself, by type."""
    rejected: int = 0
    """Messages that are not valid events of such a chat, and unreadable deltas."""
    metrics: TransportMetrics | None = None

    def count(self, envelope: Envelope, event: Event | None) -> None:
        """Count an event, and the business event that it is, or that the runtime derives from it."""
        self.by_category[_NAMES[envelope.category]] += 1
        if (milestone := milestone_of(envelope, event)) is not None:
            self.milestones[milestone.body.log_event_type] += 1

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
            "custom_events_emitted": business + self.milestones.total(),
            "custom_events_by_type": {
                **({"business.logged": business} if business else {}),
                **self.milestones,
            },
        }
