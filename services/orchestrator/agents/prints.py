"""What tools print becomes lines of the log that say whose they are, not noise between them."""

import io
import logging
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TextIO

log = logging.getLogger("workflows")

MAX_LINES = 100
"""Of one run of a tool; what it prints beyond them is dropped."""
LINE_LENGTH = 1000

_PRINTING: ContextVar["Printed | None"] = ContextVar("printing", default=None)


class Printed:
    """What one run of a tool prints, line by line; `whose` is told with each."""

    def __init__(self, whose: Mapping[str, object]) -> None:
        self._whose = dict(whose)
        self._rest = ""
        self._lines = 0

    def write(self, text: str) -> None:
        if self._lines > MAX_LINES:
            return
        *lines, rest = (self._rest + text).split("\n")
        self._rest = rest[:LINE_LENGTH]
        for line in lines:
            self._tell(line)

    def close(self) -> None:
        self._tell(self._rest)
        self._rest = ""

    def _tell(self, line: str) -> None:
        if not line.strip() or self._lines > MAX_LINES:
            return
        self._lines += 1
        told = (
            line[:LINE_LENGTH] if self._lines <= MAX_LINES else "[a tool prints more than is kept]"
        )
        token = _PRINTING.set(None)  # a handler that a tool added would come back here
        try:
            log.info("%s", told, extra=self._whose)
        finally:
            _PRINTING.reset(token)


@contextmanager
def printing(whose: Mapping[str, object]) -> Iterator[None]:
    """What is printed inside, in any thread or task begun inside, is this one's."""
    printed = Printed(whose)
    token = _PRINTING.set(printed)
    try:
        yield
    finally:
        _PRINTING.reset(token)
        printed.close()


class _Stream(io.TextIOBase):
    """A standard stream that knows who prints."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def buffer(self) -> object:
        return self._stream.buffer

    def write(self, text: str) -> int:
        printed = _PRINTING.get()
        if printed is None:
            return self._stream.write(text)
        printed.write(text)
        return len(text)

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()


@asynccontextmanager
async def prints_in_the_log() -> AsyncIterator[None]:
    """For the whole process: what a tool prints goes to the log, everything else where it went."""
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Stream(out), _Stream(err)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err
