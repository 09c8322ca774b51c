"""Repeated warnings are logged once in a while, with the number of suppressed ones."""

import logging
import math
from time import monotonic

REPEAT_SECONDS = 30.0
"""How long the same warning is not logged again."""


class RepeatLimiter:
    """Decides that the same line is logged at most once in `seconds`; forgets older lines."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._logged: dict[str, tuple[float, int]] = {}

    def suppressed(self, line: str, now: float) -> int | None:
        """How often the line was suppressed since it was last logged; None: suppress it now.

        `now` is a time in seconds.
        """
        at, count = self._logged.get(line, (-math.inf, 0))
        if now < at + self._seconds:
            self._logged[line] = (at, count + 1)
            return None
        oldest = now - 2 * self._seconds  # a suppressed line is reported with its next one
        kept = {known: (at, n) for known, (at, n) in self._logged.items() if at > oldest}
        self._logged = {**kept, line: (now, 0)}
        return count


class RateLimitedLog:
    """Logs the same warning at most once in REPEAT_SECONDS, with the number of suppressed ones."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._limiter = RepeatLimiter(REPEAT_SECONDS)

    def warning(self, message: str, **extra: object) -> None:
        """Warnings are the same when `message` is: put what varies into `extra`."""
        count = self._limiter.suppressed(message, monotonic())
        if count is not None:
            fields = {**extra, "not_repeated": count} if count else extra
            self._log.warning(message, extra=fields)
