"""The events of a chat in a file: one envelope a line, as the log stores them, from the first on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from contracts import event_log
from contracts.codec import Fact, UnreadableMessageError
from contracts.event_log import EMPTY, StoredEvent
from contracts.events.turn import ToolReturned

VALUES = "values"
"""The folder beside the file that has large values, each in a file named by its digest."""


class LogFileError(ValueError):
    """The file is no complete log of a chat; the message names the line and the field."""


@dataclass(frozen=True, slots=True)
class RecordedLog:
    """All events of a chat with their whole values, and the values that tools' results refer to."""

    facts: Sequence[Fact]
    values: Mapping[str, bytes] = field(default_factory=dict)


def result_values(facts: Iterable[Fact]) -> list[str]:
    """The digests of the values that tools' results refer to."""
    return [
        part.whole.digest
        for fact in facts
        if isinstance(fact.event, ToolReturned)
        for part in fact.event.parts
        if part.whole is not None
    ]


def read_log_file(path: Path) -> RecordedLog:
    """Raises LogFileError.

    The lines are the canonical bytes of the events: each has the digest of the one before it.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise LogFileError(f"{path}: {error.strerror}") from error

    def value(digest: str) -> bytes:
        return _value(path.parent / VALUES / digest)

    facts = facts_of_lines(lines, value)
    try:
        return RecordedLog(facts, {one: value(one) for one in result_values(facts)})
    except (LookupError, ValueError) as missing:
        raise LogFileError(str(missing)) from missing


def facts_of_lines(lines: list[bytes], value: Callable[[str], bytes]) -> list[Fact]:
    """The same from lines; `value` gives a large value by its digest. Raises LogFileError."""
    facts: list[Fact] = []
    head = EMPTY
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        stored = _stored(number, line)
        envelope = stored.envelope
        if envelope.seq != head.seq + 1:
            raise LogFileError(
                f"line {number}: seq: {envelope.seq} where {head.seq + 1} comes next"
            )
        if (envelope.previous or "") != head.digest:
            raise LogFileError(
                f"line {number}: previous: is not the digest of the line before it; the lines must be "
                "the events as they were stored, byte by byte"
            )
        if facts and envelope.chat_id != facts[0].envelope.chat_id:
            raise LogFileError(f"line {number}: chat_id: another chat's than that of line 1")
        head = stored.head
        fact = _whole(number, stored, value).fact
        if fact is not None:
            facts.append(fact)
    if not facts:
        raise LogFileError("line 1: there is no event")
    return facts


def _stored(number: int, line: bytes) -> StoredEvent:
    try:
        return event_log.read_event(line)
    except UnreadableMessageError as broken:
        raise LogFileError(f"line {number}: {broken}") from broken


def _whole(number: int, stored: StoredEvent, value: Callable[[str], bytes]) -> StoredEvent:
    if not stored.envelope.values:
        return stored
    try:
        found = {one.digest: value(one.digest) for one in stored.envelope.values}
        return stored.with_values(found)
    except (LookupError, ValueError) as unfit:
        raise LogFileError(f"line {number}: values: {unfit}") from unfit


def _value(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as missing:
        raise LookupError(f"there is no file {path}") from missing
    if sha256(data).hexdigest() != path.name:
        raise ValueError(f"{path}: its bytes have another digest")
    return data
