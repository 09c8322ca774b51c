"""Subscriber: the bounded queue of live messages of one viewer."""

import asyncio
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from contracts.deltas import Report, TextStreamed
from contracts.event_log import Decision
from contracts.ids import Seq, StreamSeq
from services.chassis.tasks import SingleWaiterEvent

NO_POSITION = StreamSeq(0)
QUEUE_BYTES = 4 * 1024 * 1024
"""Limit of the queued messages of one viewer in bytes."""
QUEUE_SIZE = 512
"""Default limit of the queued messages of one viewer in number."""


Shared = dict[Hashable, Any]
"""What a message is mapped to, for each kind of viewer: by the first of them, for all of them."""


OVERDUE_SECONDS = 2.0
"""How long a command may wait to be taken up before the viewer is told."""


@dataclass(frozen=True, slots=True)
class Appended:
    """A decision that was appended to the log, and its position in the stream."""

    position: StreamSeq
    decision: Decision
    shared: Shared = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Streamed:
    """A chunk of streamed text."""

    chunk: TextStreamed
    shared: Shared = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Progressed:
    """The progress of a tool, or a wait."""

    report: Report
    shared: Shared = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Lagging:
    """Messages were dropped: read the log, up to this position at least."""

    up_to: StreamSeq


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    """The viewer asked for a replay from a cursor."""

    cursor: Seq


@dataclass(frozen=True, slots=True)
class TailReached:
    """How far the log of an idle chat reaches."""

    position: StreamSeq


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """The viewer has left this chat."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """What the viewer has sent is in the queue of commands, and nothing has taken it up yet."""


LiveMessage = Appended | Streamed | Progressed
Notification = LiveMessage | Overdue | Lagging | ResumeRequested | TailReached | Unsubscribed


class Subscriber:
    """The queue of one viewer: bounded, so that a slow viewer delays no other one."""

    __slots__ = (
        "_bytes",
        "_changed",
        "_expects",
        "_lagging_to",
        "_queue",
        "_resume_cursor",
        "_size",
        "_tail",
        "unsubscribed",
    )

    def __init__(self, size: int) -> None:
        self.unsubscribed = False
        self._size = size
        self._queue: deque[tuple[LiveMessage, int]] | None = None  # an empty deque takes 600 bytes
        self._bytes = 0
        self._lagging_to: StreamSeq | None = None
        self._resume_cursor: Seq | None = None
        self._tail: StreamSeq | None = None
        self._changed = SingleWaiterEvent()
        self._expects = False

    def offer(self, message: LiveMessage, size: int = 0) -> None:
        """Queue a message of so many bytes; where there is no room, drop the queue instead."""
        queue = self._queue if self._queue is not None else deque()
        has_room = len(queue) < self._size and self._bytes + size <= QUEUE_BYTES
        if self._lagging_to is None and has_room:
            queue.append((message, size))
            self._queue = queue
            self._bytes += size
        else:
            self.mark_lagging(message.position if isinstance(message, Appended) else NO_POSITION)
        self._changed.set()

    def mark_lagging(self, up_to: StreamSeq = NO_POSITION) -> None:
        """Drop the queue: the viewer reads the log from its cursor instead."""
        positions = [one.position for one, _ in self._queue or () if isinstance(one, Appended)]
        self._lagging_to = max([up_to, self._lagging_to or NO_POSITION, *positions])
        self._queue = None
        self._bytes = 0
        self._changed.set()

    def resume_from(self, cursor: Seq) -> None:
        self._resume_cursor = cursor
        self._changed.set()

    def report_tail(self, position: StreamSeq) -> None:
        self._tail = position
        self._changed.set()

    def unsubscribe(self) -> None:
        self.unsubscribed = True
        self._changed.set()

    def expect(self) -> None:
        """The viewer has sent something that an event of the log will follow."""
        self._expects = True
        self._changed.set()

    @property
    def is_empty(self) -> bool:
        """Whether no message is queued."""
        return self._queue is None

    async def next(self) -> Notification:
        """The next notification; leaving, a replay and a gap come before queued messages.

        Overdue, once, where what the viewer has sent is not taken up within OVERDUE_SECONDS.
        """
        while (notification := self._next()) is None:
            self._changed.clear()
            try:
                async with asyncio.timeout(OVERDUE_SECONDS if self._expects else None):
                    await self._changed.wait()
            except TimeoutError:
                self._expects = False
                return Overdue()
        if isinstance(notification, Appended):
            self._expects = False
        return notification

    def _next(self) -> Notification | None:
        if self.unsubscribed:
            return Unsubscribed()
        if self._resume_cursor is not None:
            cursor, self._resume_cursor = self._resume_cursor, None
            return ResumeRequested(cursor)
        if self._lagging_to is not None:
            up_to, self._lagging_to = self._lagging_to, None
            return Lagging(up_to)
        if self._tail is not None:
            position, self._tail = self._tail, None
            return TailReached(position)
        if self._queue is None:
            return None
        message, size = self._queue.popleft()
        self._queue = self._queue or None
        self._bytes -= size
        return message
