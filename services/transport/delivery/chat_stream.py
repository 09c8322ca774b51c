"""Stream of one chat to one viewer: the log from its cursor, then live events, without gap or repeat."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

from contracts.deltas import Report, TextStreamed
from contracts.event_log import StoredEvent
from contracts.ids import Seq, StreamSeq
from contracts.streamed_text import (
    MissingTextError,
    TextPosition,
    advance,
    call_id,
    new_text,
)
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.event_log import Commit, EventLog, Place
from services.transport.delivery.broadcast import ChatChannel
from services.transport.delivery.subscriber import (
    NO_POSITION,
    Appended,
    Lagging,
    Overdue,
    Progressed,
    ResumeRequested,
    Shared,
    Streamed,
    Subscriber,
    TailReached,
    Unsubscribed,
)
from services.transport.protocol.chat_projection import ChatView, apply
from services.transport.protocol.event_to_frames import Viewer

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")
ResumeMode = Literal["auto", "client"]

RETRY_SECONDS = 0.5
"""Between two tries to read the log while NATS is unavailable."""
MAX_GAP_READS = 200
GAP_READ_SECONDS = 0.05
"""Together: how long a replica may take to show an event that another published, ten seconds."""


class LostEventsError(NatsUnavailableError):
    """An event was published that no replica of the log has within ten seconds."""


class EventMapper(Protocol[T]):
    """Maps events of a chat to what is sent, `T`; `protocol.event_to_frames` maps them to frames.

    `is_shared`: live messages are mapped alike for equal viewers, so that what was mapped for one is
    sent to all. Such mappers map to frames.
    """

    @property
    def is_shared(self) -> bool: ...

    def map_history(self, viewer: Viewer, stored: StoredEvent, view: ChatView, /) -> list[T]: ...

    def map_event(self, viewer: Viewer, stored: StoredEvent, view: ChatView, /) -> list[T]: ...

    def map_chunk(self, viewer: Viewer, chunk: TextStreamed, /) -> list[T]: ...

    def map_report(self, viewer: Viewer, report: Report, /) -> list[T]: ...

    def map_overdue(self) -> list[T]: ...

    def boundary(
        self, view: ChatView, last: Seq, replayed: int, mode: ResumeMode, /
    ) -> list[T]: ...


def _do_nothing() -> None:
    pass


class ChatStream(Generic[T]):
    """Sends one chat to one viewer, until it is cancelled or the subscriber is unsubscribed."""

    __slots__ = (
        "_channel",
        "_cursor",
        "_events",
        "_first",
        "_flush",
        "_mapper",
        "_place",
        "_send",
        "_subscriber",
        "_text",
        "_view",
        "_viewer",
        "resume_cursor",
    )

    def __init__(
        self,
        events: EventLog,
        channel: ChatChannel,
        subscriber: Subscriber,
        view: ChatView,
        viewer: Viewer,
        after: Seq,
        send: Callable[[T], Awaitable[None]],
        mapper: EventMapper[T],
        flush: Callable[[], None] = _do_nothing,
    ) -> None:
        """`flush` is called when everything that there is was sent, before more is waited for."""
        channel.start_counting(view.place)
        self._events = events
        self._channel = channel
        self._subscriber = subscriber
        self._view = view
        self._viewer = viewer
        # A cursor past the end would hide later events.
        self._cursor = Seq(min(after, view.last_seq))
        self._first = self._cursor
        self.resume_cursor: Seq | None = None
        self._place: Place | None = None
        self._text: TextPosition | None = None
        self._send = send
        self._mapper = mapper
        self._flush = flush

    @property
    def cursor(self) -> Seq:
        """The last event that was sent completely."""
        return self._cursor

    @property
    def view(self) -> ChatView:
        return self._view

    @property
    def text(self) -> TextPosition | None:
        """How much text of the open model call was sent."""
        return self._text

    def continue_text_from(self, text: TextPosition | None) -> None:
        """Send the open text only from where an earlier stream left off."""
        self._text = text

    async def run(self) -> None:
        """`resume_cursor` is set where a replay is asked for that needs the view of the whole chat."""
        await self._replay("auto", self._mapper.map_history)
        while True:
            match await self._follow_live():
                case Unsubscribed():
                    return
                case ResumeRequested(cursor) if cursor < self._first and not self._view.is_whole:
                    self.resume_cursor = cursor
                    return
                case ResumeRequested(cursor):
                    # A cursor past the end would hide later events.
                    self._cursor = Seq(min(cursor, self._cursor))
                    self._place, self._text = None, None
                    await self._replay("client", self._mapper.map_event)
                case Lagging(up_to):
                    self._channel.count_lagging()
                    await self._catch_up(self._mapper.map_event, up_to)
                    await self._send_open_text()

    async def _replay(self, mode: ResumeMode, map_events: "Mapping[T]") -> None:
        count = await self._catch_up(map_events)
        if self._subscriber.unsubscribed:
            return
        for item in self._mapper.boundary(self._view, self._cursor, count, mode):
            await self._send(item)
        await self._send_open_text()

    async def _catch_up(self, map_events: "Mapping[T]", up_to: StreamSeq = NO_POSITION) -> int:
        """Send the log from the cursor to its end, at position `up_to` or beyond; the number of events."""
        count = 0
        for _ in range(MAX_GAP_READS):
            async for commit in self._read_log():
                if self._subscriber.unsubscribed:
                    return count
                count += await self._send_commit(commit, map_events)
            self._place = self._place or self._view.place  # nothing was sent
            self._channel.share_view(self._place, self._view)
            if self._place.position >= up_to:
                return count
            await asyncio.sleep(GAP_READ_SECONDS)
        raise LostEventsError(f"message {up_to} was published, but the log does not contain it")

    async def _read_log(self) -> AsyncIterator[Commit]:
        """The log after the cursor; the first read may contain events before it."""
        key, known = self._view.key, self._view.place
        while True:
            try:
                if self._place is None:
                    near = self._view.positions.at_or_before(Seq(self._cursor + 1))
                    async for commit in self._events.read_from(
                        key, self._cursor, known=known, near=near
                    ):
                        yield commit
                else:
                    async for commit in self._events.read(key, after=self._place):
                        yield commit
            except NatsUnavailableError:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def _follow_live(self) -> Lagging | ResumeRequested | Unsubscribed:
        """Send live messages until something is missing that only the log has."""
        while True:
            if self._subscriber.is_empty:
                self._flush()
            match await self._subscriber.next():
                case (Lagging() | ResumeRequested() | Unsubscribed()) as notification:
                    return notification
                case TailReached(position):
                    if self._place is None or position > self._place.position:
                        return Lagging(position)
                case Appended(position, decision) as appended:
                    if self._place is None or not decision.follows(self._place.head):
                        if self._place is None or position > self._place.position:
                            return Lagging(position)
                        continue
                    await self._send_appended(appended)
                    self._channel.count_delivered(decision.first.time)
                case Streamed() as streamed:
                    await self._on_chunk(streamed)
                case Progressed(report, shared):
                    for item in self._mapped(
                        shared, lambda: self._mapper.map_report(self._viewer, report)
                    ):
                        await self._send(item)
                case Overdue():
                    for item in self._mapper.map_overdue():
                        await self._send(item)

    def _mapped(self, shared: Shared, map_message: Callable[[], R]) -> R:
        """What a live message is mapped to for this kind of viewer."""
        if not self._mapper.is_shared:
            return map_message()
        found: R | None = shared.get(self._viewer)
        if found is None:
            found = shared[self._viewer] = map_message()
        return found

    async def _send_appended(self, appended: Appended) -> None:
        """Send a decision that follows the last event that was sent."""
        place = Place(appended.position, appended.decision.head)
        self._channel.count_from_log(
            self._place or self._view.place, Commit(place, appended.decision.events)
        )
        events = appended.decision.events
        for view, items in self._mapped(appended.shared, lambda: self._map_events(events)):
            if self._subscriber.unsubscribed:  # the client shows another chat now
                return
            self._view = view
            for item in items:
                await self._send(item)
            self._cursor = view.last_seq
        self._place = place
        self._channel.share_view(place, self._view)

    def _map_events(self, events: Sequence[StoredEvent]) -> "list[_MappedEvent[T]]":
        """Each event with the view after it; equal for all viewers that have read the log so far."""
        view = self._view
        mapped: list[_MappedEvent[T]] = []
        for stored in events:
            view = apply(view, stored.envelope, stored.event)
            mapped.append(_MappedEvent(view, self._mapper.map_event(self._viewer, stored, view)))
        return mapped

    async def _send_commit(self, commit: Commit, map_events: "Mapping[T]") -> int:
        """Send the events after the cursor; the number of events."""
        count = 0
        self._channel.count_from_log(self._place or self._view.place, commit)
        for stored in commit.events:
            if self._subscriber.unsubscribed:  # the client shows another chat now
                return count
            if stored.envelope.seq <= self._cursor:
                continue
            self._view = apply(self._view, stored.envelope, stored.event)
            for item in map_events(self._viewer, stored, self._view):
                await self._send(item)
            self._cursor = stored.envelope.seq
            count += 1
        self._place = commit.place
        return count

    async def _on_chunk(self, streamed: Streamed) -> None:
        # A chunk may arrive before the event of its call or after its end: only the open call counts.
        chunk, before = streamed.chunk, self._text
        if call_id(chunk) != self._view.call or chunk.runner in self._view.closed_attempts:
            return
        try:
            after = advance(before, chunk)
        except MissingTextError:
            await self._send_open_text()
            return
        if after is before:
            return
        self._text = after
        new = new_text(before, after, chunk)
        shared = streamed.shared if new is chunk else {}
        for item in self._mapped(shared, lambda: self._mapper.map_chunk(self._viewer, new)):
            await self._send(item)

    async def _send_open_text(self) -> None:
        """Send the text of the open call, from where this viewer has it."""
        try:
            text = await self._channel.streamed_text(self._view)
        except NatsUnavailableError:
            log.info("streamed text cannot be read", extra={"chat": self._view.key.chat})
            return
        chunk = None if text is None else text.after(self._text)
        if text is None or chunk is None or chunk.runner in self._view.closed_attempts:
            return
        self._text = text.position
        for item in self._mapper.map_chunk(self._viewer, chunk):
            await self._send(item)


class _MappedEvent(NamedTuple, Generic[T]):
    """An event of a decision: the view after it, and what is sent of it."""

    view: ChatView
    items: list[T]


Mapping = Callable[[Viewer, StoredEvent, ChatView], list[T]]
