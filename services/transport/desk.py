"""What the handlers of requests are handed: everything that stands once NATS is connected."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import Counter, Gauge

from services.chassis.bus import Bus
from services.transport.attachments import Attachments
from services.transport.chats import Chats
from services.transport.general import GeneralChats
from services.transport.refusals import limit_reached
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


class Crowd:
    """Everyone who watches something on this process, by whatever way they came."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._here = 0

    def __len__(self) -> int:
        return self._here

    @contextlib.contextmanager
    def one_more(self) -> Iterator[None]:
        """Raises RefusalError where the house is full."""
        if self._here >= self._most:
            raise limit_reached("service", f"{self._most} are watching here, try another time")
        self._here += 1
        try:
            yield
        finally:
            self._here -= 1


@dataclass(frozen=True, slots=True)
class Desk:
    bus: Bus
    chats: Chats
    rooms: Rooms
    crowd: Crowd
    workflows: Workflows
    attachments: Attachments
    sockets: Gauge
    frames: Counter
    raw_events: bool
    max_message_bytes: int
    max_parallel_workflows: int
    send_seconds: float
    handshake_seconds: float
    stopping: Stopping
    metrics_public_url: str | None
    begun: datetime
    clock: Callable[[], datetime]

    @property
    def general(self) -> GeneralChats:
        """The general ones among the chats of this desk."""
        return GeneralChats(self.chats, self.workflows)
