"""Publish into a stream and read its answer: what is stored, what is refused, what may succeed later."""

import json
from collections.abc import Mapping

from nats.aio.client import Client

from contracts.ids import StreamSeq
from services.chassis.away import NATS_AWAY
from services.chassis.direct_get import REQUEST_SECONDS, RefusedError, UnavailableError
from services.chassis.storage import Storage, limit_reached, stream_of

HEADER_BYTES = 4096
"""More than the headers of any message come to: ids and subjects are bounded."""

WRONG_LAST_SEQUENCE = 10071
"""JSStreamWrongLastSequenceErrF: the subject has moved on."""
_FOR_NOW = (
    10008,  # JSClusterNotAvailErr
    10118,  # JSStreamOfflineErr
    10158,  # JSStreamDuplicateMessageConflict: the message itself is on its way
    10164,  # JSStreamWrongLastSequenceConstantErr: another message for the subject is on its way
)


class MovedOnError(Exception):
    """The subject's last message is not the expected one: nothing was stored."""


async def publish(
    nc: Client,
    storage: Storage,
    subject: str,
    data: bytes,
    headers: Mapping[str, str] | None = None,
) -> StreamSeq:
    """Store one message; its position in the stream. What becomes of it is noted in `storage`.

    Raises MovedOnError, RefusedError (it would be refused again), UnavailableError (NATS does not
    answer, or cannot store it now; unanswered, it may have been stored).
    """
    stream = stream_of(subject)
    if (stopped := storage.has_stopped(stream)) is not None:
        raise UnavailableError(f"publish to {subject}: NATS cannot store: {stopped}")
    room = nc.max_payload - HEADER_BYTES
    if len(data) > room:  # before it leaves: NATS would hang up
        raise RefusedError(f"{subject}: {len(data)} bytes, NATS takes {room} and its headers")
    try:
        reply = await nc.request(
            subject, data, timeout=REQUEST_SECONDS, headers=dict(headers or {})
        )
    except NATS_AWAY as away:
        if nc.is_connected:
            storage.unanswered(stream)
        raise UnavailableError(f"publish to {subject}: NATS does not answer") from away
    answer = json.loads(reply.data)
    error = answer.get("error")
    if error is None:
        storage.stored(stream)
        return StreamSeq(answer["seq"])
    if (no_room := limit_reached(error)) is not None:
        storage.refused(stream, no_room)
        raise UnavailableError(f"publish to {subject}: NATS cannot store: {no_room}")
    why = f"{error.get('err_code')}: {error.get('description')}"
    match error:
        case {"err_code": code} if code == WRONG_LAST_SEQUENCE:
            raise MovedOnError(why)
        case {"err_code": code} if code in _FOR_NOW:
            raise UnavailableError(f"publish to {subject}: {why}")
        case {"code": 429 | 503}:
            raise UnavailableError(f"publish to {subject}: {why}")
        case _:
            raise RefusedError(f"publish to {subject}: {why}")
