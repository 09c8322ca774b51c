"""The way back from a tool's thread to the loop of its turn, open for as long as its call is."""

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from services.chassis.ending import end

T = TypeVar("T")


class GivenUpError(asyncio.CancelledError):
    """Nobody waits for this run of a tool any more: what it still asks for is not done."""


class Crossing:
    """Made in the turn's loop; `close` ends what is still being done for the tool."""

    def __init__(self) -> None:
        self._home = asyncio.get_running_loop()
        self._doing: set[asyncio.Task[Any]] = set()
        self.closed = False

    async def over(self, deed: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do it in the turn's loop, whichever loop asks; cancelled here, it is cancelled there."""
        if asyncio.get_running_loop() is self._home:
            return await deed()
        return await asyncio.wrap_future(self._sent(deed))

    def wait(self, deed: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The same from a thread without a loop, which waits.

        Raises GivenUpError when the call ends meanwhile, and RuntimeError in an async function.
        """
        if _in_a_loop():
            raise RuntimeError(
                "await it: this tool is async, and waiting here would block its loop"
            )
        try:
            return self._sent(deed).result()
        except concurrent.futures.CancelledError as cancelled:
            raise GivenUpError from cancelled

    async def close(self) -> None:
        self.closed = True
        await end(*self._doing)

    def _sent(self, deed: Callable[[], Coroutine[Any, Any, T]]) -> "concurrent.futures.Future[T]":
        if self.closed or self._home.is_closed():
            raise GivenUpError
        return asyncio.run_coroutine_threadsafe(self._done(deed), self._home)

    async def _done(self, deed: Callable[[], Coroutine[Any, Any, T]]) -> T:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a coroutine of `run_coroutine_threadsafe` has one
        if self.closed:
            raise GivenUpError
        self._doing.add(task)
        try:
            return await deed()
        finally:
            self._doing.discard(task)


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
