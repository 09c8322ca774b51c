"""Connections of httpcore on asyncio's own transports, without anyio between them.

A streamed answer is read in many small pieces; of what each costs in httpx, anyio is a third.
"""

import asyncio
import ssl
from collections.abc import Iterable
from typing import Any, cast

import httpcore2

PAUSE_BYTES = 1024 * 1024
"""The other side is made to wait while so many bytes were received and not read."""
HAPPY_EYEBALLS_SECONDS = 0.25
"""How long a connection to one address of a host may take before the next one is tried, too."""


class AsyncioStream(asyncio.Protocol, httpcore2.AsyncNetworkStream):
    """One connection, read by one reader.

    What is written is sent with the next read, so that the head and the body of a request are sent at
    once.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._to_send: list[bytes] = []
        self._reader: asyncio.Future[None] | None = None
        self._is_paused = False
        self._ended = False
        self._error: Exception | None = None

    # -- asyncio.Protocol ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > PAUSE_BYTES and not self._is_paused:
            self._open_transport().pause_reading()
            self._is_paused = True
        self._wake_reader()

    def eof_received(self) -> None:
        self._ended = True
        self._wake_reader()

    def connection_lost(self, error: Exception | None) -> None:
        self._ended, self._error = True, error
        self._wake_reader()

    # -- httpcore2.AsyncNetworkStream ----------------------------------------------------------

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """What has been received, at least a byte; empty at the end. Raises ReadTimeout, ReadError."""
        self._send()
        if not self._received and not self._ended:
            await self._receive(timeout)
        if not self._received:
            if self._error is not None:
                raise httpcore2.ReadError(str(self._error)) from self._error
            return b""
        data = self._take(max_bytes)
        if self._is_paused and len(self._received) <= PAUSE_BYTES:
            self._open_transport().resume_reading()
            self._is_paused = False
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109
        self._to_send.append(buffer)

    async def aclose(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            await asyncio.sleep(0)  # until then the socket is open

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore2.AsyncNetworkStream:
        """Raises ConnectError, ConnectTimeout."""
        self._send()
        try:
            async with asyncio.timeout(timeout):
                transport = await asyncio.get_running_loop().start_tls(
                    self._open_transport(), self, ssl_context, server_hostname=server_hostname
                )
        except TimeoutError as error:
            await self.aclose()
            raise httpcore2.ConnectTimeout from error
        except (OSError, ssl.SSLError) as error:
            await self.aclose()
            raise httpcore2.ConnectError(str(error)) from error
        if transport is None:
            raise httpcore2.ConnectError("the connection was closed")
        self._transport = transport
        return self

    def get_extra_info(self, info: str) -> Any:
        """`is_readable` of an idle connection says that the other side has closed it."""
        if info == "is_readable":
            return self._ended or bool(self._received)
        names = {"client_addr": "sockname", "server_addr": "peername"}
        return self._open_transport().get_extra_info(names.get(info, info))

    # -- parts ---------------------------------------------------------------------------------

    def _open_transport(self) -> asyncio.Transport:
        if self._transport is None:
            raise httpcore2.ReadError("not connected")
        return self._transport

    def _take(self, max_bytes: int) -> bytes:
        data = bytes(self._received[:max_bytes])
        del self._received[:max_bytes]
        return data

    def _send(self) -> None:
        if self._to_send:
            data = b"".join(self._to_send)
            self._to_send.clear()
            self._open_transport().write(data)

    async def _receive(self, seconds: float | None) -> None:
        loop = asyncio.get_running_loop()
        self._reader = loop.create_future()
        timer = None if seconds is None else loop.call_later(seconds, self._end_wait)
        try:
            await self._reader
        finally:
            self._reader = None
            if timer is not None:
                timer.cancel()

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _end_wait(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_exception(httpcore2.ReadTimeout())


_Opening = asyncio.Future[tuple[asyncio.Transport, AsyncioStream]]


def _close_opened(opening: _Opening) -> None:
    """Close a connection that was opened when nobody waited for it any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[0].abort()


class AsyncioBackend(httpcore2.AsyncNetworkBackend):
    """Opens TCP connections by the running event loop."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Raises ConnectError, ConnectTimeout."""
        opening = asyncio.ensure_future(
            asyncio.get_running_loop().create_connection(
                AsyncioStream,
                host,
                port,
                local_addr=None if local_address is None else (local_address, 0),
                happy_eyeballs_delay=HAPPY_EYEBALLS_SECONDS,
            )
        )
        # asyncio loses a socket if it is cancelled in the moment in which this one is connected.
        try:
            async with asyncio.timeout(timeout):
                transport, stream = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_opened)
            raise
        except TimeoutError as error:
            opening.add_done_callback(_close_opened)
            raise httpcore2.ConnectTimeout from error
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        for option in socket_options or ():
            transport.get_extra_info("socket").setsockopt(*option)
        return stream

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
