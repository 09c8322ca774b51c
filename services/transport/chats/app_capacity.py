"""Limit of the chats of one app that run at a time, over all processes."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from contracts.ids import AppId
from services.chassis.jetstream.commands import CommandQueue
from services.transport.errors import limit_exceeded

RECOUNT_SECONDS = 1.0
"""How long a count of the queue is used, with the starts of this process added."""
EXACT_FROM = 0.25
"""Part of the limit from which the queue is counted before each start."""
MAX_APPS = 1024
"""Apps whose count is kept."""


@dataclass(slots=True)
class _Count:
    running: int
    counted_at: float


class AppCapacity:
    """Counts the command queue, seldom for an app that is far below the limit; 0 is no limit."""

    def __init__(self, commands: CommandQueue, limit: int, clock: Callable[[], float]) -> None:
        self._commands = commands
        self._limit = limit
        self._clock = clock
        self._counts: OrderedDict[AppId, _Count] = OrderedDict()

    async def require(self, app: AppId) -> None:
        """Raises ApiError where one more chat would exceed the limit, NatsUnavailableError."""
        if not self._limit:
            return
        count = self._recent(app) or await self._count(app)
        if count.running >= self._limit:
            raise limit_exceeded(
                "app_id", f"running chat limit reached ({self._limit} chats of one app)"
            )
        count.running += 1

    def _recent(self, app: AppId) -> _Count | None:
        count = self._counts.get(app)
        if count is None or count.running >= EXACT_FROM * self._limit:
            return None
        return count if self._clock() - count.counted_at < RECOUNT_SECONDS else None

    async def _count(self, app: AppId) -> _Count:
        count = _Count(await self._commands.count_open(app), self._clock())
        self._counts[app] = count
        self._counts.move_to_end(app)
        while len(self._counts) > MAX_APPS:
            self._counts.popitem(last=False)
        return count
