"""Returns free memory to the operating system after many viewers connected or disconnected."""

import asyncio
import ctypes
import gc
from collections.abc import Callable
from typing import Protocol

POLL_SECONDS = 2.0
MIN_CHANGES = 50
"""Connects and disconnects after which a trim is due: what fewer of them free is reused."""
MAX_RECENT_CHANGES = 5
"""A trim waits while more connects and disconnects happen between two polls: memory is needed then."""
MAX_VIEWERS_TO_COLLECT = 50
"""With more viewers a full garbage collection would delay them noticeably."""


class Traffic(Protocol):
    """The viewers of this process: `len()` is how many there are, `changes` counts connects and disconnects."""

    changes: int

    def __len__(self) -> int: ...


async def trim_when_quiet(traffic: Traffic, trim: Callable[[], object]) -> None:
    """Trim after each wave of connects and disconnects, until cancelled."""
    trimmed_at = previous = traffic.changes
    while True:
        await asyncio.sleep(POLL_SECONDS)
        now = traffic.changes
        if is_due(trimmed_at, previous, now):
            _trim(len(traffic), trim)
            trimmed_at = now
        previous = now


def is_due(trimmed_at: int, previous: int, now: int) -> bool:
    """Whether enough has changed since the last trim, and little since the last poll."""
    return now - trimmed_at >= MIN_CHANGES and now - previous <= MAX_RECENT_CHANGES


def _trim(viewers: int, trim: Callable[[], object]) -> None:
    if viewers <= MAX_VIEWERS_TO_COLLECT:
        gc.collect()
    trim()


def find_trim() -> Callable[[], object]:
    """glibc's malloc_trim(0), which returns every page without a live block to the operating system.

    That concerns blocks above 512 bytes (pages of the log, frames, socket buffers); Python keeps
    smaller ones in its own arenas and frees empty arenas itself. On systems whose C library has no
    such function (musl, macOS, Windows) the result does nothing.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return lambda: None
    trim.argtypes = [ctypes.c_size_t]
    return lambda: trim(0)
