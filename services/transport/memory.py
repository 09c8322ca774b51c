"""Memory goes back to the system once many viewers have come or gone."""

import asyncio
import ctypes
import gc
from collections.abc import Callable
from typing import Protocol

LOOK_SECONDS = 2.0
CHANGES = 50
"""Viewers who came or left before anything is done: what fewer of them leave behind is reused."""
CALM = 5
"""No more than so many came or left since the last look: in a storm all of it is needed again."""
FEW = 50
"""So many viewers or fewer: collecting their cycles takes no time that anybody would notice."""


class Traffic(Protocol):
    """Viewers of this process: how many are here, and how many ever came or left."""

    changes: int

    def __len__(self) -> int: ...


async def give_back_when_calm(traffic: Traffic, trim: Callable[[], object]) -> None:
    """Collect and trim after each storm of viewers, until cancelled."""
    done = before = traffic.changes
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = traffic.changes
        if is_due(done, before, now):
            _give_back(len(traffic), trim)
            done = now
        before = now


def is_due(done: int, before: int, now: int) -> bool:
    """Whether enough has changed since memory was given back, and little since the last look."""
    return now - done >= CHANGES and now - before <= CALM


def _give_back(viewers: int, trim: Callable[[], object]) -> None:
    if viewers <= FEW:
        gc.collect()
    trim()


def find_trim() -> Callable[[], object]:
    """glibc's malloc_trim(0): every page without a live block goes back to the system.

    That is what lay in blocks above 512 bytes: pages of the log, frames, buffers of sockets; Python
    keeps smaller ones in arenas of its own and gives back those that are empty. Does nothing on
    systems whose C library has no such function (musl, macOS, Windows).
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return lambda: None
    trim.argtypes = [ctypes.c_size_t]
    return lambda: trim(0)
