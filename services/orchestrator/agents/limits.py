"""How long a tool may take, how often it is tried, and how many of its calls run side by side."""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from functools import partial
from typing import Any

from services.orchestrator.workflows.spec import Limits

BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0


class ToolTimeLimitError(Exception):
    """A tool took longer than its manifest allows."""


class Patience:
    """The time limit of one run of a tool; waiting for a person does not count."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout: asyncio.Timeout | None = None

    @asynccontextmanager
    async def limited(self) -> AsyncIterator[None]:
        """Raises ToolTimeLimitError."""
        timeout = asyncio.timeout(self._seconds)
        try:
            async with timeout as self._timeout:
                yield
        except TimeoutError as late:
            if not timeout.expired():  # the tool's own
                raise
            raise ToolTimeLimitError(f"took longer than {self._seconds:g} s") from late
        finally:
            self._timeout = None

    @contextmanager
    def lifted(self) -> Iterator[None]:
        timeout = self._timeout
        if timeout is None:
            yield
            return
        timeout.reschedule(None)
        try:
            yield
        finally:
            timeout.reschedule(asyncio.get_running_loop().time() + self._seconds)


class Bounds:
    """The limits of one tool, for all its calls in this process."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        slots = limits.max_concurrent
        self._slots: AbstractAsyncContextManager[Any] = (
            nullcontext() if slots is None else asyncio.Semaphore(slots)
        )

    async def run(
        self,
        work: Callable[[Patience], Awaitable[Any]],
        begin_again: Callable[[], None],
        is_final: Callable[[], bool],
    ) -> Any:
        """What the work returns, tried again as often as the limits say; raises what it raised last.

        `begin_again` is called before each further try; `is_final` says that none would help.
        """
        async with self._slots:
            for attempt in range(self._limits.retries):
                try:
                    return await self._once(work)
                except Exception:
                    if is_final():
                        raise
                await asyncio.sleep(min(BACKOFF_SECONDS * 2**attempt, LONGEST_BACKOFF_SECONDS))
                begin_again()
            return await self._once(work)

    async def _once(self, work: Callable[[Patience], Awaitable[Any]]) -> Any:
        patience = Patience(self._limits.timeout_seconds)
        async with patience.limited():
            return await work(patience)


async def in_thread(work: Callable[[], Any]) -> Any:
    """What a blocking function returns; its thread is left behind when nobody waits any more.

    A thread of a pool would hold the process back at its end for as long as a tool hangs.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Any] = loop.create_future()

    def settle(settled: Callable[[Any], None], value: Any) -> None:
        if not outcome.done():
            settled(value)

    def run(context: contextvars.Context) -> None:
        told: Callable[[], None]
        try:
            told = partial(settle, outcome.set_result, context.run(work))
        except StopIteration as stopped:  # what no future takes
            told = partial(settle, outcome.set_exception, RuntimeError(repr(stopped)))
        except Exception as trouble:  # noqa: BLE001  carried to whoever waits
            told = partial(settle, outcome.set_exception, trouble)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(told)

    context = contextvars.copy_context()
    threading.Thread(target=run, args=(context,), name="tool", daemon=True).start()
    return await outcome
