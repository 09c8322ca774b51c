"""Consume commands from a work queue: fetch messages, and handle and settle each once it is its app's turn.

A message is *held* from its fetch until it is begun, in the lane of its app (fair_queue.py), and *open*
until it is settled. To run its chat it needs a slot, except while it waits for something that needs no
processor. So the flood of one app is held, and what another sends is begun at once. Where too many are
held, the newest of the app that has most are returned to the queue for a while: memory is bounded, and
the messages behind them are seen. Without look-ahead (`WorkQueue.max_held` is 0) a message is only
fetched when it can begin.

Open chats may wait for what another message brings, an answer or a stop. So a message that does not
begin a chat is *handled* at once, in lanes of its own, however many its app has open. It becomes open
once it is about to run a chat; if its app may have no more, it is held as the others are, and begun
again.

FastStream's pull subscriber handles a whole batch before it fetches again, so that one slow message
delays the next ones; a command may take minutes, therefore this loop fetches by itself.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import RetentionPolicy

from contracts import subjects
from services.chassis.consumers.errors import NoRoomError
from services.chassis.consumers.fair_queue import FairQueue
from services.chassis.consumers.settlement import Settlement
from services.chassis.consumers.slots import NO_SLOT, AppSlot, FairSlots, Slot
from services.chassis.consumers.work_queue import WorkQueue
from services.chassis.jetstream.direct_get import BEFORE_FIRST
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.pull import PullSubscription
from services.chassis.logs.repeats import RateLimitedLog
from services.chassis.metrics import ProcessMetrics
from services.chassis.tasks import cancel_and_wait

log = logging.getLogger(__name__)

FETCH_SECONDS = 2.0
"""How long one fetch waits; the next begins at once."""
RETRY_SECONDS = 0.5
"""The pause after a failed fetch."""
MAX_FETCHED = 64
"""Messages that are fetched at once where many wait."""
LOOK_AHEAD_SECONDS = 0.02
"""The pause before messages are fetched that cannot begin now: a process that can begin them is first."""
DEFER_SECONDS = 30.0
"""For how long a held message is returned to the queue. It is no attempt, however often."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivered message; `attempt` counts from 1, `sequence` is its position in the stream.

    `slot` is held when the handling of a command that begins a chat begins; others acquire it before
    they run the chat.
    """

    message: Msg
    attempt: int
    sequence: int
    slot: Slot = NO_SLOT


class QueueConsumer:
    """Runs `handle` on each message of a queue, within its limits, until it is stopped."""

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
        self._settlement = Settlement(gateway, queue.durable, queue.max_attempts, uses_slot=False)
        self._log = RateLimitedLog(log)
        self._metrics = QueueMetrics(gateway.metrics, queue)
        self._slots = FairSlots(queue.slot_shares, self._metrics.count_slots)
        self._lanes: FairQueue[Msg] = FairQueue(queue.open_shares)
        self._handled: FairQueue[Msg] = FairQueue(queue.slot_shares)
        self._is_stopping = False
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._pull: PullSubscription | None = None

    @property
    def in_flight(self) -> int:
        """How many messages are being handled."""
        return len(self._tasks)

    @property
    def held(self) -> int:
        """How many messages are taken and not begun."""
        return self._lanes.waiting + self._handled.waiting

    @property
    def is_running(self) -> bool:
        return self._loop is not None and not self._loop.done()

    def start(self) -> None:
        self._loop = asyncio.create_task(self._run(), name=f"consume {self._queue.durable}")

    async def stop(self, timeout_seconds: float) -> None:
        """Fetch nothing more, cancel what is in flight and wait, `timeout_seconds` at the most."""
        self._is_stopping = True
        if self._loop is not None:
            await cancel_and_wait(self._loop)
        await self._close_pull()  # else what is released is delivered to our own last request
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._release_held()
                await cancel_and_wait(*self._tasks)
                await self._release_held()  # those that were held again meanwhile

    async def _release_held(self) -> None:
        for _, message in self._dropped(self.held):
            self._in_flight.remove([message])
            await self._settlement.release(message)

    def _dropped(self, most: int) -> list[tuple[str, Msg]]:
        """Take out at most so many held messages; those that may begin a chat first."""
        dropped = self._lanes.drop(most)
        return [*dropped, *self._handled.drop(most - len(dropped))]

    async def _run(self) -> None:
        while True:
            await self._has_room.wait()
            try:
                await self._fetch()
                await self._defer_excess()
            except Exception as error:  # noqa: BLE001  whatever it is, the next fetch may succeed
                await self._close_pull()
                self._log.warning("the queue cannot be read, retrying", why=repr(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def _fetch(self) -> None:
        """Take the next message as soon as there is one, or those that are there to be held."""
        self._pull = pull = self._pull or await self._open_pull()
        most = min(MAX_FETCHED, self._queue.max_held)
        if self._lanes.is_full or self._slots.is_full:
            await asyncio.sleep(LOOK_AHEAD_SECONDS)
        else:
            messages = await pull.wait(FETCH_SECONDS)
            self._take(messages)
            if not messages or not messages[-1].metadata.num_pending:
                return
        self._take(await pull.fetch_available(most))

    def _take(self, messages: Sequence[Msg]) -> None:
        self._in_flight.add(messages, self._queue.ack_wait_seconds)
        for message in messages:
            is_redelivered = (message.metadata.num_delivered or 1) > 1  # its chat may be pending
            lanes = self._lanes_of(message)
            lanes.add(subjects.lane(message.subject), message, first=is_redelivered)
        self._begin_next()

    def _lanes_of(self, message: Msg) -> FairQueue[Msg]:
        begins = not self._queue.max_held or subjects.begins_chat(message.subject)
        return self._lanes if begins else self._handled

    async def _defer_excess(self) -> None:
        """Return what is held beyond the limit."""
        excess = self.held - self._queue.max_held
        if excess <= 0:
            return
        for _, message in self._dropped(excess):
            self._in_flight.remove([message])
            await self._settlement.defer(message, DEFER_SECONDS)
        self._metrics.deferred.inc(excess)
        await asyncio.sleep(LOOK_AHEAD_SECONDS)

    def _begin_next(self) -> None:
        """Begin what may begin, and say whether more may be fetched."""
        if self._is_stopping:
            return
        for lanes in (self._handled, self._lanes):
            while (taken := lanes.take()) is not None:
                self._begin(*taken, lanes)
        self._metrics.count_messages(self._lanes.in_use, self.held)
        if self._queue.max_held or not self._lanes.is_full:
            self._has_room.set()
        else:
            self._has_room.clear()

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

    def _begin(self, app: str, message: Msg, lanes: FairQueue[Msg]) -> None:
        begun = _Begun(app, message, lanes)
        metadata = message.metadata
        slot = AppSlot(self._slots, app, lambda: self._open(begun))
        delivery = Delivery(message, metadata.num_delivered or 1, metadata.sequence.stream, slot)
        name = f"handle {message.subject}"
        task = asyncio.create_task(self._process(delivery), name=name)
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._on_done(task, begun, slot))

    def _open(self, begun: "_Begun") -> None:
        """Count a message as open. Raises NoRoomError where its app may have no more of them."""
        if begun.lanes is self._lanes:
            return
        if not self._lanes.enter(begun.app):
            begun.has_no_room = True
            raise NoRoomError(begun.message.subject)
        begun.lanes.release(begun.app)
        begun.lanes = self._lanes
        self._begin_next()

    def _on_done(self, task: asyncio.Task[None], begun: "_Begun", slot: AppSlot) -> None:
        self._tasks.discard(task)
        slot.close()
        begun.lanes.release(begun.app)
        if begun.has_no_room and not task.cancelled():
            self._lanes.add(begun.app, begun.message)
        else:
            self._in_flight.remove([begun.message])
        self._begin_next()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a message could not be settled", exc_info=error)

    async def _process(self, delivery: Delivery) -> None:
        try:
            # A running chat may hold a slot while it waits for what any other command brings.
            if subjects.begins_chat(delivery.message.subject):
                await delivery.slot.acquire()
        except asyncio.CancelledError:  # this process stops
            await self._settlement.release(delivery.message)
            raise
        await self._settlement.process(
            delivery.message,
            lambda: self._handle(delivery),
            lambda reason: self._on_dead_letter(delivery, reason),
        )


@dataclass(slots=True)
class _Begun:
    """A message in progress, and the lanes in which it counts."""

    app: str
    message: Msg
    lanes: FairQueue[Msg]
    has_no_room: bool = False


class QueueMetrics:
    """What the metrics of a process say about one of its queues."""

    def __init__(self, metrics: ProcessMetrics, queue: WorkQueue) -> None:
        name = queue.durable
        metrics.slots.labels(name).set(queue.concurrency)
        self.deferred = metrics.deferred.labels(name)
        self._used = metrics.slots_used.labels(name)
        self._awaited = metrics.slots_awaited.labels(name)
        self._open = metrics.queue_open.labels(name)
        self._held = metrics.queue_held.labels(name)

    def count_slots(self, slots: FairSlots) -> None:
        self._used.set(slots.in_use)
        self._awaited.set(slots.waiting)

    def count_messages(self, in_progress: int, held: int) -> None:
        self._open.set(in_progress)
        self._held.set(held)
