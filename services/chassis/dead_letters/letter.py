"""The headers of a dead letter, and a summary of its payload without values."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote

from pydantic import ValidationError

from contracts.codec import describe

REASON = "Mozaiks-Reason"
SUBJECT = "Mozaiks-Subject"
STREAM = "Mozaiks-Stream"
SEQUENCE = "Mozaiks-Sequence"
SERVICE = "Mozaiks-Service"
DELIVERIES = "Mozaiks-Deliveries"
SIZE = "Mozaiks-Size"
HEADERS = "Mozaiks-Headers"

MAX_REASON = 500
MAX_HEADERS_BYTES = 16_384
"""More headers than that are not stored, and the letter counts as incomplete."""
MAX_FIELDS = 50
MAX_NAME = 64

_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")


@dataclass(frozen=True, slots=True)
class Original:
    """The original message; `deliveries` is how often it was delivered."""

    subject: str
    stream: str
    sequence: int
    deliveries: int
    headers: Mapping[str, str] = field(default_factory=dict)
    size: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter as DEAD_LETTERS stores it at `seq`."""

    seq: int
    stored_at: datetime
    service: str
    reason: str
    original: Original
    data: bytes
    is_complete: bool
    """Whether payload and headers are complete."""


def one_line(text: str) -> str:
    """Printable ASCII, at most MAX_REASON characters: for a header, a log and a terminal."""
    escaped = " ".join(text.split()).encode("ascii", "backslashreplace").decode()
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in escaped)[:MAX_REASON]


def reason_of(error: BaseException) -> str:
    """The error in one line; without the input of a validation error, which may be a user's text."""
    if isinstance(error, ValidationError):
        return f"{type(error).__name__}: {describe(error)}"
    return repr(error)


def to_headers(service: str, reason: str, original: Original) -> dict[str, str]:
    """The headers of a letter. The subject is percent-encoded where it is not printable ASCII."""
    kept = {name: value for name, value in original.headers.items() if not _is_for_server(name)}
    fields = {
        REASON: one_line(reason),
        SUBJECT: quote(original.subject, safe=_PRINTABLE),
        STREAM: original.stream,
        SEQUENCE: str(original.sequence),
        SERVICE: service,
        DELIVERIES: str(original.deliveries),
        SIZE: str(original.size),
    }
    written = json.dumps(kept)
    if len(written) > MAX_HEADERS_BYTES:
        return fields
    return {**fields, HEADERS: written}


def _is_for_server(name: str) -> bool:
    """Nats-Msg-Id, Nats-Schedule and the like: instructions to the server, carried out already."""
    return name.lower().startswith("nats-")


def encoded_size(headers: Mapping[str, str]) -> int:
    """Bytes of headers in NATS: the version line, `name: value` lines, an empty line."""
    return 14 + sum(len(f"{name}: {value}\r\n".encode()) for name, value in headers.items())


def from_headers(
    seq: int, stored_at: datetime, subject: str, headers: Mapping[str, str], data: bytes
) -> DeadLetter:
    """Decode a letter, also one that another program published: missing headers are empty."""
    given = {name: str(value) for name, value in headers.items()}
    try:
        kept = json.loads(given.get(HEADERS, ""))
    except ValueError:
        kept = None
    size = _number(given.get(SIZE, ""), len(data))
    return DeadLetter(
        seq=seq,
        stored_at=stored_at,
        service=given.get(SERVICE) or ".".join(subject.split(".")[2:3]),
        reason=one_line(given.get(REASON, "")),
        original=Original(
            subject=unquote(given.get(SUBJECT, "")),
            stream=given.get(STREAM, ""),
            sequence=_number(given.get(SEQUENCE, ""), 0),
            deliveries=_number(given.get(DELIVERIES, ""), 0),
            headers={str(k): str(v) for k, v in kept.items()} if isinstance(kept, dict) else {},
            size=size,
        ),
        data=data,
        is_complete=size == len(data) and isinstance(kept, dict),
    )


def _number(written: str, otherwise: int) -> int:
    return int(written) if written.isascii() and written.isdigit() else otherwise


def summary(data: bytes) -> dict[str, str]:
    """Name, type and size of each field of a payload, never a value, which may be secret.

    A payload that is not a JSON object is one entry without a name.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {"": f"not JSON, {len(data)} bytes"}
    if not isinstance(value, dict):
        return {"": _form(value)}
    shown = {
        one_line(name)[:MAX_NAME]: _form(inner) for name, inner in list(value.items())[:MAX_FIELDS]
    }
    if len(value) > MAX_FIELDS:
        shown[""] = f"and {len(value) - MAX_FIELDS} more fields"
    return shown


def _form(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return f"string, {len(value.encode(errors='replace'))} bytes"
        case list():
            return f"array, {len(value)} elements"
        case _:
            return f"object, {len(value)} fields"
