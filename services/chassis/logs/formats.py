"""The two forms of a log line: JSON Lines for machines, one aligned line each for people.

Whatever a user has written is part of one line: control characters are escaped in both forms. Secrets
are replaced in every value, and values of fields that are named like a secret as a whole.
"""

import json
import logging
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from services.chassis.logs.context import FIELDS, current_context
from services.chassis.secrets import REDACTED, is_secret_name, process_redactor

SHORT_ID_CHARACTERS = 8
"""So much of an id is shown to people; JSON Lines have the whole."""
CONTINUED = "    | "
"""Begins each further line of one message, which no message can write at the start of a line."""

_OWN = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
_SHORT = {
    "app": 24,
    "chat": SHORT_ID_CHARACTERS,
    "run": SHORT_ID_CHARACTERS,
    "trace": SHORT_ID_CHARACTERS,
}
_EMOJIS = {"DEBUG": "🔍", "INFO": "💬", "WARNING": "🔶", "ERROR": "🔴", "CRITICAL": "💥"}
_COLOURS = {
    "DEBUG": "\x1b[2m",
    "WARNING": "\x1b[33m",
    "ERROR": "\x1b[31m",
    "CRITICAL": "\x1b[1;31m",
}
_DIM, _RESET = "\x1b[2m", "\x1b[0m"
_ESCAPED_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Control and format characters, halves of surrogate pairs, separators of lines and paragraphs."""
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def extras(record: logging.LogRecord) -> dict[str, object]:
    """The fields of the line: its context, and what a call passed as `extra=`, which goes first."""
    passed = {key: value for key, value in record.__dict__.items() if key not in _OWN}
    context = {key: value for key, value in current_context().items() if key not in passed}
    ordered = {key: context[key] for key in FIELDS if key in context}
    return {**passed, **ordered}


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
        return json.dumps(_without_secrets(line))


class Lines(logging.Formatter):
    """Date, time, level, service, message and `key=value` extras; in colours on a terminal."""

    def __init__(self, service: str, *, colours: bool = False) -> None:
        super().__init__()
        self._service = service
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        level = record.levelname
        message = _one_line(process_redactor().without_any(record.getMessage()))
        pairs = "".join(f" {key}={value}" for key, value in _shown(extras(record)))
        head = f"{time} {_EMOJIS.get(level, ' ')} {level:<7} {self._service:<12}"
        line = f"{self._coloured(level, head)} {message}{self._dim(pairs)}"
        if not record.exc_info:
            return line
        trace = process_redactor().without_any(self.formatException(record.exc_info))
        return "\n".join([line, *(CONTINUED + _one_line(part) for part in trace.split("\n"))])

    def _coloured(self, level: str, text: str) -> str:
        colour = _COLOURS.get(level)
        return f"{colour}{text}{_RESET}" if self._colours and colour else text

    def _dim(self, text: str) -> str:
        return f"{_DIM}{text}{_RESET}" if self._colours and text else text


def _shown(fields: Mapping[str, object]) -> Iterable[tuple[str, str]]:
    for key, value in fields.items():
        text = REDACTED if is_secret_name(key) else process_redactor().without_any(str(value))
        limit = _SHORT.get(key, len(text))
        yield key, _one_line(text if len(text) <= limit + 1 else f"{text[:limit]}…")


def _one_line(text: str) -> str:
    """The text without characters that end a line, move the cursor, or change the direction of text."""
    if text.isprintable():
        return text
    return "".join(
        _escaped(char) if unicodedata.category(char) in _ESCAPED_CATEGORIES else char
        for char in text
    )


def _escaped(char: str) -> str:
    return _NAMED.get(char) or f"\\u{ord(char):04x}"


def _without_secrets(value: object) -> object:
    """A JSON value without secrets, before quotes and escapes hide them; objects become texts."""
    match value:
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {
                str(key): REDACTED if is_secret_name(str(key)) else _without_secrets(item)
                for key, item in value.items()
            }
        case list() | tuple():
            return [_without_secrets(item) for item in value]
        case _:
            return process_redactor().without_any(str(value))
