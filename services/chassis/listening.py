"""Take commands from a durable work queue: a slot first, then a message; ack, nak, or bury it.

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
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import Error as JetStreamError

from services.chassis.bus import Bus
from services.chassis.ending import end
from services.chassis.in_hand import in_hand

log = logging.getLogger(__name__)

FETCH_SECONDS = 2.0
"""How long one fetch lingers; the next begins at once."""


MAX_BACKOFF_SECONDS = 30.0


class UnworkableError(Exception):
    """This message can never be handled, by anyone: keep it with the reason, do not repeat it."""


class LeftToAnotherError(Exception):
    """Another process has this message in hand by now: neither acknowledge nor return it."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable consumer of a work queue and how hard to try.

    `ack_seconds` is how soon the messages of a dead process go to another; `tries` is how often a
    message may come back before it is buried: failures, dead processes and clean stops all count.
    """

    stream: str
    subject: str
    durable: str
    slots: int
    ack_seconds: float = 3.0
    tries: int = 20


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message in hand; `attempt` counts from 1."""

    message: Msg
    attempt: int


class QueueConsumer:
    """Runs `handle` on each message of a queue, `slots` at a time, until it is stopped."""

    def __init__(
        self,
        bus: Bus,
        queue: Queue,
        handle: Callable[[Delivery], Awaitable[None]],
        give_up: Callable[[Delivery, str], Awaitable[None]],
    ) -> None:
        self._bus = bus
        self._queue = queue
        self._handle = handle
        self._give_up = give_up
        self._free = asyncio.Semaphore(queue.slots)
        self._open: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._subscription: JetStreamContext.PullSubscription | None = None

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
        await self._unsubscribe()  # else what we return comes back to our own last request
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await end(*self._open)

    async def _listen(self) -> None:
        while True:
            await self._free.acquire()
            try:
                self._subscription = self._subscription or await self._subscribe()
                messages = await self._subscription.fetch(1, timeout=FETCH_SECONDS)
            except TimeoutError:  # the builtin, and nats-py's own, which is one
                self._free.release()
                continue
            except (NatsError, JetStreamError, OSError) as trouble:
                self._free.release()
                await self._unsubscribe()
                log.warning("queue unavailable, trying again", extra={"why": repr(trouble)})
                await asyncio.sleep(0.5)
                continue
            except BaseException:
                self._free.release()
                raise
            self._take(messages[0])

    async def _subscribe(self) -> JetStreamContext.PullSubscription:
        queue = self._queue
        return await self._bus.js.pull_subscribe(
            queue.subject,
            durable=queue.durable,
            stream=queue.stream,
            config=ConsumerConfig(
                durable_name=queue.durable,
                deliver_policy=DeliverPolicy.ALL,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=queue.ack_seconds,
                max_ack_pending=10_000,
                max_deliver=-1,  # what is given up is buried by us, with its reason
            ),
        )

    async def _unsubscribe(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(NatsError):  # gone with its connection
                await subscription.unsubscribe()

    def _take(self, message: Msg) -> None:
        delivery = Delivery(message, message.metadata.num_delivered or 1)
        task = asyncio.create_task(self._work(delivery), name=f"handle {message.subject}")
        self._open.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._open.discard(task)
        self._free.release()
        if not task.cancelled() and (trouble := task.exception()) is not None:
            log.error("a message could not be settled", exc_info=trouble)

    async def _work(self, delivery: Delivery) -> None:
        async with in_hand([delivery.message], self._queue.ack_seconds):
            await self._settle(delivery)

    async def _settle(self, delivery: Delivery) -> None:
        message = delivery.message
        try:
            if delivery.attempt > self._queue.tries:
                await self._bury(delivery, f"given up after {self._queue.tries} tries")
                return
            await self._handle(delivery)
        except asyncio.CancelledError:  # this process stops: the next may have it at once
            await message.nak()
            raise
        except LeftToAnotherError as other:
            log.warning("left to another", extra={"subject": message.subject, "why": str(other)})
        except UnworkableError as reason:
            await self._bury(delivery, str(reason))
        except Exception as trouble:
            log.exception("a message failed", extra={"subject": message.subject})
            if delivery.attempt >= self._queue.tries:
                await self._bury(delivery, repr(trouble))
            else:
                await message.nak(delay=min(0.5 * 2**delivery.attempt, MAX_BACKOFF_SECONDS))
        else:
            await message.ack()

    async def _bury(self, delivery: Delivery, reason: str) -> None:
        await self._bus.bury(self._queue.durable, delivery.message, reason)
        await self._give_up(delivery, reason)
        await delivery.message.term()
