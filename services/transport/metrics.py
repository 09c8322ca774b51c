"""Prometheus metrics of the transport."""

from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.chassis.metrics import SECONDS, seconds_since


class TransportMetrics:
    """Open sockets, frames and messages, delivery of events, and requests answered with an error."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.open_sockets = Gauge("mozaiks_transport_sockets", "Open sockets", registry=registry)
        frames = Counter(
            "mozaiks_transport_frames",
            "Frames sent, over a websocket or as server-sent events (sse)",
            ["over"],
            registry=registry,
        )
        self.socket_frames = frames.labels("websocket")
        self.sse_frames = frames.labels("sse")
        self.messages = Histogram(
            "mozaiks_transport_message_duration_seconds",
            "How long the handling of a client's socket message took, by its type and outcome:"
            " handled or refused",
            ["type", "outcome"],
            buckets=SECONDS,
            registry=registry,
        )
        self.delivery = Histogram(
            "mozaiks_transport_delivery_seconds",
            "From an event's time to the moment when its frames were given to a viewer's connection",
            buckets=SECONDS,
            registry=registry,
        )
        self.lagging = Counter(
            "mozaiks_transport_lagging_viewers",
            "How often a viewer was too slow, or missed a message, and read the log instead",
            registry=registry,
        )
        self.errors = Counter(
            "mozaiks_transport_errors",
            "Requests answered with an error, by code",
            ["code"],
            registry=registry,
        )
        self.key_refreshes = Counter(
            "mozaiks_transport_key_refreshes",
            "Reads of the token issuer's signing keys, by outcome: ok or failed",
            ["outcome"],
            registry=registry,
        )

        for outcome in ("ok", "failed"):  # an alert sees the first failure as a change from 0
            self.key_refreshes.labels(outcome)

    def delivered(self, event_time: datetime) -> None:
        """An event of this time was given to the connection of a viewer."""
        self.delivery.observe(max(0.0, seconds_since(event_time)))
