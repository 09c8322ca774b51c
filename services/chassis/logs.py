"""Logging: JSON Lines for machines, or one aligned line each for a terminal; repeats are limited."""

import json
import logging
import math
import sys
from datetime import UTC, datetime
from time import monotonic

from services.chassis.secrets import process_redactor

REPEAT_SECONDS = 30.0
"""How long the same warning is not logged again."""

_OWN = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}

_VERBOSE = (
    "httpx",
    "httpx2",
    "httpcore",
    "pymongo",
    "uvicorn.access",
    "uvicorn.error",  # logs the whole URL of each socket, with its query string
    "websockets",
    "faststream",
)


def configure(service: str, level: str, *, as_json: bool) -> None:
    """Send every logger of the process to standard error in one form, without secrets."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service) if as_json else Lines(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for verbose in _VERBOSE:
        logging.getLogger(verbose).setLevel(logging.WARNING)


def extras(record: logging.LogRecord) -> dict[str, object]:
    """The fields that a call passed as `extra=`."""
    return {key: value for key, value in record.__dict__.items() if key not in _OWN}


class JsonLines(logging.Formatter):
    """One JSON object a line: ts, level, service, logger, msg, the extras, and the exception."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "msg": record.getMessage(),
            **extras(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return process_redactor().without_any(json.dumps(line, default=str))


class Lines(logging.Formatter):
    """Time, level, service, message and `key=value` extras, for a terminal."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        pairs = "".join(f" {key}={value}" for key, value in extras(record).items())
        line = f"{time} {record.levelname:<7} {self._service:<12} {record.getMessage()}{pairs}"
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return process_redactor().without_any(line)


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
