"""Progress of a tool call, as it is reported by the tool, at most ten times a second."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from services.chassis.tasks import cancel_and_wait

log = logging.getLogger(__name__)

MIN_INTERVAL_SECONDS = 0.1
"""Between two updates that are shown; of updates in between, only the newest is shown."""
MAX_MESSAGE_CHARS = 500


class ProgressUpdate(NamedTuple):
    percent: float | None
    message: str


Show = Callable[[ProgressUpdate], Awaitable[None]]


def parse_progress(percent: object, message: object) -> ProgressUpdate:
    """What a tool reports, validated. Raises ValueError, which names what is wrong."""
    if not isinstance(message, str):
        raise ValueError(f"message: must be a text, not {type(message).__name__}")  # noqa: TRY004
    match percent:
        case None:
            return ProgressUpdate(None, message[:MAX_MESSAGE_CHARS])
        case int() | float() if not isinstance(percent, bool) and 0 <= percent <= 100:
            return ProgressUpdate(float(percent), message[:MAX_MESSAGE_CHARS])
        case _:
            raise ValueError(f"percent: must be a number from 0 to 100, not {percent!r:.40}")


class ProgressReporter:
    """Shows the progress of one run of a tool; reporting does not delay the tool."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self._newest: ProgressUpdate | None = None
        self._showing: asyncio.Task[None] | None = None

    def report(self, update: ProgressUpdate) -> None:
        self._newest = update
        if self._showing is None or self._showing.done():
            self._showing = asyncio.create_task(self._show_all(), name="progress of a tool")

    async def close(self) -> None:
        """Shows the newest update if it was not shown yet; an error is logged, not raised."""
        if self._showing is None:
            return
        errors = await cancel_and_wait(self._showing)
        try:
            await self._show_newest()
        except Exception as last:  # noqa: BLE001  a tool does not fail because of its progress
            errors.append(last)
        for error in errors:
            if error is not None:
                log.warning("progress of a tool was not shown", extra={"error": repr(error)})

    async def _show_all(self) -> None:
        while self._newest is not None:
            await self._show_newest()
            await asyncio.sleep(MIN_INTERVAL_SECONDS)

    async def _show_newest(self) -> None:
        newest, self._newest = self._newest, None
        if newest is not None:
            await self._show(newest)
