"""One subscription per watched chat and process, fanned out to its viewers in memory."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from pydantic import ValidationError

from contracts.event_log import Decision, RejectedMessageError
from contracts.ids import ChatKey, Seq, StreamSeq
from contracts.live import DELTA, Delta, TextStreamed
from services.chassis.bus import Bus
from services.chassis.connection import flush
from services.chassis.direct_get import UnavailableError, position_of
from services.chassis.event_log import Commit, Place, decision_of
from services.transport.chatview import ChatView
from services.transport.refusals import limit_reached
from services.transport.signal import Signal
from services.transport.speech import MissedTextError, Speech, hear, heard_of
from services.transport.tally import Tally

log = logging.getLogger(__name__)

NOWHERE = StreamSeq(0)
_NONE: frozenset[StreamSeq] = frozenset()  # one for all rooms: an empty set takes 216 bytes
VIEWERS = 200
"""Of one chat, in one process."""
SEAT_BYTES = 4 * 1024 * 1024
"""Of messages that wait for one viewer, whatever their number."""
SEAT_SIZE = 512
"""Messages that wait for one viewer; beyond it the viewer reads the log from its cursor instead."""
RECONNECT_LOOK_SECONDS = 0.25
SILENT_SECONDS = 10.0
"""A chat to which nothing happens for so long is looked up, once for all of its viewers."""
CLOCKS_APART = timedelta(seconds=30)
"""How far the clock of an orchestrator and that of NATS may differ."""


@dataclass(frozen=True, slots=True)
class Happened:
    """A decision as it was stored, with its place in the stream."""

    position: StreamSeq
    decision: Decision


@dataclass(frozen=True, slots=True)
class Behind:
    """Messages were missed: the log has them, up to position `goal` at least."""

    goal: StreamSeq


@dataclass(frozen=True, slots=True)
class Rewound:
    """The viewer asked for everything past a cursor once more."""

    cursor: Seq


@dataclass(frozen=True, slots=True)
class Reached:
    """How far the log goes, told to those to whom nothing happens."""

    position: StreamSeq


@dataclass(frozen=True, slots=True)
class Left:
    """The viewer looks at something else now."""


Live = Happened | Delta
News = Live | Behind | Rewound | Reached | Left


class Seat:
    """What waits for one viewer: bounded, and never in anyone else's way."""

    __slots__ = ("_bytes", "_missed", "_news", "_reached", "_rewound", "_size", "_waiting", "left")

    def __init__(self, size: int) -> None:
        self.left = False
        self._size = size
        self._waiting: deque[tuple[Live, int]] | None = None  # an empty one takes 600 bytes
        self._bytes = 0
        self._missed: StreamSeq | None = None
        self._rewound: Seq | None = None
        self._reached: StreamSeq | None = None
        self._news = Signal()

    def offer(self, live: Live, size: int = 0) -> None:
        waiting = self._waiting if self._waiting is not None else deque()
        room = len(waiting) < self._size and self._bytes + size <= SEAT_BYTES
        if self._missed is None and room:
            waiting.append((live, size))
            self._waiting = waiting
            self._bytes += size
        else:
            self.fall_behind(live.position if isinstance(live, Happened) else NOWHERE)
        self._news.set()

    def fall_behind(self, goal: StreamSeq = NOWHERE) -> None:
        """Forget what waits; the viewer reads on from its cursor."""
        waiting = [w.position for w, _ in self._waiting or () if isinstance(w, Happened)]
        self._missed = max([goal, self._missed or NOWHERE, *waiting])
        self._waiting = None
        self._bytes = 0
        self._news.set()

    def rewind(self, cursor: Seq) -> None:
        self._rewound = cursor
        self._news.set()

    def reach(self, position: StreamSeq) -> None:
        self._reached = position
        self._news.set()

    def leave(self) -> None:
        self.left = True
        self._news.set()

    async def next(self) -> News:
        while (news := self._next()) is None:
            self._news.clear()
            await self._news.wait()
        return news

    def _next(self) -> News | None:
        if self.left:
            return Left()
        if self._rewound is not None:
            cursor, self._rewound = self._rewound, None
            return Rewound(cursor)
        if self._missed is not None:
            goal, self._missed = self._missed, None
            return Behind(goal)
        if self._reached is not None:
            position, self._reached = self._reached, None
            return Reached(position)
        if self._waiting is None:
            return None
        live, size = self._waiting.popleft()
        self._waiting = self._waiting or None
        self._bytes -= size
        return live


class Room:
    """A watched chat: its viewers, and what its open model call has said so far."""

    __slots__ = (
        "_bus",
        "_filling",
        "_is_silent",
        "_key",
        "_place",
        "_seats",
        "_speech",
        "_tally",
        "_unsettled",
    )

    def __init__(self, bus: Bus, key: ChatKey, tally: Tally | None = None) -> None:
        self._bus = bus
        self._tally = tally or Tally()
        self._key = key
        self._seats: set[Seat] = set()
        self._speech: Speech | None = None
        self._filling = asyncio.Lock()
        self._is_silent = False
        self._place: Place | None = None  # up to which messages are counted
        self._unsettled: frozenset[StreamSeq] = _NONE  # heard beyond it, perhaps no events

    @contextlib.contextmanager
    def seat(self, size: int) -> Iterator[Seat]:
        seat = Seat(size)
        self._seats.add(seat)
        try:
            yield seat
        finally:
            self._seats.discard(seat)

    def reread(self) -> None:
        """Send every viewer to the log."""
        self._speech = None
        for seat in self._seats:
            seat.fall_behind()

    async def look(self) -> None:
        """Tell every viewer how far the log goes, where nothing came since the last look.

        Raises UnavailableError.
        """
        was_silent, self._is_silent = self._is_silent, True
        if not was_silent:
            return
        position = await self._bus.events.last_position(self._key)
        for seat in self._seats:
            seat.reach(position)

    async def on_message(self, message: Msg) -> None:
        self._is_silent = False
        try:
            live = _live(message)
        except RejectedMessageError as broken:
            log.warning("a live message is skipped", extra=_told(message, broken))
            self._unsettled |= {position_of(message)}
            return
        except ValidationError as broken:
            log.warning("a live message is skipped", extra=_told(message, broken))
            self._tally.rejected += 1
            return
        if isinstance(live, TextStreamed):
            self._hear(live)
        elif isinstance(live, Happened):
            self._meet(live)
        for seat in self._seats:
            seat.offer(live, len(message.data))

    # -- what counts -------------------------------------------------------------------------------

    def begin(self, place: Place) -> None:
        """What comes after the place that its first viewer knows is counted in the tally."""
        if self._place is None:
            self._place = place

    def _meet(self, live: Happened) -> None:
        if self._place is None or live.position <= self._place.position:
            return
        if live.decision.follows(self._place.head):
            self._count(Commit(Place(live.position, live.decision.head), live.decision.events))
        else:  # no event of the chat, or one before it was lost on its way
            self._unsettled |= {live.position}

    def settle(self, before: Place, commit: Commit) -> None:
        """Hear of a message in the log from a viewer that stood at `before`; counted once."""
        position = commit.place.position
        if self._place is not None and before.position <= self._place.position < position:
            self._count(commit)

    def _count(self, commit: Commit) -> None:
        position = commit.place.position
        rejected = {one for one in self._unsettled if one < position}
        if not commit.events:
            rejected.add(position)
        self._unsettled -= {position, *rejected}
        self._tally.rejected += len(rejected)
        for one in commit.events:
            self._tally.note(one.envelope)
        self._place = commit.place

    def _hear(self, chunk: TextStreamed) -> None:
        try:
            self._speech = hear(self._speech, chunk)
        except MissedTextError:
            self._speech = None  # the next who needs it reads it

    async def speech(self, view: ChatView) -> Speech | None:
        """What the chat's open model call has said so far. Raises UnavailableError."""
        if view.call is None or view.call_asked is None:
            return None
        async with self._filling:
            if self._speech is None or self._speech.call != view.call:
                since = (view.call_asked - CLOCKS_APART).isoformat()
                chunks = await self._bus.read_deltas(self._key, since=since)
                self._speech = heard_of(view.call, chunks)
            return self._speech


@dataclass(slots=True)
class _Lease:
    room: Room
    opening: asyncio.Lock
    watching: AbstractAsyncContextManager[None] | None = None
    viewers: int = 0


class Rooms:
    """The rooms of this process: opened by the first viewer, closed behind the last."""

    def __init__(self, bus: Bus, seat_size: int = SEAT_SIZE, viewers: int = VIEWERS) -> None:
        self._bus = bus
        self._viewers = viewers
        self._seat_size = seat_size
        self.tally = Tally()
        self._leases: dict[ChatKey, _Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    @asynccontextmanager
    async def seat(self, key: ChatKey) -> AsyncIterator[tuple[Room, Seat]]:
        """A seat in the chat's room, from which nothing is missed.

        Raises RefusalError, UnavailableError.
        """
        lease = self._leases.get(key)
        if lease is not None and lease.viewers >= self._viewers:
            raise limit_reached("chat_id", f"{self._viewers} are watching it already")
        if lease is None:
            lease = _Lease(Room(self._bus, key, self.tally), asyncio.Lock())
            self._leases[key] = lease
        lease.viewers += 1
        try:
            await self._open(key, lease)
            with lease.room.seat(self._seat_size) as seat:
                yield lease.room, seat
        finally:
            lease.viewers -= 1
            if lease.viewers == 0:
                del self._leases[key]
                if lease.watching is not None:
                    await lease.watching.__aexit__(None, None, None)

    async def _open(self, key: ChatKey, lease: _Lease) -> None:
        async with lease.opening:
            if lease.watching is not None:
                return
            watching = self._bus.watching(key, lease.room.on_message)
            try:
                await watching.__aenter__()
            except (NatsError, OSError, TimeoutError) as away:
                raise UnavailableError(f"watch {key.app}/{key.chat}") from away
            lease.watching = watching  # left by the last viewer, whoever that is

    async def look_at_the_silent(self) -> None:
        """Nothing else would tell that the last message of a chat was lost."""
        while True:
            await asyncio.sleep(SILENT_SECONDS)
            with contextlib.suppress(UnavailableError):  # that of a reconnect comes in its place
                for lease in list(self._leases.values()):
                    await lease.room.look()

    async def keep_whole(self) -> None:
        """After each reconnect to NATS send all viewers to the log: what passed meanwhile is lost."""
        nc = self._bus.nc
        known = nc.stats["reconnects"]
        while True:
            await asyncio.sleep(RECONNECT_LOOK_SECONDS)
            now = nc.stats["reconnects"]
            if now == known or not nc.is_connected:
                continue
            with contextlib.suppress(NatsError, OSError, TimeoutError):
                await flush(nc, 2)  # the subscriptions stand before anyone reads
                known = now
                for lease in self._leases.values():
                    lease.room.reread()


def _live(message: Msg) -> Live:
    if message.subject.endswith(".delta"):
        return DELTA.validate_json(message.data)
    return Happened(*decision_of(message))


def _told(message: Msg, broken: Exception) -> dict[str, object]:
    return {"subject": message.subject, "why": str(broken)}
