"""What goes in and out of one socket, message by message."""

import asyncio
from dataclasses import replace
from typing import Any

from litestar import WebSocket
from litestar.connection.base import empty_receive, empty_send
from litestar.exceptions import WebSocketDisconnect

from services.transport import frames
from services.transport.desk import Desk
from services.transport.frames import Frame
from services.transport.refusals import RefusalError


class Line:
    """What goes out on one socket, one frame at a time."""

    def __init__(self, socket: WebSocket[Any, Any, Any], desk: Desk) -> None:
        self._socket = socket
        self._desk = desk
        self._turn = asyncio.Lock()

    async def send(self, frame: Frame) -> None:
        timed = frame if frame.time is not None else replace(frame, time=self._desk.clock())
        try:
            async with self._turn, asyncio.timeout(self._desk.send_seconds):
                await self._socket.send_text(frames.encode(timed))
        except TimeoutError:
            raise WebSocketDisconnect(detail="the client does not read") from None
        self._desk.frames.inc()

    async def refuse(self, refusal: RefusalError) -> None:
        self._desk.refusals.labels(refusal.code).inc()
        more = {"field": refusal.field}
        await self.send(frames.error(str(refusal), refusal.code, **more))

    async def receive(self) -> str | None:
        """The next text; none for a binary message. Raises WebSocketDisconnect."""
        event = await self._socket.receive()
        if event["type"] == "websocket.receive":
            return event.get("text")
        raise WebSocketDisconnect(detail="the client is gone")

    async def close(self, code: int, reason: str) -> None:
        await self._socket.close(code=code, reason=reason[:120])

    def let_go(self) -> None:
        """Drop the connection at the end of its handler; nothing is sent or received after.

        Litestar's socket holds two closures that hold the socket: until the next full collection
        each closed socket would keep its headers, protocol and queues, thirteen kilobytes.
        """
        self._socket.receive, self._socket.send = empty_receive, empty_send
