"""Multipart form parser: reads a request as a stream, a few short texts and one file, which goes to disk."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import IO, Any

from litestar import Request
from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
)

from services.transport.errors import bad_request, limit_exceeded, too_large

MAX_PARTS = 16
MAX_TEXT_BYTES = 4096
"""Limit of a part that is not the file."""
RECEIVE_TIMEOUT_SECONDS = 600.0
"""How long receiving a form may take."""
GRACE_SECONDS = 15.0
MIN_BYTES_PER_SECOND = 8192
"""The average rate of a form after its first seconds: a slow client holds one of few uploads."""
FILE = "file"
"""The name of the part that is the file."""


@dataclass(slots=True)
class UploadedFile:
    """A file that was received completely, positioned at its start."""

    filename: str
    file: IO[bytes]
    size: int
    digest: str


@asynccontextmanager
async def receive_form(
    request: Request[Any, Any, Any], max_bytes: int
) -> AsyncIterator[dict[str, str | UploadedFile]]:
    """The parts of a form by name; the file is deleted when the context ends. Raises ApiError."""
    with tempfile.TemporaryFile() as file:
        parts = _FormParts(file, max_bytes)
        try:
            async with asyncio.timeout(GRACE_SECONDS) as limit:
                await _read(request, parts, limit)
        except TimeoutError:
            raise limit_exceeded(
                "body",
                f"was received too slowly: at least {MIN_BYTES_PER_SECOND} bytes a second are needed,"
                f" and {RECEIVE_TIMEOUT_SECONDS:g} seconds are allowed",
            ) from None
        except (MultipartError, UnicodeError) as error:
            raise bad_request("body", f"is not a multipart form: {error}") from error
        yield parts.by_name


def receive_seconds(received: int) -> float:
    """How long a form may take until the next of its bytes, of which so many were received."""
    return min(GRACE_SECONDS + received / MIN_BYTES_PER_SECOND, RECEIVE_TIMEOUT_SECONDS)


async def _read(
    request: Request[Any, Any, Any], parts: "_FormParts", limit: asyncio.Timeout
) -> None:
    media_type, options = request.content_type
    if media_type != "multipart/form-data" or not options.get("boundary"):
        raise bad_request("content-type", "must be multipart/form-data, with its boundary")
    began, received = asyncio.get_running_loop().time(), 0
    with PushMultipartParser(options["boundary"], max_segment_count=MAX_PARTS) as parser:
        async for chunk in request.stream():
            received += len(chunk)
            limit.reschedule(began + receive_seconds(received))
            for event in parser.parse(chunk) if chunk else ():
                await parts.add_event(event)


class _FormParts:
    """Assembles the parts from the events of the parser."""

    def __init__(self, file: IO[bytes], max_bytes: int) -> None:
        self.by_name: dict[str, str | UploadedFile] = {}
        self._file = file
        self._max_bytes = max_bytes
        self._digest = sha256()
        self._part: MultipartSegment | None = None
        self._text = bytearray()
        self._size = 0

    async def add_event(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        if isinstance(event, MultipartSegment):
            self._begin(event)
        elif event is not None:
            await self._append(event)
        else:
            await self._end()

    def _begin(self, part: MultipartSegment) -> None:
        if part.name in self.by_name and (part.name == FILE or part.filename):
            raise bad_request(part.name, "is given twice")
        self._part, self._text, self._size = part, bytearray(), 0

    async def _append(self, chunk: bytes | bytearray) -> None:
        self._size += len(chunk)
        max_bytes = self._max_bytes if self._is_file else MAX_TEXT_BYTES
        if self._size > max_bytes:
            raise too_large(self._name, max_bytes)
        if self._is_file:
            self._digest.update(chunk)
            await asyncio.to_thread(self._file.write, chunk)
        else:
            self._text += chunk

    async def _end(self) -> None:
        if not self._is_file:
            text = self._text.decode()
            if self.by_name.setdefault(self._name, text) != text:  # ChatUI's form has `appId` twice
                raise bad_request(self._name, "is given twice, with different values")
            return
        await asyncio.to_thread(self._file.seek, 0)
        name = (self._part and self._part.filename) or ""
        self.by_name[FILE] = UploadedFile(name, self._file, self._size, self._digest.hexdigest())

    @property
    def _name(self) -> str:
        return (self._part and self._part.name) or ""

    @property
    def _is_file(self) -> bool:
        return self._part is not None and self._part.name == FILE and bool(self._part.filename)
