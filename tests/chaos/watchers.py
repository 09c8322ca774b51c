"""A viewer of a chat over WebSocket that resumes from its cursor, and keeps what it received."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from random import Random
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection, connect

from contracts.ids import ChatKey
from tests.chaos.facts import Shown, Watcher, digest_of

ENDINGS = frozenset({"chat.completed", "chat.failed", "chat.cancelled"})
PATIENCE_SECONDS = (0.1, 0.6)
"""Between two connections."""
STAYS_SECONDS = (1.0, 8.0)
"""How long a watcher that reconnects often stays connected."""
OPEN_SECONDS = 10.0

Event = dict[str, Any]


class Watching:
    """`hear` is called with each event that is new to this watcher."""

    def __init__(
        self,
        chat: ChatKey,
        name: str,
        path: str,
        transports: list[str],
        random: Random,
        *,
        restless: bool,
        hear: Callable[[Event], None] | None = None,
    ) -> None:
        self.chat = chat
        self.name = name
        self.goal = 0
        self.connections = 0
        self._shown: list[Shown] = []
        self._path = path
        self._transports = transports
        self._random = random
        self._restless = restless
        self._hear = hear
        self._changed = asyncio.Event()

    @property
    def cursor(self) -> int:
        return max((one.seq for one in self._shown[-1:]), default=0)

    @property
    def record(self) -> Watcher:
        return Watcher(self.chat, self.name, tuple(self._shown), self.goal)

    async def run(self) -> None:
        """Watch until the goal is set and reached, across any number of connections."""
        while not self._is_done():
            with contextlib.suppress(OSError, websockets.WebSocketException, TimeoutError):
                await self._connect()
            if not self._is_done():
                await asyncio.sleep(self._random.uniform(*PATIENCE_SECONDS))

    def aim(self, goal: int) -> None:
        """The chat is over for its user at this event: nothing more is waited for."""
        self.goal = max(goal, 1)
        self._changed.set()

    def _is_done(self) -> bool:
        return bool(self.goal) and self.cursor >= self.goal

    async def _connect(self) -> None:
        host = self._random.choice(self._transports)
        url = f"ws://{host}{self._path}?after={self.cursor}&events=1"
        async with connect(
            url, open_timeout=OPEN_SECONDS, close_timeout=1, max_size=None
        ) as socket:
            self.connections += 1
            stay = self._random.uniform(*STAYS_SECONDS) if self._restless else None
            reading = asyncio.create_task(self._read(socket), name=f"read {self.name}")
            aiming = asyncio.create_task(self._until_done(), name=f"aim {self.name}")
            try:
                await asyncio.wait(
                    [reading, aiming], timeout=stay, return_when=asyncio.FIRST_COMPLETED
                )
                if reading.done():
                    reading.result()
            finally:
                for task in (reading, aiming):
                    task.cancel()
                await asyncio.gather(reading, aiming, return_exceptions=True)

    async def _until_done(self) -> None:
        while not self._is_done():
            self._changed.clear()
            await self._changed.wait()

    async def _read(self, socket: ClientConnection) -> None:
        async for message in socket:
            frame = json.loads(message)
            if frame["type"] == "chat.event":
                self._take(frame["data"])

    def _take(self, event: Event) -> None:
        is_new = event["seq"] > self.cursor
        self._shown.append(Shown(event["seq"], digest_of(event)))
        self._changed.set()
        if is_new and self._hear is not None:
            self._hear(event)
