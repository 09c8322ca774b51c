"""Take commands from a durable work queue: a slot first, then a message; ack, retry, or give up.

FastStream's pull subscriber runs a whole batch before it fetches again, so that one slow message
holds the next; a command here may take minutes, therefore the fetch is our own.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RetentionPolicy
from prometheus_client import Counter

from services.chassis.away import is_away
from services.chassis.bus import Bus
from services.chassis.ending import end
from services.chassis.in_hand import in_hand
from services.chassis.logs import SparingLog
from services.chassis.pulling import Pull
from services.chassis.settling import Settler, trouble_of

log = logging.getLogger(__name__)

FETCH_SECONDS = 2.0
"""How long one fetch lingers; the next begins at once."""
AGAIN_SECONDS = 0.5
"""How soon a queue that could not be read is read again."""


class UnworkableError(Exception):
    """This message can never be handled, by anyone: keep it with the reason, do not repeat it."""


class LeftToAnotherError(Exception):
    """Another process has this message in hand by now: neither acknowledge nor return it."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable consumer of a work queue and how hard to try.

    `ack_seconds` is how soon the messages of a dead process go to another. After `tries` a message
    is given up: handlers that raise and, from the second delivery on, processes that die with it
    count; clean stops and servers that are away do not.
    """

    stream: str
    subject: str
    durable: str
    slots: int
    ack_seconds: float = 3.0
    tries: int = 20


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message in hand; `attempt` counts from 1, `sequence` is the message's in its stream."""

    message: Msg
    attempt: int
    sequence: int


class QueueConsumer:
    """Runs `handle` on each message of a queue, `slots` at a time, until it is stopped."""

    def __init__(
        self,
        bus: Bus,
        queue: Queue,
        handle: Callable[[Delivery], Awaitable[None]],
        give_up: Callable[[Delivery, str], Awaitable[None]],
        counter: Counter | None = None,
    ) -> None:
        """`give_up` tells whoever waits; what it raises keeps no message. `counter` is theirs of
        dead_letter_counter.
        """
        self._bus = bus
        self._queue = queue
        self._handle = handle
        self._give_up = give_up
        self._settler = Settler(bus, queue.durable, queue.tries, counter)
        self._log = SparingLog(log)
        self._free = asyncio.Semaphore(queue.slots)
        self._open: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._pull: Pull | None = None

    @property
    def busy(self) -> int:
        """Messages in hand."""
        return len(self._open)

    @property
    def listening(self) -> bool:
        return self._loop is not None and not self._loop.done()

    def start(self) -> None:
        self._loop = asyncio.create_task(self._listen(), name=f"listen {self._queue.durable}")

    async def stop(self, patience: float) -> None:
        """Take nothing more, cancel what is open and wait, `patience` seconds at the most."""
        if self._loop is not None:
            await end(self._loop)
        await self._end_pull()  # else what we return comes back to our own last request
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await end(*self._open)

    async def _listen(self) -> None:
        while True:
            await self._free.acquire()
            try:
                message = await self._next()
            except Exception as trouble:  # noqa: BLE001  whatever it is, the next may be had
                self._free.release()
                await self._end_pull()
                self._log.warning("queue unavailable, trying again", why=repr(trouble))
                await asyncio.sleep(AGAIN_SECONDS)
            except BaseException:
                self._free.release()
                raise
            else:
                if message is None:
                    self._free.release()
                else:
                    self._take(message)

    async def _next(self) -> Delivery | None:
        self._pull = self._pull or await self._begin()
        for message in await self._pull.wait(FETCH_SECONDS):
            told = message.metadata
            return Delivery(message, told.num_delivered or 1, told.sequence.stream)
        return None

    async def _begin(self) -> Pull:
        queue = self._queue
        config = ConsumerConfig(
            durable_name=queue.durable,
            filter_subject=queue.subject,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=queue.ack_seconds,
            max_ack_pending=10_000,
            max_deliver=-1,  # what is given up is kept by us, with its reason
        )
        pull = await Pull.begin(self._bus, queue.stream, config)
        await self._sweep()
        return pull

    async def _sweep(self) -> None:
        """Remove what was acknowledged while the stream's disk was full: it is still there.

        Nobody would be given it again, and it would count as work for ever.
        """
        queue, js = self._queue, self._bus.js
        config = (await js.stream_info(queue.stream)).config
        floor = (await js.consumer_info(queue.stream, queue.durable)).ack_floor
        settled = 0 if floor is None else floor.stream_seq
        # Where nothing is settled nothing may be purged: up to position 1 means all to the server.
        if config.retention == RetentionPolicy.WORK_QUEUE and settled > 0:
            with contextlib.suppress(NatsError):  # without the right to it, or a server: it stays
                await js.purge_stream(queue.stream, seq=settled + 1, subject=queue.subject)

    async def _end_pull(self) -> None:
        pull, self._pull = self._pull, None
        if pull is not None:
            await pull.close()

    def _take(self, delivery: Delivery) -> None:
        name = f"handle {delivery.message.subject}"
        task = asyncio.create_task(self._work(delivery), name=name)
        self._open.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._open.discard(task)
        self._free.release()
        if not task.cancelled() and (trouble := task.exception()) is not None:
            log.error("a message could not be settled", exc_info=trouble)

    async def _work(self, delivery: Delivery) -> None:
        async with in_hand([delivery.message], self._queue.ack_seconds):
            try:
                await self._settle(delivery)
            except asyncio.CancelledError:  # this process stops: the next may have it at once
                await self._settler.hand_over(delivery.message)
                raise

    async def _settle(self, delivery: Delivery) -> None:
        message = delivery.message
        reason = await self._settler.begin(message)
        if reason is None:
            reason = await self._handled(delivery)
        if reason is not None:
            await self._settler.give_up(message, reason, lambda why: self._give_up(delivery, why))

    async def _handled(self, delivery: Delivery) -> str | None:
        """Handle it, then acknowledge it or have it come again; why it is to be given up."""
        message = delivery.message
        match await trouble_of(self._handle(delivery)):
            case None:
                await message.ack()
            case LeftToAnotherError() as other:
                told = {"subject": message.subject, "why": str(other)}
                log.warning("left to another", extra=told)
            case UnworkableError() as reason:
                return str(reason) or repr(reason)
            case trouble if is_away(trouble):
                await self._settler.wait(message, trouble)
            case trouble:
                failed = {"subject": message.subject, "attempt": delivery.attempt}
                log.error("a message failed", extra=failed, exc_info=trouble)
                return await self._settler.fail(message, trouble)
        return None
