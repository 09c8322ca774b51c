"""How far a tool call is, shown as it says so, but no more often than a person could see."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from services.chassis.ending import end

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.1
"""Between two steps that are shown; of those that come faster, the newest is."""
MESSAGE_LENGTH = 500


class Step(NamedTuple):
    percent: float | None
    message: str


Show = Callable[[Step], Awaitable[None]]


def step(percent: object, message: object) -> Step:
    """What a tool says, once it has been looked at. Raises ValueError, naming what is wrong."""
    if not isinstance(message, str):
        raise ValueError(f"message: must be a text, not {type(message).__name__}")  # noqa: TRY004
    match percent:
        case None:
            return Step(None, message[:MESSAGE_LENGTH])
        case int() | float() if not isinstance(percent, bool) and 0 <= percent <= 100:
            return Step(float(percent), message[:MESSAGE_LENGTH])
        case _:
            raise ValueError(f"percent: must be a number from 0 to 100, not {percent!r:.40}")


class Progress:
    """Of one run of a tool; telling it costs the tool no time."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self._newest: Step | None = None
        self._showing: asyncio.Task[None] | None = None

    def tell(self, newest: Step) -> None:
        self._newest = newest
        if self._showing is None or self._showing.done():
            self._showing = asyncio.create_task(self._show_all(), name="progress of a tool")

    async def close(self) -> None:
        """Shows the last step where that is still to be done; one that cannot be shown is no fault."""
        if self._showing is None:
            return
        troubles = await end(self._showing)
        try:
            await self._show_newest()
        except Exception as last:  # noqa: BLE001  a tool that works is not failed for its bar
            troubles.append(last)
        for trouble in troubles:
            if trouble is not None:
                log.warning("progress of a tool was not shown", extra={"why": repr(trouble)})

    async def _show_all(self) -> None:
        while self._newest is not None:
            await self._show_newest()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _show_newest(self) -> None:
        newest, self._newest = self._newest, None
        if newest is not None:
            await self._show(newest)
