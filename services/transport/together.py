"""Tasks that begin and end together."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from services.chassis.ending import end
from services.transport.signal import Signal


async def together(*halves: Coroutine[Any, Any, None]) -> None:
    """Run all until the first ends, end the others, and raise what went wrong."""
    tasks = [asyncio.create_task(half) for half in halves]
    ended = Signal()
    for task in tasks:
        task.add_done_callback(lambda _: ended.set())
    try:
        await ended.wait()
    finally:
        troubles = await end(*tasks)
    for trouble in troubles:
        if trouble is not None:
            raise trouble
