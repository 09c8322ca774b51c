"""The two forms of a log line: JSON Lines for machines, one aligned line each for a terminal."""

import json
import logging
from datetime import UTC, datetime

from services.chassis.secrets import process_redactor

_OWN = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}


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
