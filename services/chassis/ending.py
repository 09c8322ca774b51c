"""How a task that is owned comes to its end, for certain."""

import asyncio
from typing import Any

AGAIN_SECONDS = 0.5


async def end(*tasks: asyncio.Task[Any]) -> list[BaseException | None]:
    """Cancel tasks and wait until they are done; what each raised, none where nothing.

    Cancelled once is not enough: `asyncio.wait_for` of Python 3.11, in nats-py too, loses a
    cancellation that comes together with its result.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_SECONDS)
    return [None if task.cancelled() else task.exception() for task in tasks]
