"""What a dead letter says in its headers, and what may be shown of its payload."""

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
TRIES = "Mozaiks-Tries"
SIZE = "Mozaiks-Size"
HEADERS = "Mozaiks-Headers"

MAX_REASON = 500
MAX_HEADERS_BYTES = 16_384
"""More headers than that are not kept, and the letter counts as cut."""
MAX_FIELDS = 50
MAX_NAME = 64

_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")


@dataclass(frozen=True, slots=True)
class Original:
    """Where a message came from and what it was; `tries` is how often it was delivered."""

    subject: str
    stream: str
    sequence: int
    tries: int
    headers: Mapping[str, str] = field(default_factory=dict)
    size: int = 0


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as DEAD_LETTERS holds it at `seq`."""

    seq: int
    kept_at: datetime
    service: str
    reason: str
    original: Original
    data: bytes
    whole: bool
    """Whether payload and headers are all there."""


def one_line(text: str) -> str:
    """Printable ASCII, at most MAX_REASON characters: fit for a header, a log and a terminal."""
    escaped = " ".join(text.split()).encode("ascii", "backslashreplace").decode()
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in escaped)[:MAX_REASON]


def reason_of(trouble: BaseException) -> str:
    """The error in a line; what pydantic was given is left out, it may be a user's text."""
    if isinstance(trouble, ValidationError):
        return f"{type(trouble).__name__}: {describe(trouble)}"
    return repr(trouble)


def to_headers(service: str, reason: str, original: Original) -> dict[str, str]:
    """The headers of a letter. The subject is percent-encoded where it is not printable ASCII."""
    kept = {name: value for name, value in original.headers.items() if not _is_servers_own(name)}
    told = {
        REASON: one_line(reason),
        SUBJECT: quote(original.subject, safe=_PRINTABLE),
        STREAM: original.stream,
        SEQUENCE: str(original.sequence),
        SERVICE: service,
        TRIES: str(original.tries),
        SIZE: str(original.size),
    }
    written = json.dumps(kept)
    if len(written) > MAX_HEADERS_BYTES:
        return told
    return {**told, HEADERS: written}


def _is_servers_own(name: str) -> bool:
    """Nats-Msg-Id, Nats-Schedule and the like: orders to the server, done with."""
    return name.lower().startswith("nats-")


def encoded_size(headers: Mapping[str, str]) -> int:
    """Bytes that NATS counts for headers: the version line, `name: value` lines, an empty line."""
    return 14 + sum(len(f"{name}: {value}\r\n".encode()) for name, value in headers.items())


def from_headers(
    seq: int, kept_at: datetime, subject: str, headers: Mapping[str, str], data: bytes
) -> Letter:
    """Read a letter, also one that somebody else put there: what is not said is empty."""
    said = {name: str(value) for name, value in headers.items()}
    try:
        kept = json.loads(said.get(HEADERS, ""))
    except ValueError:
        kept = None
    size = _number(said.get(SIZE, ""), len(data))
    return Letter(
        seq=seq,
        kept_at=kept_at,
        service=said.get(SERVICE) or ".".join(subject.split(".")[2:3]),
        reason=one_line(said.get(REASON, "")),
        original=Original(
            subject=unquote(said.get(SUBJECT, "")),
            stream=said.get(STREAM, ""),
            sequence=_number(said.get(SEQUENCE, ""), 0),
            tries=_number(said.get(TRIES, ""), 0),
            headers={str(k): str(v) for k, v in kept.items()} if isinstance(kept, dict) else {},
            size=size,
        ),
        data=data,
        whole=size == len(data) and isinstance(kept, dict),
    )


def _number(written: str, otherwise: int) -> int:
    return int(written) if written.isascii() and written.isdigit() else otherwise


def summary(data: bytes) -> dict[str, str]:
    """Name, type and size of each field of a payload, never a value: it may hold secrets.

    What is no JSON object is one nameless entry.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {"": f"no JSON, {len(data)} bytes"}
    if not isinstance(value, dict):
        return {"": _form(value)}
    shown = {
        one_line(name)[:MAX_NAME]: _form(inner) for name, inner in list(value.items())[:MAX_FIELDS]
    }
    if len(value) > MAX_FIELDS:
        shown[""] = f"and {len(value) - MAX_FIELDS} fields more"
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
