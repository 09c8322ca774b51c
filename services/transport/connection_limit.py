"""The limit of open sockets and streams, in total and per app."""

import contextlib
from collections import Counter
from collections.abc import Iterator

from contracts.ids import AppId
from services.transport.errors import limit_exceeded


class ConnectionLimiter:
    """Limits the open sockets and streams of this process, in total and per app."""

    def __init__(self, max_total: int, max_per_app: int) -> None:
        self.changes = 0
        self._max_total = max_total
        self._max_per_app = max_per_app
        self._open: Counter[AppId] = Counter()

    def __len__(self) -> int:
        return self._open.total()

    @contextlib.contextmanager
    def acquire(self, app: AppId) -> Iterator[None]:
        """Hold one connection of an app. Raises ApiError at a limit; 0 per app is no limit."""
        if len(self) >= self._max_total:
            raise limit_exceeded(
                "service",
                f"connection limit reached ({self._max_total} connections), try again later",
            )
        if self._open[app] >= self._max_per_app > 0:
            problem = f"connection limit reached ({self._max_per_app} connections of one app)"
            raise limit_exceeded("app_id", problem)
        self._open[app] += 1
        self.changes += 1
        try:
            yield
        finally:
            self._open[app] -= 1
            self.changes += 1
            if not self._open[app]:
                del self._open[app]
