"""What the handlers of requests are handed: everything that stands once NATS is connected."""

import asyncio
import contextlib
from collections import Counter as Tallies
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from prometheus_client import Counter, Gauge

from contracts.ids import AppId
from services.chassis.bus import Bus
from services.transport.attachments import Attachments
from services.transport.chats import Chats
from services.transport.general import GeneralChats
from services.transport.refusals import limit_reached
from services.transport.rooms import Rooms
from services.transport.signin.principal import Who
from services.transport.signin.rates import Rates
from services.transport.signin.tickets import Tickets
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

    def __init__(self, most: int, most_of_app: int) -> None:
        self.changes = 0
        self._most = most
        self._most_of_app = most_of_app
        self._here: Tallies[AppId] = Tallies()

    def __len__(self) -> int:
        return self._here.total()

    @contextlib.contextmanager
    def one_more(self, app: AppId) -> Iterator[None]:
        """Raises RefusalError where the house is full, or has enough of this app."""
        if len(self) >= self._most:
            raise limit_reached("service", f"{self._most} are watching here, try another time")
        if self._here[app] >= self._most_of_app > 0:
            raise limit_reached("app_id", f"{self._most_of_app} of this app are watching here")
        self._here[app] += 1
        self.changes += 1
        try:
            yield
        finally:
            self._here[app] -= 1
            self.changes += 1
            if not self._here[app]:
                del self._here[app]


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
    refusals: Counter
    who: Who
    """Whom the request speaks for; `chats` are only those that they may see."""
    tickets: Tickets
    rates: Rates
    raw_events: bool
    max_message_bytes: int
    max_parallel_workflows: int
    send_seconds: float
    handshake_seconds: float
    stopping: Stopping
    metrics_public_url: str | None
    begun: datetime
    clock: Callable[[], datetime]

    def of(self, who: Who) -> Self:
        """The desk as somebody finds it."""
        return replace(self, who=who, chats=self.chats.of(who))

    def count(self, app: AppId) -> None:
        """Count one message of whoever this is. Raises RefusalError."""
        self.rates.take(self.who, app, asyncio.get_running_loop().time())

    @property
    def general(self) -> GeneralChats:
        """The general ones among the chats of this desk."""
        return GeneralChats(self.chats, self.workflows)
