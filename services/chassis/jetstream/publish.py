"""Publish a message into a stream and classify the answer: stored, rejected, or unavailable."""

import asyncio
import re
from collections.abc import Mapping
from typing import NamedTuple

from nats.aio.client import Client
from pydantic_core import from_json

from contracts.ids import StreamSeq
from services.chassis.jetstream.direct_get import REQUEST_SECONDS
from services.chassis.jetstream.errors import (
    MessageTooLargeError,
    NatsRejectedError,
    NatsUnavailableError,
    WrongLastSequenceError,
    is_temporary,
)
from services.chassis.jetstream.storage_health import StorageHealth, limit_reached
from services.chassis.nats.unavailable import NATS_UNAVAILABLE
from services.chassis.tracing.messages import with_traceparent

HEADER_BYTES = 4096
"""More than the headers of any message take: ids and subjects are bounded."""
PUBLISH_ACK_SECONDS = 2
PUBLISH_ATTEMPTS = 3
RETRY_SECONDS = 0.2
"""The pause after the first attempt; twice as long after the second."""

WRONG_LAST_SEQUENCE = 10071
"""JSStreamWrongLastSequenceErrF: another message was stored in the subject."""
_LAST_SEQUENCE = re.compile(r"wrong last sequence: (\d+)$")


class Stored(NamedTuple):
    """Where a message is in its stream; `is_duplicate` if the stream had its id already."""

    position: StreamSeq
    is_duplicate: bool


async def publish(
    nc: Client,
    storage: StorageHealth,
    subject: str,
    data: bytes,
    headers: Mapping[str, str] | None = None,
) -> Stored:
    """Store one message. The outcome is recorded in `storage`.

    Raises WrongLastSequenceError, NatsRejectedError, or NatsUnavailableError (NATS does not answer,
    or cannot store it now; where it did not answer, the message may have been stored).
    """
    stream = storage.stream_of(subject)
    if (stopped := storage.stopped_reason(stream)) is not None:
        raise NatsUnavailableError(f"publish to {subject}: NATS cannot store: {stopped}")
    limit = nc.max_payload - HEADER_BYTES
    if len(data) > limit:  # checked here: the server would close the connection
        raise MessageTooLargeError(subject, len(data), limit)
    try:
        reply = await nc.request(
            subject, data, timeout=REQUEST_SECONDS, headers=dict(headers or {})
        )
    except NATS_UNAVAILABLE as unavailable:
        if nc.is_connected:
            storage.record_unanswered(stream)
        raise NatsUnavailableError(f"publish to {subject}: NATS does not answer") from unavailable
    answer = from_json(reply.data)
    error = answer.get("error")
    if error is None:
        storage.record_stored(stream)
        return Stored(StreamSeq(answer["seq"]), bool(answer.get("duplicate")))
    if (limit_error := limit_reached(error)) is not None:
        storage.record_rejected(stream, limit_error)
        raise NatsUnavailableError(f"publish to {subject}: NATS cannot store: {limit_error}")
    why = f"{error.get('err_code')}: {error.get('description')}"
    match error:
        case {"err_code": code} if code == WRONG_LAST_SEQUENCE:
            raise WrongLastSequenceError(why, _last_sequence(error))
        case _ if is_temporary(error):
            raise NatsUnavailableError(f"publish to {subject}: {why}")
        case _:
            raise NatsRejectedError(f"publish to {subject}: {why}")


def _last_sequence(error: Mapping[str, object]) -> StreamSeq | None:
    """The position that the description of a WRONG_LAST_SEQUENCE error ends with."""
    found = _LAST_SEQUENCE.search(str(error.get("description")))
    return None if found is None else StreamSeq(int(found[1]))


class Publisher:
    """Publishes messages that have an id, which makes it safe to repeat an unanswered attempt."""

    def __init__(self, nc: Client, storage: StorageHealth) -> None:
        self._nc = nc
        self._storage = storage

    async def publish(
        self,
        subject: str,
        data: bytes,
        message_id: str,
        headers: Mapping[str, str] | None = None,
    ) -> Stored:
        """Store a message; the stream ignores an id that it has stored within its duplicate window.

        Then the position is that of the message that it has. Raises NatsRejectedError, or NatsUnavailableError after PUBLISH_ATTEMPTS.
        """
        all_headers = {**with_traceparent(headers), "Nats-Msg-Id": message_id}
        attempt = 1
        while True:
            try:
                return await publish(self._nc, self._storage, subject, data, all_headers)
            except NatsUnavailableError:
                if attempt == PUBLISH_ATTEMPTS:
                    raise
            await asyncio.sleep(RETRY_SECONDS * attempt)
            attempt += 1
