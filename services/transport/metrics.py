"""Prometheus metrics of the transport."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class TransportMetrics:
    """Open sockets, frames sent, and requests answered with an error."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.open_sockets = Gauge("mozaiks_transport_sockets", "Open sockets", registry=registry)
        self.frames_sent = Counter("mozaiks_transport_frames", "Frames sent", registry=registry)
        self.errors = Counter(
            "mozaiks_transport_errors",
            "Requests answered with an error, by code",
            ["code"],
            registry=registry,
        )
