"""Follow all events durably, in batches, by FastStream: acknowledge what is applied, bury poison."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from faststream import AckPolicy
from faststream.nats import ConsumerConfig, JStream, NatsBroker, PullSub
from faststream.nats.annotations import NatsMessage
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy

from contracts import subjects
from contracts.codec import UnreadableMessageError
from contracts.ids import StreamSeq
from services.chassis.bus import Bus, Stored
from services.chassis.in_hand import in_hand

log = logging.getLogger(__name__)

BATCH = 200
LINGER_SECONDS = 0.1
"""How long a batch may fill before it is applied: bounds how far a projection trails the log."""
ACK_SECONDS = 5.0
"""How soon the batch of a dead process goes to another."""
TRIES = 5


class AwayError(Exception):
    """What the projection writes to does not answer: wait and try again, however often."""


Apply = Callable[[Sequence[Stored]], Awaitable[None]]
"""Applies stored events, in stream order. Told twice, it changes nothing."""


def follow_events(broker: NatsBroker, bus: Callable[[], Bus], durable: str, apply: Apply) -> None:
    """Register a durable batch subscriber of every event, first to last."""

    @broker.subscriber(
        subjects.ALL_EVENTS,
        durable=durable,
        stream=JStream(subjects.EVENTS, declare=False),
        config=ConsumerConfig(ack_wait=ACK_SECONDS, max_ack_pending=10 * BATCH),
        deliver_policy=DeliverPolicy.ALL,
        pull_sub=PullSub(batch_size=BATCH, timeout=LINGER_SECONDS, batch=True),
        ack_policy=AckPolicy.MANUAL,
        title=durable,
    )
    async def on_events(_: list[Any], batch: NatsMessage) -> None:
        messages: list[Msg] = batch.raw_message  # type: ignore[assignment]
        async with in_hand(messages, ACK_SECONDS):
            await _settle(bus(), durable, apply, messages)


async def _settle(bus: Bus, service: str, apply: Apply, messages: Sequence[Msg]) -> None:
    try:
        await apply([_stored(message) for message in messages])
    except AwayError as away:
        log.warning("waiting for the store", extra={"why": str(away)})
        await asyncio.gather(*(message.nak(delay=1) for message in messages))
    except Exception as trouble:  # noqa: BLE001  here it is decided: retry, or bury
        if len(messages) > 1:  # one of them is to blame: find it, spare the others
            for message in messages:
                await _settle(bus, service, apply, [message])
            return
        await _give_up_or_retry(bus, service, messages[0], trouble)
    else:
        await asyncio.gather(*(message.ack() for message in messages))


async def _give_up_or_retry(bus: Bus, service: str, message: Msg, trouble: Exception) -> None:
    attempt = message.metadata.num_delivered or 1
    if isinstance(trouble, UnreadableMessageError) or attempt >= TRIES:
        log.error("buried an event", extra={"subject": message.subject, "why": repr(trouble)})
        await bus.bury(service, message, repr(trouble))
        await message.term()
        return
    log.warning("an event failed", extra={"subject": message.subject, "why": repr(trouble)})
    await message.nak(delay=2**attempt)


def _stored(message: Msg) -> Stored:
    return Stored(StreamSeq(message.metadata.sequence.stream), message.data)
