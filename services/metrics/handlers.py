"""Follow the log from where the saved numbers end, and save the two together as it goes on."""

import asyncio
import contextlib
import logging

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, KeyNotFoundError
from nats.js.kv import KeyValue

from contracts import subjects
from contracts.event_log import EMPTY, Head
from contracts.ids import ChatKey, StreamSeq
from services.chassis.bus import Bus
from services.chassis.direct_get import RawMessage, UnavailableError
from services.chassis.ending import end
from services.chassis.logs import SparingLog
from services.metrics.board import Board, UnreadableBoardError

log = logging.getLogger(__name__)

KEY = "board"
BATCH = 500
LINGER_SECONDS = 0.5
"""How long a batch may fill: bounds how far the numbers trail the log."""
QUIET_FETCHES = 10
"""After so many empty ones in a row, ask whether there still is a consumer."""
AGAIN_SECONDS = 1.0
SAVE_SECONDS = 1.0
HEADS = 1000
"""Forgotten chats whose head is known since a message was rejected: many may come in a row."""
IDLE_SECONDS = 10.0
"""How long the server keeps the consumer of a process that is gone."""

_TROUBLE = (NatsError, APIError, OSError, UnavailableError)


_NOT_SAVED = StreamSeq(-1)


class MissedError(Exception):
    """A message of the consumer was lost on its way: begin again from the board's position."""


class Counting:
    """Feeds the board, in stream order, until it is stopped; then saves it for the last time."""

    def __init__(self, bus: Bus, bucket: KeyValue, board: Board) -> None:
        self._bus = bus
        self._bucket = bucket
        self._board = board
        self._saved = _NOT_SAVED
        self._log = SparingLog(log)
        self._heads: dict[ChatKey, Head] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def trouble(self) -> str | None:
        if any(task.done() for task in self._tasks):
            return "counting has stopped"
        return None

    async def start(self) -> None:
        """Raises nats errors where the bucket cannot be read."""
        await self._load()
        self._tasks = [
            asyncio.create_task(self._follow(), name="follow events"),
            asyncio.create_task(self._save_often(), name="save the board"),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._save()

    async def begin_anew(self) -> None:
        """Count another log, whose first message comes first: the one before was deleted."""
        follow, *others = self._tasks
        await end(follow)
        self._board.clear()
        self._heads.clear()
        self._tasks = [asyncio.create_task(self._follow(), name="follow events"), *others]
        log.warning("EVENTS was made anew, counting from its first event")

    async def save_again(self) -> None:
        """Save what was saved already: the bucket was made anew."""
        self._saved = _NOT_SAVED
        await self._save()

    async def _load(self) -> None:
        try:
            entry = await self._bucket.get(KEY)
            newest = (await self._bus.js.stream_info(subjects.EVENTS)).state.last_seq
            self._board.load(entry.value or b"", newest=StreamSeq(newest))
        except KeyNotFoundError:
            return
        except UnreadableBoardError as broken:
            log.warning("counting from the first event", extra={"why": str(broken)})
            return
        self._saved = self._board.position
        log.info("counting goes on", extra={"after": self._board.position})

    async def _follow(self) -> None:
        while True:
            try:
                subscription = await self._subscribe()
                try:
                    await self._take(subscription)
                finally:
                    with contextlib.suppress(NatsError):  # closed already: nothing to end
                        await subscription.unsubscribe()
            except (*_TROUBLE, MissedError) as trouble:
                log.warning("log unavailable, trying again", extra={"why": repr(trouble)})
                await asyncio.sleep(AGAIN_SECONDS)

    async def _subscribe(self) -> JetStreamContext.PullSubscription:
        # FastStream can start a consumer at a position, but not make a lost one again from another:
        # after a restart of NATS it would wait on the old one for ever.
        return await self._bus.js.pull_subscribe(
            subjects.ALL_EVENTS,
            stream=subjects.EVENTS,
            config=ConsumerConfig(
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self._board.position + 1,
                ack_policy=AckPolicy.NONE,
                mem_storage=True,
                num_replicas=1,
                inactive_threshold=IDLE_SECONDS,
            ),
        )

    async def _take(self, subscription: JetStreamContext.PullSubscription) -> None:
        taken, quiet = 0, 0
        while True:
            try:
                messages = await subscription.fetch(BATCH, timeout=LINGER_SECONDS)
                quiet = 0
            except TimeoutError:  # the builtin, and nats-py's own, which is one
                messages = []
                quiet += 1
            for message in messages:
                taken = _next(message, taken)
                position = StreamSeq(message.metadata.sequence.stream)
                await self._record(RawMessage(position, message.subject, message.data))
            if quiet == QUIET_FETCHES:
                await subscription.consumer_info()
                quiet = 0

    async def _record(self, message: RawMessage) -> None:
        key = self._board.forgotten(message.subject)
        if key is None:
            self._board.record(message)
            return
        head = self._heads.pop(key, None) or await self._head(key, message)
        self._board.record(message, head)
        if self._board.forgotten(message.subject) is not None:  # no event of it: its head stands
            self._heads[key] = head
            if len(self._heads) > HEADS:
                self._heads.popitem()

    async def _head(self, key: ChatKey, message: RawMessage) -> Head:
        """Where a chat's log ended before a message."""
        head = EMPTY
        async for commit in self._bus.events.read_to(key, message.position):
            if commit.place.position >= message.position:
                break
            head = commit.place.head
        return head

    async def _save_often(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            await self._save()

    async def _save(self) -> None:
        position = self._board.position
        if position == self._saved:
            return
        try:
            await self._bucket.put(KEY, self._board.save())
        except _TROUBLE as trouble:  # the next one says the same and more
            self._log.warning("the board is not saved", why=repr(trouble))
            return
        self._saved = position


def _next(message: Msg, taken: int) -> int:
    # Nothing is acknowledged, so nothing comes again: only the consumer's own count shows a loss.
    number = message.metadata.sequence.consumer
    if number != taken + 1:
        raise MissedError(f"expected delivery {taken + 1}, got {number}")
    return number
