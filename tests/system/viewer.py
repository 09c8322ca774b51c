"""A viewer that reconnects from its cursor for as long as it takes, and notes what it saw."""

import asyncio
import contextlib
import json
from typing import Any

import websockets
from websockets.asyncio.client import connect

from contracts.ids import ChatKey
from tests.system.stage import ENDINGS, USER


class Viewer:
    """`seen` are the events as shown, in the order in which they came."""

    def __init__(self, address: str, key: ChatKey, workflow: str = "Generator") -> None:
        path = "/".join(("/ws", workflow, key.app, key.chat, USER))
        self._url = address.replace("http://", "ws://") + path.replace(" ", "%20")
        self.seen: list[dict[str, Any]] = []
        self.text: list[str] = []
        self.connections = 0

    @property
    def cursor(self) -> int:
        return self.seen[-1]["seq"] if self.seen else 0

    async def watch_to_the_end(self) -> None:
        while not (self.seen and self.seen[-1]["type"] in ENDINGS):
            with contextlib.suppress(OSError, websockets.WebSocketException, TimeoutError):
                await self._watch()
            await asyncio.sleep(0.1)

    async def _watch(self) -> None:
        async with connect(f"{self._url}?after={self.cursor}&events=1") as socket:
            self.connections += 1
            async for message in socket:
                frame = json.loads(message)
                if frame["type"] == "chat.event":
                    self.seen.append(frame["data"])
                    if frame["data"]["type"] in ENDINGS:
                        return
                elif frame["type"] == "chat.print":
                    self.text.append(frame["data"]["content"])
