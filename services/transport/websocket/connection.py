"""Socket connection: sends frames to one WebSocket client and receives its messages."""

import asyncio
from typing import Any

from litestar import WebSocket
from litestar.connection.base import empty_receive, empty_send
from litestar.exceptions import WebSocketDisconnect

from services.transport.context import RequestContext
from services.transport.errors import api_error_from
from services.transport.protocol import frame_encoding
from services.transport.protocol.frame_encoding import Frame
from services.transport.websocket.uvicorn_protocol import take_direct_socket


class SocketConnection:
    """One open WebSocket; a client that does not read is disconnected after a timeout."""

    __slots__ = ("_context", "_direct", "_lock", "_socket")

    def __init__(self, socket: WebSocket[Any, Any, Any], context: RequestContext) -> None:
        self._socket = socket
        self._direct = take_direct_socket(socket.scope)
        self._context = context
        self._lock: asyncio.Lock | None = None  # until a frame has to wait: a lock takes 200 bytes

    async def send(self, frame: Frame) -> None:
        """Raises WebSocketDisconnect for a client that does not read."""
        await self.send_batched(frame)
        self.flush()

    async def send_batched(self, frame: Frame) -> None:
        """The same; the frame may be written a moment later, with those that follow or by `flush`."""
        services = self._context.services
        timed = frame_encoding.with_time(frame, services.clock)
        if not self._send_at_once(timed):
            await self._send_in_time(timed, services.settings.client_send_timeout_seconds)
        services.metrics.socket_frames.inc()

    def flush(self) -> None:
        """Write the frames that were sent."""
        if self._direct is not None:
            self._direct.flush()

    def _send_at_once(self, frame: Frame) -> bool:
        is_waiting = self._lock is not None and self._lock.locked()
        if self._direct is None or is_waiting:
            return False
        text, encoded = frame_encoding.encode(frame), frame_encoding.encode_for_socket(frame)
        return self._direct.send_text(text, encoded)

    async def _send_in_time(self, frame: Frame, seconds: float) -> None:
        self._lock = self._lock or asyncio.Lock()
        try:
            async with self._lock, asyncio.timeout(seconds):
                await self._socket.send_text(frame_encoding.encode(frame))
        except TimeoutError:
            raise WebSocketDisconnect(detail="the client does not read") from None

    async def report(self, raised: Exception, *, close: bool = False) -> bool:
        """Send the error that a client gets for an exception; False where there is none for it."""
        error = api_error_from(raised, self._context.services.gateway.storage)
        if error is None:
            return False
        self._context.services.metrics.errors.labels(error.code).inc()
        await self.send(frame_encoding.error(str(error), error.code, field=error.field))
        if close:
            await self.close(error.close_code, error.code)
        return True

    async def receive(self) -> str | None:
        """The next text message; None for a binary one. Raises WebSocketDisconnect."""
        event = await self._socket.receive()
        if event["type"] == "websocket.receive":
            return event.get("text")
        raise WebSocketDisconnect(detail="the client disconnected")

    async def close(self, code: int, reason: str) -> None:
        await self._socket.close(code=code, reason=reason[:120])

    def release(self) -> None:
        """Break a reference cycle at the end of the handler; nothing can be sent or received after.

        Litestar's socket holds two closures that hold the socket: until the next full garbage
        collection a closed socket would keep its headers, protocol and queues, thirteen kilobytes.
        """
        self._socket.receive, self._socket.send = empty_receive, empty_send
        self._direct = None
