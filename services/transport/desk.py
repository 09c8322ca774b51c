"""What the handlers of requests are handed: everything that stands once NATS is connected."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import Counter, Gauge

from services.chassis.bus import Bus
from services.transport.chats import Chats
from services.transport.rooms import Rooms
from services.transport.workflows import Workflows


class Stopping:
    """Whether this process is about to end: what would hold it up should come to a close."""

    def __init__(self) -> None:
        self._told = asyncio.Event()

    def tell(self) -> None:
        self._told.set()

    async def wait_for_it(self) -> None:
        await self._told.wait()


@dataclass(frozen=True, slots=True)
class Desk:
    bus: Bus
    chats: Chats
    rooms: Rooms
    workflows: Workflows
    sockets: Gauge
    frames: Counter
    max_message_bytes: int
    max_parallel_workflows: int
    handshake_seconds: float
    stopping: Stopping
    metrics_public_url: str | None
    begun: datetime
    clock: Callable[[], datetime]
