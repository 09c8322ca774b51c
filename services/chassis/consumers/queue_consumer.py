"""Consume commands from a work queue: acquire a slot, fetch a message, handle it, settle it.

FastStream's pull subscriber handles a whole batch before it fetches again, so that one slow message
delays the next ones; a command may take minutes, therefore this loop fetches by itself.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import RetentionPolicy

from services.chassis.consumers.settlement import Settlement
from services.chassis.consumers.work_queue import WorkQueue
from services.chassis.jetstream.direct_get import BEFORE_FIRST
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.pull import PullSubscription
from services.chassis.logs.repeats import RateLimitedLog
from services.chassis.tasks import cancel_and_wait

log = logging.getLogger(__name__)

FETCH_SECONDS = 2.0
"""How long one fetch waits; the next begins at once."""
RETRY_SECONDS = 0.5
"""The pause after a failed fetch."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivered message; `attempt` counts from 1, `sequence` is its position in the stream."""

    message: Msg
    attempt: int
    sequence: int


class QueueConsumer:
    """Runs `handle` on each message of a queue, `concurrency` at a time, until it is stopped."""

    def __init__(
        self,
        gateway: JetStreamGateway,
        queue: WorkQueue,
        handle: Callable[[Delivery], Awaitable[None]],
        on_dead_letter: Callable[[Delivery, str], Awaitable[None]],
    ) -> None:
        """`on_dead_letter` notifies whoever waits for the message; its errors are only logged."""
        self._gateway = gateway
        self._in_flight = gateway.in_flight
        self._queue = queue
        self._handle = handle
        self._on_dead_letter = on_dead_letter
        self._settlement = Settlement(gateway, queue.durable, queue.max_attempts)
        self._log = RateLimitedLog(log)
        self._slots = asyncio.Semaphore(queue.concurrency)
        gateway.metrics.slots.labels(queue.durable).set(queue.concurrency)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._pull: PullSubscription | None = None

    @property
    def in_flight(self) -> int:
        """How many messages are being handled."""
        return len(self._tasks)

    @property
    def is_running(self) -> bool:
        return self._loop is not None and not self._loop.done()

    def start(self) -> None:
        self._loop = asyncio.create_task(self._run(), name=f"consume {self._queue.durable}")

    async def stop(self, timeout_seconds: float) -> None:
        """Fetch nothing more, cancel what is in flight and wait, `timeout_seconds` at the most."""
        if self._loop is not None:
            await cancel_and_wait(self._loop)
        await self._close_pull()  # else what is released is delivered to our own last request
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await cancel_and_wait(*self._tasks)

    async def _run(self) -> None:
        while True:
            await self._slots.acquire()
            try:
                delivery = await self._next()
            except Exception as error:  # noqa: BLE001  whatever it is, the next fetch may succeed
                self._slots.release()
                await self._close_pull()
                self._log.warning("the queue cannot be read, retrying", why=repr(error))
                await asyncio.sleep(RETRY_SECONDS)
            except BaseException:
                self._slots.release()
                raise
            else:
                if delivery is None:
                    self._slots.release()
                else:
                    self._begin(delivery)

    async def _next(self) -> Delivery | None:
        self._pull = self._pull or await self._open_pull()
        for message in await self._pull.wait(FETCH_SECONDS):
            self._in_flight.add([message], self._queue.ack_wait_seconds)
            metadata = message.metadata
            return Delivery(message, metadata.num_delivered or 1, metadata.sequence.stream)
        return None

    async def _open_pull(self) -> PullSubscription:
        queue = self._queue
        pull = await PullSubscription.open(
            self._gateway.nc, self._gateway.js, queue.stream, queue.consumer_config()
        )
        await self._purge_acknowledged()
        return pull

    async def _purge_acknowledged(self) -> None:
        """Remove messages that were acknowledged while the disk was full: they are still stored.

        They would not be delivered again, and would count as open commands for ever. Nothing is
        purged where there are none: a purge empties the consumer's queue of redeliveries, which
        then wait for another ack wait.
        """
        queue, js = self._queue, self._gateway.js
        config = (await js.stream_info(queue.stream)).config
        floor = (await js.consumer_info(queue.stream, queue.durable)).ack_floor
        acknowledged = 0 if floor is None else floor.stream_seq
        # Without any acknowledgement nothing may be purged: the server takes position 1 for "all".
        if config.retention != RetentionPolicy.WORK_QUEUE or acknowledged == 0:
            return
        if await self._first_position() <= acknowledged:
            with contextlib.suppress(NatsError):  # without permission or server they stay
                await js.purge_stream(queue.stream, seq=acknowledged + 1, subject=queue.subject)

    async def _first_position(self) -> float:
        """The position of the queue's first message, infinite where it is empty."""
        queue = self._queue
        stored = self._gateway.reader.pages(queue.stream, queue.subject, BEFORE_FIRST, size=1)
        async for message in stored:
            return message.position
        return math.inf

    async def _close_pull(self) -> None:
        pull, self._pull = self._pull, None
        if pull is not None:
            await pull.close()

    def _begin(self, delivery: Delivery) -> None:
        name = f"handle {delivery.message.subject}"
        task = asyncio.create_task(self._process(delivery), name=name)
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._on_done(task, delivery))

    def _on_done(self, task: asyncio.Task[None], delivery: Delivery) -> None:
        self._in_flight.remove([delivery.message])
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a message could not be settled", exc_info=error)

    async def _process(self, delivery: Delivery) -> None:
        await self._settlement.process(
            delivery.message,
            lambda: self._handle(delivery),
            lambda reason: self._on_dead_letter(delivery, reason),
        )
