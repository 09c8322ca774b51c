"""What a test and a tool tell each other, which run in loops of their own."""

import asyncio
import concurrent.futures
from typing import Any


class Signal:
    """Something that happens once; set and awaited in any thread."""

    def __init__(self) -> None:
        self._set: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._set.set_running_or_notify_cancel()  # whoever stops waiting unsets it for nobody

    def set(self) -> None:
        if not self._set.done():
            self._set.set_result(None)

    async def wait(self) -> None:
        await asyncio.wrap_future(self._set)

    def block(self, *_: Any) -> None:
        """Wait without a loop, or hold a loop up."""
        self._set.result()
