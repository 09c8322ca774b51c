"""Lets a tool that runs in another thread or event loop call coroutines in the turn's loop."""

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from services.chassis.tasks import cancel_and_wait

T = TypeVar("T")


class CallAbandonedError(asyncio.CancelledError):
    """Nobody waits for this run of a tool any more, so what it asks for is not done."""


class LoopBridge:
    """Runs coroutines in the loop that it was created in; `close` cancels those still running."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running: set[asyncio.Task[Any]] = set()
        self.closed = False

    async def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of `work`, run in the turn's loop; cancelling the caller cancels the work."""
        if asyncio.get_running_loop() is self._loop:
            return await work()
        return await asyncio.wrap_future(self._submit(work))

    def call_blocking(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The same from a thread without a loop, which blocks until the result is there.

        Raises CallAbandonedError when the bridge is closed meanwhile, and RuntimeError when it is
        called in a running event loop.
        """
        if _has_running_loop():
            raise RuntimeError(
                "await it: this tool is async, and waiting here would block its loop"
            )
        try:
            return self._submit(work).result()
        except concurrent.futures.CancelledError as cancelled:
            raise CallAbandonedError from cancelled

    async def close(self) -> None:
        self.closed = True
        await cancel_and_wait(*self._running)

    def _submit(self, work: Callable[[], Coroutine[Any, Any, T]]) -> "concurrent.futures.Future[T]":
        if self.closed or self._loop.is_closed():
            raise CallAbandonedError
        return asyncio.run_coroutine_threadsafe(self._run(work), self._loop)

    async def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a coroutine of `run_coroutine_threadsafe` has one
        if self.closed:
            raise CallAbandonedError
        self._running.add(task)
        try:
            return await work()
        finally:
            self._running.discard(task)


def _has_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
