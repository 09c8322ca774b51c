"""HTTP/1.1 requests at the least cost to the client: its time must not count as the server's."""

import asyncio
import json
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from infra.ports import LOOPBACK

OK = 200


class HttpError(Exception):
    """The server refused a request; has its status and answer."""


class PlainHttp:
    """Posts JSON over kept connections, as many as there are requests at the same time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for _, writer in self._idle:
            writer.close()

    async def connect(self, count: int) -> None:
        """Have so many connections open."""
        self._forget_closed()
        missing = range(count - len(self._idle))
        self._idle += await asyncio.gather(*(self._open() for _ in missing))

    async def post(self, path: str, page: dict[str, Any]) -> Any:
        """The JSON of the answer. Raises HttpError where its status is not 200.

        A request is sent again where the server closed its connection at that moment: it has to be
        one that may be repeated.
        """
        body = json.dumps(page).encode()
        request = (
            f"POST {path} HTTP/1.1\r\nHost: {LOOPBACK}:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        self._forget_closed()
        while self._idle:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                return await self._send(path, request, *self._idle.pop())
        return await self._send(path, request, *await self._open())

    async def _send(
        self,
        path: str,
        request: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> Any:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        answer = await reader.readexactly(_content_length(head))
        self._idle.append((reader, writer))
        status = int(head.split(b" ", 2)[1])
        if status != OK:
            raise HttpError(f"{path}: {status} {answer.decode(errors='replace')}")
        return json.loads(answer)

    def _forget_closed(self) -> None:
        """The server closes connections that are idle for some seconds."""
        self._idle = [(reader, writer) for reader, writer in self._idle if not reader.at_eof()]

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(LOOPBACK, self._port)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise HttpError(f"an answer without a length: {head.decode(errors='replace')}")
