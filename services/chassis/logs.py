"""Log lines that machines and people can read: JSON Lines or one aligned line each."""

import json
import logging
import sys
from datetime import UTC, datetime
from time import monotonic

EVERY_SECONDS = 60.0

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
    """Warns at most once in EVERY_SECONDS of the same trouble, then says how often it was silent."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._next: dict[str, float] = {}
        self._silent: dict[str, int] = {}

    def warning(self, message: str, **extra: object) -> None:
        """`message` is constant text: what is told apart by it is what is bounded."""
        now = monotonic()
        if now < self._next.get(message, 0.0):
            self._silent[message] = self._silent.get(message, 0) + 1
            return
        self._next[message] = now + EVERY_SECONDS
        self._log.warning(message, extra={**extra, "not_repeated": self._silent.pop(message, 0)})
