"""Store a message in DEAD_LETTERS, and read, re-drive or drop dead letters."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from nats.aio.msg import Msg
from nats.errors import BadSubjectError
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import APIError, NotFoundError

from contracts import subjects
from contracts.event_streams import NAMES as EVENT_STREAMS
from services.chassis.dead_letters.letter import (
    DeadLetter,
    Original,
    encoded_size,
    from_headers,
    one_line,
    to_headers,
)
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.publish import PUBLISH_ACK_SECONDS
from services.chassis.secrets import process_redactor

log = logging.getLogger(__name__)

MOST_LISTED = 1000
"""Sequences that are looked through for a list."""
SPARE_BYTES = 512
"""Space in a letter for the headers that the client adds."""
REBUILD = "mozaiks rebuild"

_NO_MESSAGE = 10037  # JSNoMessageFoundErr; a stream that is absent is 10059


class DeadLetterNotFoundError(Exception):
    """There is no dead letter at this sequence."""

    def __init__(self, seq: int) -> None:
        super().__init__(
            f"{seq}: there is no such dead letter; it was re-driven, dropped or never stored"
        )


class NotRedrivableError(Exception):
    """The message of a dead letter cannot be published again; the error says what to do instead."""


async def dead_letter(
    gateway: JetStreamGateway,
    service: str,
    message: Msg,
    reason: str,
) -> None:
    """Store a message of a stream, as delivered, with the reason; a repeat is stored once.

    Logged and counted where it is new. Raises NatsUnavailableError if it is not stored, whatever the
    cause: DEAD_LETTERS is unavailable, full or deleted.
    """
    metadata = message.metadata
    original = Original(
        subject=message.subject,
        stream=metadata.stream,
        sequence=metadata.sequence.stream,
        deliveries=metadata.num_delivered or 1,
        headers={name: str(value) for name, value in (message.headers or {}).items()},
        size=len(message.data),
    )
    reason = process_redactor().without_any(reason)
    headers = to_headers(service, reason, original)
    limit = gateway.nc.max_payload - encoded_size(headers) - SPARE_BYTES
    # The id has stream and time of the message: a stream that is recreated counts from 1 again.
    stored = int(metadata.timestamp.timestamp() * 1_000_000)
    headers["Nats-Msg-Id"] = f"{service}.{metadata.stream}.{metadata.sequence.stream}.{stored}"
    try:
        kept = await gateway.js.publish(
            subjects.dead_letter(service, _valid_subject(message.subject)),
            message.data[: max(limit, 0)],
            timeout=PUBLISH_ACK_SECONDS,
            stream=subjects.DEAD_LETTERS,
            headers=headers,
        )
    except (NatsError, OSError) as error:
        raise NatsUnavailableError(f"dead letter of {message.subject}: {error!r}") from error
    if kept.duplicate:
        return
    gateway.metrics.dead_letters.labels(service).inc()
    log.error(
        "a message was dead-lettered",
        extra={
            "subject": message.subject,
            "consumer": service,
            "stream": metadata.stream,
            "sequence": metadata.sequence.stream,
            "deliveries": original.deliveries,
            "letter": kept.seq,
            "why": one_line(reason),
        },
    )


def _valid_subject(subject: str) -> str:
    """The subject with invalid characters replaced, so that it can be published to."""
    return ".".join(
        "".join(c if c.isascii() and (c.isalnum() or c in "-_=$") else "_" for c in token) or "_"
        for token in subject.split(".")
    )


async def list_letters(
    gateway: JetStreamGateway, service: str | None = None
) -> AsyncIterator[DeadLetter]:
    """Every dead letter, oldest first; of one service, or one of its consumers, if that is given.

    Creates no consumer and removes nothing. Raises nats errors, NotFoundError without the stream.
    """
    seq: int | None = 1
    while seq is not None:
        found = await _next(gateway.js, seq)
        if found is None:
            return
        letter = _letter_of(found)
        if service is None or letter.service == service or letter.service.startswith(f"{service}-"):
            yield letter
        seq = letter.seq + 1


async def newest_letters(
    gateway: JetStreamGateway,
    wanted: Callable[[DeadLetter], bool],
    limit: int,
    before: int | None = None,
) -> tuple[list[DeadLetter], int | None]:
    """At most `limit` wanted letters before a sequence, the newest first, and before which others may be.

    MOST_LISTED sequences are looked through: others may be where fewer are found, too. Raises nats
    errors, NotFoundError without the stream.
    """
    state = (await gateway.js.stream_info(subjects.DEAD_LETTERS)).state
    first, last = max(state.first_seq, 1), state.last_seq
    if before is not None:
        last = min(before - 1, last)
    end = max(first, last - MOST_LISTED + 1)
    found: list[DeadLetter] = []
    for seq in range(last, end - 1, -1):
        with suppress(DeadLetterNotFoundError):
            letter = await read_letter(gateway, seq)
            if wanted(letter) and len(found) == limit:
                return found, found[-1].seq
            if wanted(letter):
                found.append(letter)
    return found, end if end > first else None


async def read_letter(gateway: JetStreamGateway, seq: int) -> DeadLetter:
    """Raises DeadLetterNotFoundError, and nats errors."""
    if seq < 1:
        raise DeadLetterNotFoundError(seq)
    try:
        return _letter_of(await gateway.js.get_msg(subjects.DEAD_LETTERS, seq))
    except NotFoundError as absent:
        if absent.err_code == _NO_MESSAGE:
            raise DeadLetterNotFoundError(seq) from absent
        raise


async def redrive(gateway: JetStreamGateway, letter: DeadLetter) -> None:
    """Publish the message of a dead letter to its stream again, then drop the letter.

    Its id is derived from the letter: repeated within the stream's duplicate window (two minutes)
    it is stored once; later it may be stored and handled twice, which is safe for commands and
    lookups because of their own ids. Raises NotRedrivableError, DeadLetterNotFoundError, nats errors.
    """
    original = letter.original
    if original.stream in EVENT_STREAMS:
        raise NotRedrivableError(
            f"{letter.seq}: an event is not published again: it is still in {original.stream} at "
            f"{original.sequence}; once the cause is fixed, run `{REBUILD}`, then drop the letter"
        )
    if original.stream not in (subjects.COMMANDS, subjects.LOOKUPS):
        raise NotRedrivableError(
            f"{letter.seq}: stream {original.stream or 'unknown'!r} is not a queue "
            f"(accepted: {subjects.COMMANDS}, {subjects.LOOKUPS})"
        )
    if not letter.is_complete:
        raise NotRedrivableError(
            f"{letter.seq}: has {len(letter.data)} of {original.size} bytes, or not all headers"
        )
    await _publish_again(gateway, letter)
    await drop(gateway, letter.seq)


async def _publish_again(gateway: JetStreamGateway, letter: DeadLetter) -> None:
    kept = int(letter.stored_at.timestamp() * 1_000_000)
    try:
        await gateway.js.publish(
            letter.original.subject,
            letter.data,
            timeout=PUBLISH_ACK_SECONDS,
            stream=letter.original.stream,
            headers={**letter.original.headers, "Nats-Msg-Id": f"redrive.{letter.seq}.{kept}"},
        )
    except APIError as refused:
        raise NotRedrivableError(f"{letter.seq}: {refused.description}") from refused
    except BadSubjectError as bad:
        raise NotRedrivableError(
            f"{letter.seq}: {letter.original.subject!r} cannot be published to"
        ) from bad


async def drop(gateway: JetStreamGateway, seq: int) -> None:
    """Remove a dead letter for good. Raises DeadLetterNotFoundError, and nats errors."""
    await read_letter(gateway, seq)
    await gateway.js.delete_msg(subjects.DEAD_LETTERS, seq)


async def _next(js: JetStreamContext, seq: int) -> RawStreamMsg | None:
    try:
        return await js.get_msg(
            subjects.DEAD_LETTERS, seq, subject=subjects.ALL_DEAD_LETTERS, next=True
        )
    except NotFoundError as absent:
        if absent.err_code == _NO_MESSAGE:
            return None
        raise


def _letter_of(found: RawStreamMsg) -> DeadLetter:
    if found.seq is None or found.time is None:
        raise ValueError(f"{subjects.DEAD_LETTERS} returned a message without its sequence")
    return from_headers(
        found.seq, found.time, found.subject or "", found.headers or {}, found.data or b""
    )
