"""Follow all events durably, in batches: acknowledge what is applied, wait for the store, put poison aside.

FastStream 0.7.8 has such a subscriber, but its consumer dies of the builtin TimeoutError that
nats-py's fetch raises now and then, and drops the batch in hand: the fetch is our own.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from prometheus_client import Counter

from contracts import subjects
from contracts.codec import UnreadableMessageError
from contracts.ids import StreamSeq
from services.chassis.away import is_away
from services.chassis.bus import Bus
from services.chassis.dead_letters.letter import reason_of
from services.chassis.direct_get import RawMessage
from services.chassis.ending import end
from services.chassis.in_hand import in_hand
from services.chassis.logs import SparingLog
from services.chassis.pulling import Pull
from services.chassis.settling import Settler, trouble_of
from services.chassis.tries import pause

log = logging.getLogger(__name__)

BATCH = 200
LINGER_SECONDS = 0.1
"""How long a batch may fill before it is applied: bounds how far a projection trails the log."""
FETCH_SECONDS = 2.0
"""How long a fetch waits for the first event; the next begins at once."""
ACK_SECONDS = 5.0
"""How soon the batch of a dead process goes to another."""
TRIES = 5
AGAIN_SECONDS = 0.5
"""How soon a log that could not be read is read again."""
HOLDS = 6
"""How often a batch waits in hand for a server that is away, half a minute in all, before it goes
back: what only seems away must not hold the others."""


Apply = Callable[[Sequence[RawMessage]], Awaitable[None]]
"""Applies stored messages, in stream order. Told twice, it changes nothing."""


class EventConsumer:
    """Hands every event, first to last, to `apply`, until it is stopped; goes on where it was."""

    def __init__(
        self, bus: Bus, durable: str, apply: Apply, counter: Counter | None = None
    ) -> None:
        """`counter` is that of dead_letter_counter."""
        self._bus = bus
        self._durable = durable
        self._apply = apply
        self._settler = Settler(bus, durable, TRIES, counter)
        self._log = SparingLog(log)
        self._blameless: set[int] = set()
        """What we sent back because a server was away; at most what may be unacknowledged."""
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
                pull = await self._begin()
                try:
                    while True:
                        await self._take(await _batch(pull))
                finally:
                    await pull.close()
            except Exception as trouble:  # noqa: BLE001  whatever it is, the next may be had
                self._log.warning("log unavailable, trying again", why=repr(trouble))
                await asyncio.sleep(AGAIN_SECONDS)

    async def _begin(self) -> Pull:
        config = ConsumerConfig(
            durable_name=self._durable,
            filter_subject=subjects.ALL_EVENTS,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_SECONDS,
            max_ack_pending=10 * BATCH,
        )
        return await Pull.begin(self._bus, subjects.EVENTS, config)

    async def _take(self, messages: Sequence[Msg]) -> None:
        if messages:
            async with in_hand(messages, ACK_SECONDS):
                try:
                    await self._settle(messages)
                except asyncio.CancelledError:  # this process stops: the next may have them at once
                    for message in messages:
                        await self._settler.hand_over(message)
                    raise

    async def _settle(self, messages: Sequence[Msg]) -> None:
        """What came back is tried alone: one of them may have ended the process that had it."""
        suspects = [message for message in messages if self._is_suspect(message)]
        fresh = [message for message in messages if not self._is_suspect(message)]
        if fresh:
            await self._try(fresh)
        for suspect in suspects:
            reason = await self._settler.begin(suspect)
            if reason is None:
                await self._try([suspect])
            else:
                await self._settler.give_up(suspect, reason)

    def _is_suspect(self, message: Msg) -> bool:
        told = message.metadata
        return (told.num_delivered or 1) > 1 and told.sequence.stream not in self._blameless

    async def _try(self, messages: Sequence[Msg]) -> None:
        """Apply and acknowledge, halving down to the one that is to blame."""
        trouble = await self._applied(messages)
        if trouble is None:
            self._blameless.difference_update(map(_place, messages))
            await asyncio.gather(*(message.ack() for message in messages))
        elif is_away(trouble):
            self._blameless.update(map(_place, messages))
            for message in messages:
                await self._settler.wait(message, trouble)
        elif len(messages) > 1:
            middle = len(messages) // 2
            await self._try(messages[:middle])
            await self._try(messages[middle:])
        else:
            self._blameless.difference_update(map(_place, messages))
            await self._fail(messages[0], trouble)

    async def _applied(self, messages: Sequence[Msg]) -> BaseException | None:
        """What applying raised, none where nothing; a server that is away is waited for in hand."""
        for hold in range(1, HOLDS + 1):
            trouble = await trouble_of(self._apply_all(messages))
            if trouble is None or not is_away(trouble) or hold == HOLDS:
                return trouble
            self._log.warning("waiting for a server", why=repr(trouble))
            await asyncio.sleep(pause(hold))
        return None

    async def _apply_all(self, messages: Sequence[Msg]) -> None:
        await self._apply([_stored(message) for message in messages])

    async def _fail(self, message: Msg, trouble: BaseException) -> None:
        told = {"subject": message.subject, "why": reason_of(trouble)}
        log.warning("an event failed", extra={**told, "sequence": _place(message)})
        reason: str | None = reason_of(trouble)
        if not isinstance(trouble, UnreadableMessageError):
            reason = await self._settler.fail(message, trouble)
        if reason is not None:
            await self._settler.give_up(message, reason)


async def _batch(pull: Pull) -> list[Msg]:
    """What comes within LINGER_SECONDS of the first, at most BATCH; none where nothing comes."""
    messages = await pull.at_once(BATCH) or await pull.wait(FETCH_SECONDS)
    if messages and len(messages) < BATCH:
        await asyncio.sleep(LINGER_SECONDS)
        messages += await pull.at_once(BATCH - len(messages))
    return messages


def _stored(message: Msg) -> RawMessage:
    position = StreamSeq(message.metadata.sequence.stream)
    return RawMessage(position, message.subject, message.data)


def _place(message: Msg) -> int:
    return message.metadata.sequence.stream
