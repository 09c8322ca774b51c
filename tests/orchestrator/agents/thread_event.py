"""An event that a test and a tool share although they run in different event loops."""

import asyncio
import concurrent.futures
from typing import Any


class ThreadEvent:
    """Set once; can be set and awaited in any thread."""

    def __init__(self) -> None:
        self._set: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._set.set_running_or_notify_cancel()  # so that no waiter cancels it

    def set(self) -> None:
        if not self._set.done():
            self._set.set_result(None)

    async def wait(self) -> None:
        await asyncio.wrap_future(self._set)

    def block(self, *_: Any) -> None:
        """Wait without a loop, or block the running one."""
        self._set.result()
