"""Log lines that machines and people can read: JSON Lines or one aligned line each."""

import json
import logging
import math
import sys
from datetime import UTC, datetime
from time import monotonic

REPEAT_SECONDS = 30.0
"""How long the same trouble is not said again."""

_OWN = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}

_CHATTY = (
    "httpx",
    "httpx2",
    "httpcore",
    "pymongo",
    "uvicorn.access",
    "uvicorn.error",  # tells the whole address of each socket, and with it what is in the query
    "websockets",
    "faststream",
)


def configure(service: str, level: str, *, as_json: bool) -> None:
    """Send every logger of the process to standard error in one form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service) if as_json else Lines(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)


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
        return json.dumps(line, default=str)


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
        return line


class Sparing:
    """Decides that the same line is said at most once in `seconds`; remembers no older ones."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._said: dict[str, tuple[float, int]] = {}

    def lets(self, line: str, now: float) -> int | None:
        """How often the line was held back since it was last said; none where it is held back now.

        `now` is a time in seconds.
        """
        at, silent = self._said.get(line, (-math.inf, 0))
        if now < at + self._seconds:
            self._said[line] = (at, silent + 1)
            return None
        until = now - 2 * self._seconds  # what was held back of a line is said with its next
        kept = {said: (at, n) for said, (at, n) in self._said.items() if at > until}
        self._said = {**kept, line: (now, 0)}
        return silent


class SparingLog:
    """Warns of the same trouble at most once in REPEAT_SECONDS, then says how often it was silent."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._sparing = Sparing(REPEAT_SECONDS)

    def warning(self, message: str, **extra: object) -> None:
        """What differs from time to time belongs into `extra`: lines are told apart by `message`."""
        silent = self._sparing.lets(message, monotonic())
        if silent is not None:
            told = {**extra, "not_repeated": silent} if silent else extra
            self._log.warning(message, extra=told)
