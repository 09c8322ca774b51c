"""Limits of a tool's calls: time, retries, and the number of calls at the same time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import Any

from services.orchestrator.agents.sandbox.thread_runner import AbandonedRuns
from services.orchestrator.workflows.spec import Limits

FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 30.0
_MAX_DOUBLINGS = 16


class ToolTimeLimitError(Exception):
    """A tool took longer than its manifest allows."""


class TimeBudget:
    """The time limit of one run of a tool; waiting for the user does not count."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout: asyncio.Timeout | None = None

    @asynccontextmanager
    async def enforced(self) -> AsyncIterator[None]:
        """Raises ToolTimeLimitError."""
        timeout = asyncio.timeout(self._seconds)
        try:
            async with timeout as self._timeout:
                yield
        except TimeoutError as error:
            if not timeout.expired():  # raised by the tool itself
                raise
            raise ToolTimeLimitError(f"took longer than {self._seconds:g} s") from error
        finally:
            self._timeout = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No time limit inside; afterwards the whole time is available again."""
        timeout = self._timeout
        if timeout is None:
            yield
            return
        timeout.reschedule(None)
        try:
            yield
        finally:
            timeout.reschedule(asyncio.get_running_loop().time() + self._seconds)


class CallLimiter:
    """Applies the limits of one tool to all its calls in this process."""

    def __init__(self, limits: Limits) -> None:
        self.abandoned_runs = AbandonedRuns()
        self._limits = limits
        slots = limits.max_concurrent
        self._slots: AbstractAsyncContextManager[Any] = (
            nullcontext() if slots is None else asyncio.Semaphore(slots)
        )

    @property
    def timeout_seconds(self) -> float:
        """How long one run may take."""
        return self._limits.timeout_seconds

    async def run(
        self,
        work: Callable[[TimeBudget], Awaitable[Any]],
        before_attempt: Callable[[], Awaitable[None]],
        may_retry: Callable[[Exception, bool], Awaitable[bool]],
    ) -> Any:
        """What the work returns; raises its last error, ToolTimeLimitError or ToolHangsError.

        `before_attempt` is awaited where the attempt is sure to begin after it, unless it raises.
        `may_retry` decides after an attempt that failed, with the error and whether the limits allow
        another one.
        """
        attempt = 0
        while True:
            try:
                return await self._attempt(work, before_attempt)
            except Exception as error:
                if not await may_retry(error, attempt < self._limits.retries):
                    raise
            delay = FIRST_BACKOFF_SECONDS * 2 ** min(attempt, _MAX_DOUBLINGS)
            await asyncio.sleep(min(delay, MAX_BACKOFF_SECONDS))
            attempt += 1

    async def _attempt(
        self,
        work: Callable[[TimeBudget], Awaitable[Any]],
        before_attempt: Callable[[], Awaitable[None]],
    ) -> Any:
        async with self._slots:
            self.abandoned_runs.check_capacity()
            await before_attempt()
            budget = TimeBudget(self._limits.timeout_seconds)
            async with budget.enforced():
                return await work(budget)
