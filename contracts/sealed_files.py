"""Files in sealed parts, one a line: they are written and read without being in memory as a whole.

Each part is bound to its file and its number, and the last one says so: parts cannot be left out,
moved or cut off.
"""

import io
from collections.abc import AsyncIterator
from typing import IO

from contracts import encryption
from contracts.ids import ChatKey

PART_BYTES = 256 * 1024


class CutFileError(ValueError):
    """A sealed file without its end, or without the key of its chat."""


class SealedFile(io.RawIOBase):
    """Reads as the sealed form of a file. The key of its chat is loaded before."""

    def __init__(self, file: IO[bytes], scope: ChatKey, name: str) -> None:
        super().__init__()
        self._file, self._scope, self._name = file, scope, name
        self._next: bytes | None = file.read(PART_BYTES)
        self._number = 0
        self._buffer = b""

    def readable(self) -> bool:
        return True

    def readinto(self, target) -> int:  # type: ignore[no-untyped-def]
        """Fill a buffer; 0 at the end."""
        while not self._buffer and self._next is not None:
            part, self._next = self._next, self._file.read(PART_BYTES) or None
            place = _place(self._name, self._number, is_last=self._next is None)
            self._buffer = encryption.seal_bytes(self._scope, place, part) + b"\n"
            self._number += 1
        count = min(len(target), len(self._buffer))
        target[:count] = self._buffer[:count]
        self._buffer = self._buffer[count:]
        return count


async def opened_file(
    chunks: AsyncIterator[bytes], scope: ChatKey, name: str
) -> AsyncIterator[bytes]:
    """The parts of a file that may be sealed. Raises CutFileError, ValueError."""
    buffer, number, line = b"", 0, None
    is_sealed: bool | None = None
    async for chunk in chunks:
        buffer += chunk
        if is_sealed is None:
            if len(buffer) < len(encryption.MARK):
                continue
            is_sealed = buffer.startswith(encryption.MARK.encode())
        if not is_sealed:
            yield buffer
            buffer = b""
            continue
        *lines, buffer = buffer.split(b"\n")
        for one in lines:
            if line is not None:
                yield _opened(scope, _place(name, number, is_last=False), line)
                number += 1
            line = one
    if line is not None:
        yield _opened(scope, _place(name, number, is_last=True), line)
    elif buffer:
        yield buffer


def _opened(scope: ChatKey, place: str, line: bytes) -> bytes:
    part = encryption.open_bytes(scope, place, line)
    if part is None:
        raise CutFileError("the key of its chat is gone")
    return part


def _place(name: str, number: int, *, is_last: bool) -> str:
    return f"{name} {number}{' last' if is_last else ''}"
