"""A multipart form as it comes in: a few short texts, and one file that goes to disk."""

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

from services.transport.refusals import limit_reached, malformed, too_large

PARTS = 16
TEXT_BYTES = 4096
"""Of one part that is no file."""
ARRIVAL_SECONDS = 600.0
"""How long a form may take to come in."""
FILE = "file"
"""The part that is the file."""


@dataclass(slots=True)
class Uploaded:
    """A file, whole and at its beginning."""

    filename: str
    file: IO[bytes]
    size: int
    digest: str


@asynccontextmanager
async def arriving(
    request: Request[Any, Any, Any], most: int
) -> AsyncIterator[dict[str, str | Uploaded]]:
    """The parts of a form by their names; the file is gone when this ends. Raises RefusalError."""
    with tempfile.TemporaryFile() as file:
        parts = _Parts(file, most)
        try:
            async with asyncio.timeout(ARRIVAL_SECONDS):
                await _read(request, parts)
        except TimeoutError:
            raise limit_reached("body", f"took longer than {ARRIVAL_SECONDS:g} s") from None
        except (MultipartError, UnicodeError) as broken:
            raise malformed("body", f"is no multipart form: {broken}") from broken
        yield parts.named


async def _read(request: Request[Any, Any, Any], parts: "_Parts") -> None:
    kind, options = request.content_type
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise malformed("content-type", "must be multipart/form-data, with its boundary")
    with PushMultipartParser(options["boundary"], max_segment_count=PARTS) as parser:
        async for chunk in request.stream():
            for event in parser.parse(chunk) if chunk else ():
                await parts.take(event)


class _Parts:
    """Puts together what the parser tells, one part after the other."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self.named: dict[str, str | Uploaded] = {}
        self._file = file
        self._most = most
        self._digest = sha256()
        self._part: MultipartSegment | None = None
        self._text = bytearray()
        self._size = 0

    async def take(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        if isinstance(event, MultipartSegment):
            self._begin(event)
        elif event is not None:
            await self._add(event)
        else:
            await self._end()

    def _begin(self, part: MultipartSegment) -> None:
        if part.name in self.named:
            raise malformed(part.name, "is there twice")
        self._part, self._text, self._size = part, bytearray(), 0

    async def _add(self, piece: bytes | bytearray) -> None:
        self._size += len(piece)
        most = self._most if self._is_file else TEXT_BYTES
        if self._size > most:
            raise too_large(self._name, most)
        if self._is_file:
            self._digest.update(piece)
            await asyncio.to_thread(self._file.write, piece)
        else:
            self._text += piece

    async def _end(self) -> None:
        if not self._is_file:
            self.named[self._name] = self._text.decode()
            return
        await asyncio.to_thread(self._file.seek, 0)
        name = (self._part and self._part.filename) or ""
        self.named[FILE] = Uploaded(name, self._file, self._size, self._digest.hexdigest())

    @property
    def _name(self) -> str:
        return (self._part and self._part.name) or ""

    @property
    def _is_file(self) -> bool:
        return self._part is not None and self._part.name == FILE and bool(self._part.filename)
