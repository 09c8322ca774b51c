"""Return the messages of processes that are gone to their queue at once, before the ack wait is over.

Each process of a queue probes two others (peers.py). Where one is gone, every process is asked which
messages it holds; unacknowledged messages that no process holds are returned. A process that starts
and finds no other returns all. A message that is returned by mistake is delivered once more: its
handler must be safe against that, as after every redelivery.
"""

import asyncio
import logging
from collections import Counter
from contextlib import suppress

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js.errors import NotFoundError
from pydantic import ValidationError

from contracts import subjects
from contracts.ids import StreamSeq
from contracts.peers import PeerAnnounced, PeerHoldings
from services.chassis.consumers.peers import GRACE_SECONDS, PeerTable
from services.chassis.consumers.work_queue import WorkQueue
from services.chassis.jetstream.direct_get import BEFORE_FIRST
from services.chassis.jetstream.errors import NatsRejectedError, NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.redelivery import (
    Unacknowledged,
    list_unacknowledged,
    return_messages,
)
from services.chassis.nats.connection import subscribe_confirmed
from services.chassis.nats.unavailable import NATS_UNAVAILABLE
from services.chassis.tasks import cancel_and_wait

log = logging.getLogger(__name__)

PROBE_SECONDS = 0.2
SUSPICIOUS_PROBE_SECONDS = 0.1
ANNOUNCE_SECONDS = 5.0
ANSWER_SECONDS = 0.5
"""How long a peer may take to answer what it holds."""
CONFIRM_SECONDS = 0.05
"""The pause between two comparisons of what is held: no process holds a message on its way to one."""
SUBSCRIBE_SECONDS = 2.0
RETRY_SECONDS = 30.0
"""The pause before a process that could not subscribe tries it again."""
_NATS_ERRORS = (NatsError, NatsUnavailableError, NatsRejectedError)
MAX_ATTEMPTS = 2
"""A message with so many recorded attempts is left to the ack wait: one that crashes every process
must not go through all of them within seconds."""


class Takeover:
    """The part of one process in the takeover of a queue's messages."""

    def __init__(self, gateway: JetStreamGateway, queue: WorkQueue, process: str) -> None:
        self._gateway = gateway
        self._nc = gateway.nc
        self._queue = queue
        self._process = process
        self._table = PeerTable(process)
        self._inbox = self._nc.new_inbox()
        self._subscriptions: list[Subscription] = []
        self._alone: asyncio.Task[bool] | None = None
        self._probing: asyncio.Task[None] | None = None
        self._returning: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._losses = 0
        self._probe = 0
        self._sent_at = 0.0
        self._reconnects = self._nc.stats["reconnects"]
        self._reliable_at = 0.0
        self._announce_at = 0.0

    @property
    def peers(self) -> frozenset[str]:
        """The other processes that are known to consume the queue."""
        return self._table.members

    def start(self) -> None:
        """Begin to look for other processes; `join` uses what is found."""
        self._alone = asyncio.create_task(self._is_alone(), name="look for peers")

    async def join(self) -> None:
        """Where no other process was found, return every message; from now on, watch the others.

        Call it before the first message is fetched. Raises nothing: what cannot be returned now is
        redelivered after the ack wait.
        """
        try:
            if self._alone is not None and await self._alone:
                await self._return(await self._unacknowledged(), frozenset())
        except _NATS_ERRORS as error:
            log.warning("nothing is taken over at the start", extra={"why": repr(error)})
        await self._subscribe()
        self._probing = asyncio.create_task(self._watch(), name="probe peers")

    async def stop(self) -> None:
        """Call it once the process holds no message any more."""
        self._is_stopping = True  # a response that comes now starts nothing that nobody would stop
        tasks = (self._alone, self._probing, self._returning)
        await cancel_and_wait(*(task for task in tasks if task is not None))
        if self._subscriptions:
            with suppress(NatsError):
                everyone = subjects.peers(self._queue.durable)
                await self._nc.publish(everyone, self._announce(leaving=True))
        await self._unsubscribe()

    # At the start.

    async def _is_alone(self) -> bool:
        """Whether no process announces itself, for longer than a reconnect takes."""
        clock = asyncio.get_running_loop().time
        everyone = subjects.peers(self._queue.durable)
        since: float | None = None
        while True:
            sent_at = clock()
            try:
                await self._nc.request(
                    everyone, self._announce(starting=True), timeout=ANSWER_SECONDS
                )
            except NoRespondersError:
                if since is not None and sent_at - since >= GRACE_SECONDS:
                    return True
                since = since or clock()
                await asyncio.sleep(GRACE_SECONDS)
            except NATS_UNAVAILABLE:  # without an answer there may be others
                return False
            else:
                return False

    async def _subscribe(self) -> None:
        """Announce this process to others, once it has received a probe of its own."""
        try:
            await self._subscribe_all()
        except (NatsError, TimeoutError) as error:
            await self._unsubscribe()
            log.warning("no takeover: probes are not received", extra={"why": repr(error)})
        else:
            await self._publish_announcement(reply=f"{self._inbox}.answer.0")

    async def _subscribe_all(self) -> None:
        is_visible = asyncio.Event()

        async def on_probe(_: Msg) -> None:
            is_visible.set()  # that there is a subscriber answers all other probes

        everyone = subjects.peers(self._queue.durable)
        own = subjects.peer(self._queue.durable, self._process)
        callbacks = {
            own: on_probe,
            everyone: self._on_announcement,
            f"{self._inbox}.*.*": self._on_response,
        }
        for subject, callback in callbacks.items():
            self._subscriptions.append(
                await subscribe_confirmed(self._nc, subject, callback, SUBSCRIBE_SECONDS)
            )
        await self._nc.publish(own)
        async with asyncio.timeout(SUBSCRIBE_SECONDS):
            await is_visible.wait()

    async def _unsubscribe(self) -> None:
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            with suppress(NatsError):  # the connection is closed, and its subscriptions with it
                await subscription.unsubscribe()

    # While it runs.

    async def _watch(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            while not self._subscriptions:
                await asyncio.sleep(RETRY_SECONDS)
                await self._subscribe()
            is_suspicious = self._table.is_suspicious
            await asyncio.sleep(SUSPICIOUS_PROBE_SECONDS if is_suspicious else PROBE_SECONDS)
            is_reliable = self._is_reliable(clock())
            try:
                if self._nc.is_connected and clock() >= self._announce_at:
                    await self._publish_announcement()
                if is_reliable:
                    await self._probe_peers()
                else:
                    self._table.reset()
            except NatsError as error:
                log.info("peers cannot be probed now", extra={"why": repr(error)})

    async def _publish_announcement(self, reply: str = "") -> None:
        self._announce_at = asyncio.get_running_loop().time() + ANNOUNCE_SECONDS
        await self._nc.publish(subjects.peers(self._queue.durable), self._announce(), reply)

    def _is_reliable(self, now: float) -> bool:
        """Whether others have had the time to reconnect, too, after a server was gone."""
        if not self._nc.is_connected or self._nc.stats["reconnects"] != self._reconnects:
            self._reconnects = self._nc.stats["reconnects"]
            self._reliable_at = now + self._queue.ack_wait_seconds
            self._announce_at = now  # others may have taken this process for gone
        return now >= self._reliable_at

    async def _probe_peers(self) -> None:
        self._table.drop_unconfirmed(self._probe)
        self._probe += 1
        self._sent_at = asyncio.get_running_loop().time()
        for process in self._table.targets(self._sent_at):
            subject = subjects.peer(self._queue.durable, process)
            await self._nc.publish(subject, reply=f"{self._inbox}.{process}.{self._probe}")

    async def _on_response(self, message: Msg) -> None:
        """A peer answers the first announcement, or the server a probe that has no subscriber."""
        if message.data:
            self._hear(message)
            return
        process, number = message.subject.split(".")[-2:]
        if number != f"{self._probe}" or self._is_stopping:
            return
        now = asyncio.get_running_loop().time()
        if self._table.absent(process, self._probe, self._sent_at, now):
            self._losses += 1
            log.warning("a process of the queue is gone", extra={"peer": process})
            if self._returning is None or self._returning.done():
                self._returning = asyncio.create_task(
                    self._return_abandoned(), name="return abandoned messages"
                )

    async def _on_announcement(self, message: Msg) -> None:
        try:
            announced = PeerAnnounced.model_validate_json(message.data)
        except ValidationError:
            return
        if announced.process == self._process:
            return
        if announced.leaving:
            self._table.left(announced.process)
        elif not announced.starting:
            self._table.heard(announced.process, asyncio.get_running_loop().time())
        if message.reply:
            await message.respond(self._holdings())

    def _hear(self, message: Msg) -> PeerHoldings | None:
        try:
            holdings = PeerHoldings.model_validate_json(message.data)
        except ValidationError:
            return None
        self._table.heard(holdings.process, asyncio.get_running_loop().time())
        return holdings

    def _holdings(self) -> bytes:
        positions = self._gateway.in_flight.positions(self._queue.stream, self._queue.durable)
        held = [StreamSeq(position) for position in sorted(positions)]
        return PeerHoldings(process=self._process, positions=held).model_dump_json().encode()

    def _announce(self, *, starting: bool = False, leaving: bool = False) -> bytes:
        announced = PeerAnnounced(process=self._process, starting=starting, leaving=leaving)
        return announced.model_dump_json().encode()

    # Once a process is gone.

    async def _return_abandoned(self) -> None:
        """Return what nobody holds, once all have answered; after the ack wait JetStream has done it."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._queue.ack_wait_seconds
        while clock() < deadline:
            losses = self._losses
            if await self._returned() and losses == self._losses:
                return
            await asyncio.sleep(CONFIRM_SECONDS)
        log.warning(
            "a peer does not answer which messages it holds: abandoned ones wait for their ack wait"
        )

    async def _returned(self) -> bool:
        try:
            before, held_before = await self._unacknowledged(), await self._held_by_others()
            await asyncio.sleep(CONFIRM_SECONDS)
            now, held_now = await self._unacknowledged(), await self._held_by_others()
            if held_before is None or held_now is None:
                return False
            both = Unacknowledged(before.positions & now.positions, now.consumer_sequence)
            await self._return(both, held_before | held_now)
        except _NATS_ERRORS as error:
            log.warning("abandoned messages cannot be returned now", extra={"why": repr(error)})
            return False
        return True

    async def _unacknowledged(self) -> Unacknowledged:
        queue = self._queue
        try:
            return await list_unacknowledged(
                self._gateway, queue.stream, queue.durable, queue.subject
            )
        except NotFoundError:
            return Unacknowledged(frozenset(), 0)

    async def _held_by_others(self) -> frozenset[StreamSeq] | None:
        """None where a peer that is not gone does not answer in time."""
        answered: set[str] = set()
        held: set[StreamSeq] = set()
        changed = asyncio.Event()

        async def on_answer(message: Msg) -> None:
            holdings = self._hear(message)
            if holdings is not None:
                answered.add(holdings.process)
                held.update(holdings.positions)
                changed.set()

        subscription = await self._nc.subscribe(self._nc.new_inbox(), cb=on_answer)
        try:
            await self._publish_announcement(reply=subscription.subject)
            with suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS):
                    while not self._table.members <= answered:
                        await changed.wait()
                        changed.clear()
        finally:
            await subscription.unsubscribe()
        silent = self._table.members - answered
        self._table.suspect(silent)
        return None if silent else frozenset(held)

    async def _return(self, found: Unacknowledged, held: frozenset[StreamSeq]) -> None:
        queue = self._queue
        own = self._gateway.in_flight.positions(queue.stream, queue.durable)
        abandoned = sorted(found.positions - held - own)
        if not abandoned:
            return
        attempts = await self._recorded_attempts()
        returned = [position for position in abandoned if attempts[f"{position}"] < MAX_ATTEMPTS]
        await return_messages(
            self._gateway, queue.stream, queue.durable, returned, found.consumer_sequence
        )
        self._gateway.metrics.returned.labels(queue.durable).inc(len(returned))
        fields = {"returned": len(returned), "abandoned": len(abandoned)}
        log.warning("messages of a process that is gone are returned to the queue", extra=fields)

    async def _recorded_attempts(self) -> Counter[str]:
        """By position, the attempts that failed, and the redeliveries that began (attempts.py)."""
        stream = subjects.bucket_stream(subjects.ATTEMPTS)
        keys = subjects.bucket_subject(subjects.ATTEMPTS, f"{self._queue.durable}.>")
        stored = self._gateway.reader.pages(stream, keys, BEFORE_FIRST)
        counts: Counter[str] = Counter()
        async for message in stored:
            match message.subject.split("."):
                case [_, _, _, position, _, _] if not message.is_deleted:
                    counts[position] += 1
        return counts
