"""Tasks that begin and end together."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from services.chassis.ending import end
from services.transport.signal import Signal


async def together(*halves: Coroutine[Any, Any, None]) -> None:
    """Run all until the first ends, end the others, and raise what went wrong."""
    ended = Signal()
    tasks = [_begun(half, ended) for half in halves]
    try:
        await ended.wait()
    finally:
        raised = [trouble for trouble in await end(*tasks) if trouble is not None]
        # A raised error holds this frame. If the frame held the error in turn, by itself or by its
        # task, all that the viewer had would stay in memory until the next full collection.
        tasks.clear()
    if raised:
        raise raised.pop(0)


def _begun(half: Coroutine[Any, Any, None], ended: Signal) -> asyncio.Task[None]:
    task = asyncio.create_task(half)
    task.add_done_callback(lambda _: ended.set())
    return task
