"""Keep a message in DEAD_LETTERS, and work with what lies there: read, re-drive, drop."""

import logging
from collections.abc import AsyncIterator

from nats.aio.msg import Msg
from nats.errors import BadSubjectError
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import APIError, NotFoundError
from prometheus_client import CollectorRegistry, Counter

from contracts import subjects
from services.chassis.bus import ACK_SECONDS, Bus
from services.chassis.dead_letters.letter import (
    Letter,
    Original,
    encoded_size,
    from_headers,
    one_line,
    to_headers,
)
from services.chassis.direct_get import UnavailableError

log = logging.getLogger(__name__)

SPARE_BYTES = 512
"""Room in a letter for the headers that the client adds."""
REBUILD = "python -m services.persistence.rebuild"

_NO_MESSAGE = 10037  # JSNoMessageFoundErr; a stream that is absent is 10059


class UnknownLetterError(Exception):
    """There is no letter at this sequence."""

    def __init__(self, seq: int) -> None:
        super().__init__(
            f"{seq}: there is no such letter; it was re-driven or dropped, or never was"
        )


class NotRedrivableError(Exception):
    """A letter whose message cannot be put back; the message says what to do instead."""


def dead_letter_counter(registry: CollectorRegistry) -> Counter:
    """`mozaiks_dead_letters_total`, by service: what this process has put into DEAD_LETTERS."""
    return Counter(
        "mozaiks_dead_letters", "Messages given up and kept.", ["service"], registry=registry
    )


async def dead_letter(
    bus: Bus, service: str, message: Msg, reason: str, counter: Counter | None = None
) -> None:
    """Keep a message of a stream, as delivered, with the reason. The same message is kept once.

    Logged and counted where it was not there yet. Raises UnavailableError wherever it is not kept,
    whatever the cause: DEAD_LETTERS is away, full or deleted.
    """
    told = message.metadata
    original = Original(
        subject=message.subject,
        stream=told.stream,
        sequence=told.sequence.stream,
        tries=told.num_delivered or 1,
        headers={name: str(value) for name, value in (message.headers or {}).items()},
        size=len(message.data),
    )
    headers = to_headers(service, reason, original)
    room = bus.nc.max_payload - encoded_size(headers) - SPARE_BYTES
    # The stream is part of the id, and when it took the message: a stream made anew counts from 1.
    stored = int(told.timestamp.timestamp() * 1_000_000)
    headers["Nats-Msg-Id"] = f"{service}.{told.stream}.{told.sequence.stream}.{stored}"
    try:
        kept = await bus.js.publish(
            subjects.dead_letter(service, _legal(message.subject)),
            message.data[: max(room, 0)],
            timeout=ACK_SECONDS,
            stream=subjects.DEAD_LETTERS,
            headers=headers,
        )
    except (NatsError, OSError) as trouble:
        raise UnavailableError(f"dead letter of {message.subject}: {trouble!r}") from trouble
    if kept.duplicate:
        return
    if counter is not None:
        counter.labels(service).inc()
    log.error(
        "a message became a dead letter",
        extra={
            "subject": message.subject,
            "consumer": service,
            "stream": told.stream,
            "sequence": told.sequence.stream,
            "tries": original.tries,
            "letter": kept.seq,
            "why": one_line(reason),
        },
    )


def _legal(subject: str) -> str:
    """A subject that can be published to whatever was published to: itself where it is sound."""
    return ".".join(
        "".join(c if c.isascii() and (c.isalnum() or c in "-_=$") else "_" for c in token) or "_"
        for token in subject.split(".")
    )


async def letters(bus: Bus, service: str | None = None) -> AsyncIterator[Letter]:
    """Every letter, oldest first; of one service, or one of its consumers, where that is named.

    Makes no consumer and removes nothing. Raises nats errors, NotFoundError without the stream.
    """
    seq: int | None = 1
    while seq is not None:
        found = await _next(bus.js, seq)
        if found is None:
            return
        letter = _opened(found)
        if service is None or letter.service == service or letter.service.startswith(f"{service}-"):
            yield letter
        seq = letter.seq + 1


async def read_letter(bus: Bus, seq: int) -> Letter:
    """Raises UnknownLetterError, and nats errors."""
    if seq < 1:
        raise UnknownLetterError(seq)
    try:
        return _opened(await bus.js.get_msg(subjects.DEAD_LETTERS, seq))
    except NotFoundError as absent:
        if absent.err_code == _NO_MESSAGE:
            raise UnknownLetterError(seq) from absent
        raise


async def redrive(bus: Bus, letter: Letter) -> None:
    """Put a letter's message back where it came from, then drop the letter.

    Its id is derived from the letter: repeated within the stream's duplicate window (two minutes)
    it is stored once; later it may be stored twice, and is handled twice, which commands and
    lookups stand by their own ids. Raises NotRedrivableError, UnknownLetterError, nats errors.
    """
    original = letter.original
    if original.stream == subjects.EVENTS:
        raise NotRedrivableError(
            f"{letter.seq}: an event is not published again: it still is in {subjects.EVENTS} at "
            f"{original.sequence}; once the cause is gone, `{REBUILD}` folds it, then drop the letter"
        )
    if original.stream not in (subjects.COMMANDS, subjects.LOOKUPS):
        raise NotRedrivableError(
            f"{letter.seq}: stream {original.stream or 'unknown'!r} is no queue "
            f"(accepted: {subjects.COMMANDS}, {subjects.LOOKUPS})"
        )
    if not letter.whole:
        raise NotRedrivableError(
            f"{letter.seq}: holds {len(letter.data)} of {original.size} bytes, or not all headers"
        )
    await _put_back(bus, letter)
    await drop(bus, letter.seq)


async def _put_back(bus: Bus, letter: Letter) -> None:
    kept = int(letter.kept_at.timestamp() * 1_000_000)
    try:
        await bus.js.publish(
            letter.original.subject,
            letter.data,
            timeout=ACK_SECONDS,
            stream=letter.original.stream,
            headers={**letter.original.headers, "Nats-Msg-Id": f"redrive.{letter.seq}.{kept}"},
        )
    except APIError as refused:
        raise NotRedrivableError(f"{letter.seq}: {refused.description}") from refused
    except BadSubjectError as bad:
        raise NotRedrivableError(
            f"{letter.seq}: {letter.original.subject!r} cannot be published to"
        ) from bad


async def drop(bus: Bus, seq: int) -> None:
    """Remove a letter for good. Raises UnknownLetterError, and nats errors."""
    await read_letter(bus, seq)
    await bus.js.delete_msg(subjects.DEAD_LETTERS, seq)


async def _next(js: JetStreamContext, seq: int) -> RawStreamMsg | None:
    try:
        return await js.get_msg(
            subjects.DEAD_LETTERS, seq, subject=subjects.ALL_DEAD_LETTERS, next=True
        )
    except NotFoundError as absent:
        if absent.err_code == _NO_MESSAGE:
            return None
        raise


def _opened(found: RawStreamMsg) -> Letter:
    if found.seq is None or found.time is None:
        raise ValueError(f"{subjects.DEAD_LETTERS} tells a message without its place")
    return from_headers(
        found.seq, found.time, found.subject or "", found.headers or {}, found.data or b""
    )
