"""Which tool calls of a response have not returned yet, and which of them wait for the user."""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any


class OpenCalls:
    """The tool calls of one response that have not returned yet."""

    def __init__(self) -> None:
        self._open: set[str] = set()
        self._waiting: set[str] = set()
        self._changed = asyncio.Event()

    def start(self, calls: Iterable[str]) -> None:
        self._open = set(calls)
        self._waiting.clear()

    def finish(self, call: str) -> None:
        self._open.discard(call)
        self.notify()

    def notify(self) -> None:
        """Wake everyone who waits for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    def changed(self) -> Coroutine[Any, Any, object]:
        """Waits for the next change after this call (not after it is awaited)."""
        return self._changed.wait()

    @contextmanager
    def waiting(self, call: str) -> Iterator[None]:
        """While a call waits for the user."""
        self._waiting.add(call)
        self.notify()
        try:
            yield
        finally:
            self._waiting.discard(call)

    @property
    def all_waiting(self) -> bool:
        return self._open <= self._waiting
