"""Turns what tools write to stdout and stderr into log records with the ids of their call."""

import io
import logging
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TextIO

log = logging.getLogger("workflows")

MAX_LINES = 100
"""Lines that one run of a tool may log; further lines are dropped."""
MAX_LINE_CHARS = 1000

_CURRENT_OUTPUT: ContextVar["CapturedOutput | None"] = ContextVar("captured_output", default=None)


class CapturedOutput:
    """The output of one run of a tool, logged line by line with `log_fields` as extra fields."""

    def __init__(self, log_fields: Mapping[str, object]) -> None:
        self._log_fields = dict(log_fields)
        self._incomplete_line = ""
        self._lines = 0

    def write(self, text: str) -> None:
        if self._lines > MAX_LINES:
            return
        *lines, rest = (self._incomplete_line + text).split("\n")
        self._incomplete_line = rest[:MAX_LINE_CHARS]
        for line in lines:
            self._log(line)

    def close(self) -> None:
        self._log(self._incomplete_line)
        self._incomplete_line = ""

    def _log(self, line: str) -> None:
        if not line.strip() or self._lines > MAX_LINES:
            return
        self._lines += 1
        message = (
            line[:MAX_LINE_CHARS]
            if self._lines <= MAX_LINES
            else f"[further output of this tool is dropped after {MAX_LINES} lines]"
        )
        # Not captured while it is logged: a log handler that a tool added may print as well.
        token = _CURRENT_OUTPUT.set(None)
        try:
            log.info("%s", message, extra=self._log_fields)
        finally:
            _CURRENT_OUTPUT.reset(token)


@contextmanager
def capture_output(log_fields: Mapping[str, object]) -> Iterator[None]:
    """Log what is printed inside, also by threads and tasks that are started inside."""
    output = CapturedOutput(log_fields)
    token = _CURRENT_OUTPUT.set(output)
    try:
        yield
    finally:
        _CURRENT_OUTPUT.reset(token)
        output.close()


class _RoutedStream(io.TextIOBase):
    """A standard stream whose text goes to the captured output of the context, where there is one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def buffer(self) -> object:
        return self._stream.buffer

    def write(self, text: str) -> int:
        output = _CURRENT_OUTPUT.get()
        if output is None:
            return self._stream.write(text)
        output.write(text)
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
async def tool_output_to_log() -> AsyncIterator[None]:
    """For the whole process: log what tools print; other output goes where it went before."""
    stdout, stderr = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _RoutedStream(stdout), _RoutedStream(stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = stdout, stderr
