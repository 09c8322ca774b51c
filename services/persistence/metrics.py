"""Prometheus metrics of persistence: how far it trails the log, and how long MongoDB takes."""

from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram

from services.chassis.metrics import SECONDS, seconds_since

_LAG_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0)


class PersistenceMetrics:
    """Events that were projected, when and how fast, and MongoDB's commands."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.applied = Counter(
            "mozaiks_persistence_events", "Events stored, repeats included", registry=registry
        )
        self.rejected = Counter(
            "mozaiks_persistence_rejected_messages",
            "Messages in EVENTS that are not events of a chat, repeats included",
            registry=registry,
        )
        self.lag = Histogram(
            "mozaiks_projection_lag_seconds",
            "From the storing of an event in the log to its storing in MongoDB, of the oldest event of"
            " each batch",
            buckets=_LAG_SECONDS,
            registry=registry,
        )
        self.duration = Histogram(
            "mozaiks_projection_duration_seconds",
            "How long the projection of one batch took",
            buckets=SECONDS,
            registry=registry,
        )
        self.batch = Histogram(
            "mozaiks_projection_batch_messages",
            "Messages of one batch",
            buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500),
            registry=registry,
        )
        self.mongodb = Histogram(
            "mozaiks_mongodb_command_duration_seconds",
            "How long MongoDB took for a command, by the driver's clock, and whether it failed",
            ["command", "outcome"],
            buckets=SECONDS,
            registry=registry,
        )

    def projected(self, messages: int, oldest: datetime | None, seconds: float) -> None:
        """A batch of so many messages was stored in so many seconds."""
        self.applied.inc(messages)
        self.batch.observe(messages)
        self.duration.observe(seconds)
        if oldest is not None:
            self.lag.observe(max(0.0, seconds_since(oldest)))
