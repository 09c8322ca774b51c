"""uvicorn's WebSocket protocol, which also sends text without a coroutine, several frames in one write."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

EXTENSION = "mozaiks.websocket.direct"
"""The ASGI extension (a key of `scope["extensions"]`) under which a connection finds its DirectSocket."""
BATCH_BYTES = 65_536
"""Size from which frames are written at once; it is the limit from which asyncio pauses a writer, too."""


class BatchedTransport(asyncio.Transport):
    """Collects what is written until `flush`, or until the event loop's next round at the latest."""

    __slots__ = ("_loop", "_parts", "_size", "_timer", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] | None = None  # an empty list takes 56 bytes
        self._size = 0
        self._timer: asyncio.Handle | None = None

    def write(self, data: Any) -> None:
        if self._parts is None:
            self._parts = []
            self._timer = self._loop.call_soon(self.flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        parts, timer = self._parts, self._timer
        if parts is None or timer is None:
            return
        timer.cancel()
        self._parts, self._timer, self._size = None, None, 0
        if not self._transport.is_closing():
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_write_buffer_size(self) -> int:
        return self._size + self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)


class DirectSocket(WebSocketsSansIOProtocol):
    """The protocol of one connection, which hands itself to the application as an ASGI extension."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._batched = BatchedTransport(cast(asyncio.Transport, transport), self.loop)
        super().connection_made(self._batched)

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            cast(dict[str, Any], self.scope["extensions"])[EXTENSION] = self

    def send_text(self, text: str, frame: bytes) -> bool:
        """Send a text message, of which `frame` is the unmasked and uncompressed WebSocket frame.

        It is written with `flush`, or a moment later. False where it cannot be sent now: the client
        does not read, or the connection is not open.
        """
        conn = self.conn
        is_open = conn.state is State.OPEN and not (self.close_sent or self.disconnected)
        if not is_open or not self.writable.is_set():
            return False
        if conn.extensions:
            conn.send_text(text.encode())
            for part in conn.data_to_send():
                self._batched.write(part)
        else:
            self._batched.write(frame)
        return True

    def flush(self) -> None:
        """Write the messages that were sent."""
        self._batched.flush()


def take_direct_socket(scope: Mapping[str, Any]) -> DirectSocket | None:
    """The protocol behind a WebSocket, if the server has it; the scope does not refer to it any more.

    The protocol refers to the scope: a cycle would keep both until a garbage collection.
    """
    extensions = scope.get("extensions") or {}
    found: DirectSocket | None = extensions.pop(EXTENSION, None)
    return found
