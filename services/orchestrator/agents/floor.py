"""Which tool calls of a response are still at work, and which wait for a person."""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any


class Floor:
    """Which tool calls of a response have yet to return, and which of those wait for a person."""

    def __init__(self) -> None:
        self._open: set[str] = set()
        self._waiting: set[str] = set()
        self._moved = asyncio.Event()

    def begin(self, calls: Iterable[str]) -> None:
        self._open = set(calls)
        self._waiting.clear()

    def end(self, call: str) -> None:
        self._open.discard(call)
        self.stir()

    def stir(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def moved(self) -> Coroutine[Any, Any, object]:
        """Waits for whatever moves from this moment on."""
        return self._moved.wait()

    @contextmanager
    def waiting(self, call: str) -> Iterator[None]:
        self._waiting.add(call)
        self.stir()
        try:
            yield
        finally:
            self._waiting.discard(call)

    @property
    def idle(self) -> bool:
        return self._open <= self._waiting
