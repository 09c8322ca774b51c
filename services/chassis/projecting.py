"""Follow all events durably, in batches: acknowledge what is applied, wait for the store, bury poison.

FastStream 0.7.8 has such a subscriber, but its consumer dies of the builtin TimeoutError that
nats-py's fetch raises now and then, and drops the batch in hand: the fetch is our own.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import Error as JetStreamError

from contracts import subjects
from contracts.codec import UnreadableMessageError
from contracts.ids import StreamSeq
from services.chassis.bus import Bus, Stored
from services.chassis.ending import end
from services.chassis.in_hand import in_hand

log = logging.getLogger(__name__)

BATCH = 200
LINGER_SECONDS = 0.1
"""How long a batch may fill before it is applied: bounds how far a projection trails the log."""
FETCH_SECONDS = 2.0
"""How long a fetch waits for the first event; the next begins at once."""
ACK_SECONDS = 5.0
"""How soon the batch of a dead process goes to another."""
TRIES = 5


class AwayError(Exception):
    """What the projection writes to does not answer: wait and try again, however often."""


Apply = Callable[[Sequence[Stored]], Awaitable[None]]
"""Applies stored events, in stream order. Told twice, it changes nothing."""


class EventConsumer:
    """Hands every event, first to last, to `apply`, until it is stopped; goes on where it was."""

    def __init__(self, bus: Bus, durable: str, apply: Apply) -> None:
        self._bus = bus
        self._durable = durable
        self._apply = apply
        self._failures: dict[int, int] = {}
        self._loop: asyncio.Task[None] | None = None

    @property
    def following(self) -> bool:
        return self._loop is not None and not self._loop.done()

    def start(self) -> None:
        self._loop = asyncio.create_task(self._follow(), name=f"follow {self._durable}")

    async def stop(self) -> None:
        if self._loop is not None:
            await end(self._loop)

    async def _follow(self) -> None:
        while True:
            try:
                subscription = await self._subscribe()
                try:
                    while True:
                        await self._take(await _batch(subscription))
                finally:
                    with contextlib.suppress(NatsError, OSError):  # gone already: nothing to end
                        await subscription.unsubscribe()
            except (NatsError, JetStreamError, OSError) as trouble:
                log.warning("log unavailable, trying again", extra={"why": repr(trouble)})
                await asyncio.sleep(0.5)

    async def _subscribe(self) -> JetStreamContext.PullSubscription:
        return await self._bus.js.pull_subscribe(
            subjects.ALL_EVENTS,
            durable=self._durable,
            stream=subjects.EVENTS,
            config=ConsumerConfig(
                durable_name=self._durable,
                deliver_policy=DeliverPolicy.ALL,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ACK_SECONDS,
                max_ack_pending=10 * BATCH,
            ),
        )

    async def _take(self, messages: Sequence[Msg]) -> None:
        if messages:
            async with in_hand(messages, ACK_SECONDS):
                await self._settle(messages)

    async def _settle(self, messages: Sequence[Msg]) -> None:
        try:
            await self._apply([_stored(message) for message in messages])
        except AwayError as away:
            log.warning("waiting for the store", extra={"why": str(away)})
            await asyncio.gather(*(message.nak(delay=1) for message in messages))
        except Exception as trouble:  # noqa: BLE001  here it is decided: retry, or bury
            if len(messages) > 1:  # one of them is to blame: find it, spare the others
                for message in messages:
                    await self._settle([message])
                return
            await self._give_up_or_retry(messages[0], trouble)
        else:
            await asyncio.gather(*(message.ack() for message in messages))

    async def _give_up_or_retry(self, message: Msg, trouble: Exception) -> None:
        place = message.metadata.sequence.stream
        failures = self._failures.pop(place, 0) + 1
        told = {"subject": message.subject, "why": repr(trouble)}
        if isinstance(trouble, UnreadableMessageError) or failures >= TRIES:
            log.error("buried an event", extra=told)
            await self._bus.bury(self._durable, message, repr(trouble))
            await message.term()
            return
        self._failures[place] = failures  # at most as many as may be unacknowledged
        log.warning("an event failed", extra=told)
        await message.nak(delay=2**failures)


async def _batch(subscription: JetStreamContext.PullSubscription) -> list[Msg]:
    """What comes within LINGER_SECONDS of the first, at most BATCH; none where nothing comes."""
    messages = await _fetch(subscription, BATCH, FETCH_SECONDS)
    if messages and len(messages) < BATCH:
        await asyncio.sleep(LINGER_SECONDS)
        messages += await _fetch(subscription, BATCH - len(messages), LINGER_SECONDS)
    return messages


async def _fetch(
    subscription: JetStreamContext.PullSubscription, most: int, seconds: float
) -> list[Msg]:
    try:
        return await subscription.fetch(most, timeout=seconds)
    except TimeoutError:  # the builtin, and nats-py's own, which is one
        return []


def _stored(message: Msg) -> Stored:
    return Stored(StreamSeq(message.metadata.sequence.stream), message.data)
