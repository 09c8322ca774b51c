"""What the handlers of requests are handed: everything that stands once NATS is connected."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import Counter, Gauge

from services.chassis.bus import Bus
from services.transport.chats import Chats
from services.transport.rooms import Rooms
from services.transport.workflows import Workflows


@dataclass(frozen=True, slots=True)
class Desk:
    bus: Bus
    chats: Chats
    rooms: Rooms
    workflows: Workflows
    sockets: Gauge
    frames: Counter
    max_message_bytes: int
    handshake_seconds: float
    metrics_public_url: str | None
    clock: Callable[[], datetime]
