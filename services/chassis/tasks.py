"""Cancel asyncio tasks and wait until they are done."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn

REPEAT_SECONDS = 0.5


async def cancel_and_wait(*tasks: asyncio.Task[Any]) -> list[BaseException | None]:
    """Cancel tasks and wait until they are done; returns what each raised, None where nothing.

    Cancels repeatedly: `asyncio.wait_for` of Python 3.11, in nats-py too, loses a cancellation
    that arrives together with its result.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=REPEAT_SECONDS)
    return [None if task.cancelled() else task.exception() for task in tasks]


async def repeat(
    work: Callable[[], Awaitable[object]], pause_seconds: float, log: logging.Logger
) -> NoReturn:
    """Do the work, and again after each pause. An error that nobody expected is logged and ends nothing."""
    task = asyncio.current_task()
    while True:
        try:
            await work()
        except Exception:
            log.exception("%s: failed, and is tried again", task and task.get_name())
        await asyncio.sleep(pause_seconds)


async def run_until_first_ends(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run coroutines side by side; once one ends, cancel the others. Raises what one of them raised."""
    finished = SingleWaiterEvent()
    tasks = [_start_task(coroutine, finished) for coroutine in coroutines]
    try:
        await finished.wait()
    finally:
        errors = [error for error in await cancel_and_wait(*tasks) if error is not None]
        # A raised error holds this frame. If the frame held the error in turn, by itself or by its
        # task, everything these tasks hold would stay in memory until the next full collection.
        tasks.clear()
    if errors:
        raise errors.pop(0)


def _start_task(
    coroutine: Coroutine[Any, Any, None], finished: "SingleWaiterEvent"
) -> asyncio.Task[None]:
    task = asyncio.create_task(coroutine)
    task.add_done_callback(lambda _: finished.set())
    return task


async def wait_for_event(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event is set within so many seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


class SingleWaiterEvent:
    """An `asyncio.Event` for one waiter, without the kilobyte that an Event and its queue take.

    A transport holds one or two for each of thousands of idle viewers.
    """

    __slots__ = ("_is_set", "_waiter")

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        self._is_set = False

    async def wait(self) -> None:
        """Return once the event is set. Only one task may wait at a time."""
        if self._is_set:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
