"""How long a tool may take, how often it is tried, and how many of its calls run side by side."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import Any

from services.orchestrator.agents.workbench import LeftBehind
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
        self.left_behind = LeftBehind()
        self._limits = limits
        slots = limits.max_concurrent
        self._slots: AbstractAsyncContextManager[Any] = (
            nullcontext() if slots is None else asyncio.Semaphore(slots)
        )

    @property
    def seconds(self) -> float:
        """What one run may take."""
        return self._limits.timeout_seconds

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
        self.left_behind.refuse_more()
        patience = Patience(self._limits.timeout_seconds)
        async with patience.limited():
            return await work(patience)
