"""The event log of each chat on JetStream: append a decision, read one chat, list chats."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count
from time import perf_counter
from typing import NamedTuple

from nats.aio.client import Client
from nats.aio.msg import Msg

from contracts import encryption, event_log, subjects
from contracts.codec import Fact
from contracts.event_log import EMPTY, Decision, Head, RejectedMessageError, StoredEvent
from contracts.events.chat import ChatForked
from contracts.forks import holder
from contracts.ids import AppId, ChatKey, Seq, StreamSeq
from contracts.subjects import InvalidSubjectError
from services.chassis.jetstream.direct_get import PAGE, RawMessage, position_of
from services.chassis.jetstream.errors import NatsUnavailableError, WrongLastSequenceError
from services.chassis.jetstream.event_reader import EventReader
from services.chassis.jetstream.publish import publish
from services.chassis.jetstream.storage_health import StorageHealth
from services.chassis.metrics import ProcessMetrics, unregistered

log = logging.getLogger(__name__)

OUTAGE_SECONDS = 30.0
"""How long an append is repeated while NATS is unavailable."""
RETRY_SECONDS = 0.2
_FORKED = f'"type":"{ChatForked.type}"'.encode()
"""In the first event of a fork, and hardly in any other: what has it is decoded."""
SLACK = 32
"""Events before a cursor that are read rather than searched on."""


class PositionConflictError(Exception):
    """Another append came first: nothing of this one is stored. Read again and decide again.

    `last` is the position of the chat's newest message, None if it is not known.
    """

    def __init__(self, key: ChatKey, expected: StreamSeq, last: StreamSeq | None = None) -> None:
        super().__init__(f"{key.app}/{key.chat} has moved past stream position {expected}")
        self.last = last


class PlaceLostError(Exception):
    """A chat's log does not continue at the place that a reader has kept: read it from the start.

    The stream was purged or created anew, or the newest message is invalid.
    """

    def __init__(self, key: ChatKey, position: StreamSeq) -> None:
        super().__init__(
            f"the log of {key.app}/{key.chat} does not continue at stream position {position}"
        )


class OriginLostError(NatsUnavailableError):
    """The log does not have all events of another chat that a fork goes on from."""

    def __init__(self, origin: ChatKey, last: Seq) -> None:
        super().__init__(f"the log of {origin.app}/{origin.chat} does not reach event {last}")
        self.origin = origin


class Place(NamedTuple):
    """The position of a reader of a chat: the last message it has read, the last valid event."""

    position: StreamSeq
    head: Head


START = Place(StreamSeq(0), EMPTY)


@dataclass(frozen=True, slots=True)
class Commit:
    """A message of a chat's log and the events that it adds.

    A message that is not valid after the messages before it adds none: `rejected` says why.
    """

    place: Place
    events: tuple[StoredEvent, ...]
    rejected: str | None = None

    @property
    def facts(self) -> list[Fact]:
        """The events that this release can read."""
        return [fact for one in self.events if (fact := one.fact) is not None]


def evaluate_and_log(place: Place, message: RawMessage) -> Commit:
    """As `evaluate`; an invalid message is logged. For readers that have read all before it."""
    commit = evaluate(place, message)
    if commit.rejected is not None:
        fields = {
            "subject": message.subject,
            "position": message.position,
            "why": commit.rejected,
        }
        log.warning("a message in a chat's log is not an event of it", extra=fields)
    return commit


def evaluate(place: Place, message: RawMessage) -> Commit:
    """What the next message of a chat's log adds after a place, and the place after it."""
    try:
        found = event_log.read(message.subject, message.data)
    except RejectedMessageError as rejected:
        return Commit(Place(message.position, place.head), (), str(rejected))
    if found.follows(place.head):
        return Commit(Place(message.position, found.head), found.events)
    why = event_log.why_it_does_not_follow(found, place.head)
    return Commit(Place(message.position, place.head), (), why)


class EventLog:
    """The event logs of chats, over one connection.

    The log of a fork begins with the events of its origin, up to the one at which it was forked. They
    are read where they are, and come at the position before that of the fork's own first message.
    """

    def __init__(
        self,
        nc: Client,
        storage: StorageHealth,
        reader: EventReader,
        metrics: ProcessMetrics | None = None,
    ) -> None:
        self._nc = nc
        self._storage = storage
        self._metrics = metrics or unregistered()
        self._reader = reader
        self.on_aged_out: Callable[[ChatKey], Awaitable[None]] | None = None
        """Restores a chat of which only the newest message is left; raises NatsUnavailableError."""

    # -- append ------------------------------------------------------------------------------------

    async def append(self, decision: Decision, *, after: StreamSeq) -> StreamSeq:
        """Store a decision right after the chat's message at stream position `after`, 0 for none.

        Returns its own position. Raises PositionConflictError, NatsRejectedError, or NatsUnavailableError
        after OUTAGE_SECONDS.
        """
        began = perf_counter()
        outcome = "failed"
        try:
            position = await self._append(decision, after)
        except PositionConflictError:
            outcome = "conflict"
            raise
        except NatsUnavailableError:
            outcome = "unavailable"
            raise
        else:
            outcome = "stored"
            self._metrics.append_size.observe(len(decision.events))
            return position
        finally:
            self._metrics.appends.labels(outcome).observe(perf_counter() - began)

    async def _append(self, decision: Decision, after: StreamSeq) -> StreamSeq:
        payload = decision.data
        deadline = asyncio.get_running_loop().time() + OUTAGE_SECONDS
        unanswered = False
        while True:
            try:
                return await self._append_once(decision, payload, after)
            except PositionConflictError:  # an earlier attempt without an answer may be the cause
                if not unanswered:
                    raise
                return await self._stored_position(decision, payload, after)
            except NatsUnavailableError as error:
                unanswered = True
                if asyncio.get_running_loop().time() > deadline:
                    raise NatsUnavailableError(
                        f"append {decision.first.event_id}: {error}"
                    ) from error
                await asyncio.sleep(RETRY_SECONDS)

    async def _append_once(self, decision: Decision, payload: bytes, after: StreamSeq) -> StreamSeq:
        # No Nats-Msg-Id: the expected sequence rejects a repeat, and another message could use the id.
        headers = {
            **decision.headers,
            "Nats-Expected-Last-Subject-Sequence": str(after),
            "Nats-Expected-Last-Subject-Sequence-Subject": subjects.events_of(decision.key),
        }
        subject = subjects.event(decision.key, decision.first.category)
        try:
            stored = await publish(self._nc, self._storage, subject, payload, headers)
        except WrongLastSequenceError as moved:
            raise PositionConflictError(decision.key, after, moved.last) from moved
        return stored.position

    async def _stored_position(
        self, decision: Decision, payload: bytes, after: StreamSeq
    ) -> StreamSeq:
        """Where an unanswered attempt stored it. Raises PositionConflictError where another came first."""
        found = await self._reader.next(decision.key, StreamSeq(after + 1))
        if found is None or found.data != payload:
            raise PositionConflictError(decision.key, after)
        return found.position

    # -- read --------------------------------------------------------------------------------------

    async def read(self, key: ChatKey, *, after: Place = START) -> AsyncIterator[Commit]:
        """One chat's messages after a place, in order, up to the current end of its log.

        Raises NatsUnavailableError.
        """
        newest = await self._reader.last(key)
        if newest is None or newest.position <= after.position:
            return
        async for commit in self._pages(key, after, newest.position):
            yield commit

    async def read_tail(
        self, key: ChatKey, *, after: Place, newest: StreamSeq | None = None
    ) -> AsyncIterator[Commit]:
        """As `read`, after a place that was kept for a time in which the log may have been replaced.

        `newest` is the position of the newest message where the leader has just named it. Raises
        PlaceLostError, perhaps after messages that add no event, and NatsUnavailableError.
        """
        if newest is None:
            message = await self._reader.last(key)
            newest = StreamSeq(0) if message is None else message.position
            if message is not None and newest == after.position and not _ends(message, after.head):
                raise PlaceLostError(key, after.position)
        if newest < after.position:
            raise PlaceLostError(key, after.position)
        if newest == after.position:
            return
        proven = after == START
        async for commit in self._pages(key, after, newest):
            proven = proven or bool(commit.events)
            yield commit
        if not proven:
            raise PlaceLostError(key, after.position)

    async def read_to(
        self, key: ChatKey, goal: StreamSeq, *, after: Place = START
    ) -> AsyncIterator[Commit]:
        """One chat's messages after a place, up to a position that the log is known to reach.

        Later messages may or may not be among them. Raises NatsUnavailableError.
        """
        async for commit in self._pages(key, after, goal):
            yield commit

    async def read_own(self, key: ChatKey, goal: StreamSeq | None = None) -> AsyncIterator[Commit]:
        """As `read` or `read_to`, from a chat's first own message on: of a fork without its origin's.

        That a fork follows its origin is not checked. Raises NatsUnavailableError.
        """
        if goal is None:
            goal = await self.last_position(key)
        first = await self._reader.next(key, StreamSeq(1))
        fork = None if first is None else _decoded(first)
        after = START
        if first is not None and fork is not None and fork.forked is not None:
            after = Place(StreamSeq(first.position - 1), fork.before)
        if goal > after.position:
            async for commit in self._pages(key, after, goal):
                yield commit

    async def _pages(self, key: ChatKey, after: Place, goal: StreamSeq) -> AsyncIterator[Commit]:
        await encryption.load(key)
        async for message in self._reader.pages(key, after.position, goal=goal):
            if after == START and await self._restored(key, message):
                newest = await self.last_position(key)
                async for commit in self._pages(key, START, newest):
                    yield commit
                return
            if (forked := _fork_after(after, message)) is not None:
                async for commit in self._inherited(key, forked, after.head, message.position):
                    after = commit.place
                    yield commit
            commit = evaluate_and_log(after, message)
            after = commit.place
            yield commit

    async def _restored(self, key: ChatKey, first: RawMessage) -> bool:
        """Whether the log began with a remnant and was restored. Raises what `on_aged_out` raises."""
        found = None if self.on_aged_out is None else _decoded(first)
        if self.on_aged_out is None or found is None or not found.is_remnant:
            return False
        await self.on_aged_out(key)
        return not await self.is_aged_out(key)

    async def is_aged_out(self, key: ChatKey) -> bool:
        """Whether all of a chat's messages but the newest are in the archive only.

        Raises NatsUnavailableError.
        """
        first = await self._reader.next(key, StreamSeq(1))
        found = None if first is None else _decoded(first)
        return found is not None and found.is_remnant

    async def _inherited(
        self, key: ChatKey, fork: Decision, known: Head, position: StreamSeq
    ) -> AsyncGenerator[Commit, None]:
        """The events of the chats before a fork after the `known` one, up to its own first event.

        `position` is that of the fork's first message. Raises OriginLostError, NatsUnavailableError.
        """
        begun = Seq(0)
        for part in [] if fork.forked is None else fork.forked.segments:
            if part.last > known.seq:
                origin = ChatKey(key.app, part.chat_id)
                start = StreamSeq(0)
                if known.seq > begun:
                    start = await self._position_after(origin, known.seq)
                async for commit in self._part_of(origin, Place(start, known), part.last):
                    known = commit.place.head
                    yield Commit(Place(StreamSeq(position - 1), known), commit.events)
                if known.seq < part.last:
                    raise OriginLostError(origin, part.last)
            begun = part.last
        if known != fork.before:
            raise OriginLostError(key, fork.before.seq)

    async def _part_of(
        self, origin: ChatKey, after: Place, last: Seq
    ) -> AsyncGenerator[Commit, None]:
        """A chat's own messages after a place, up to event `last`."""
        await encryption.load(origin)
        before = after.head.seq
        newest = await self._reader.last(origin)
        if newest is None:
            return
        async for message in self._reader.pages(origin, after.position, goal=newest.position):
            commit = evaluate(after, message)
            if commit.events and commit.events[0].is_erasure:
                return
            after = commit.place
            if commit.events and after.head.seq > before:
                yield _up_to(commit, last)
            if after.head.seq >= last:
                return

    async def _position_after(self, key: ChatKey, seq: Seq) -> StreamSeq:
        """The position of a chat's own message that ends with event `seq`, or of one before it."""
        newest = await self._reader.last(key)
        found = None if newest is None else _decoded(newest)
        if newest is None or found is None:
            return StreamSeq(0)
        if found.head.seq == seq:
            return newest.position
        place = await self._bisect(key, seq, Place(newest.position, found.head))
        return StreamSeq(0) if place is None else place.position

    async def read_from(
        self, key: ChatKey, seq: Seq, *, known: Place, near: StreamSeq | None = None
    ) -> AsyncGenerator[Commit, None]:
        """One chat's messages from the one after event `seq` on, and perhaps some before it.

        `known` is the place of a reader that has read the log from its beginning, `near` the
        position of a message that it read, with event `seq + 1` or earlier ones. Without it the
        place is found by bisection, as a chat's sequence does not give stream positions: mostly three
        small reads, some forty at the most, whatever the length of the chat. An invalid message may be there:
        the place is used only where the chain of digests leads from it to `known`; otherwise the
        whole log is read. Raises NatsUnavailableError.
        """
        if near is not None and 0 < seq < known.head.seq:
            found = False
            async for commit in self._read_at(key, near, await self.last_position(key)):
                found = True
                yield commit
            if found:
                return
        after, proven = known, list[Commit]()
        if seq < known.head.seq:
            after = START
        if 0 < seq < known.head.seq:
            proven = await self._proven(key, await self._bisect(key, seq, known), known)
            proven = proven or await self._inherited_from(key, seq)
        for commit in proven:
            after = commit.place
            yield commit
        async for commit in self.read(key, after=after):
            yield commit

    async def read_part(
        self, key: ChatKey, first: Seq, last: Seq, *, known: Place, near: StreamSeq | None = None
    ) -> AsyncIterator[Commit]:
        """The messages that hold events `first` to `last`, and perhaps some before and after them.

        `known` and `near` are as in `read_from`; event `last` is not after `known`. Raises
        NatsUnavailableError.
        """
        size = min(2 * (last - first + 1), PAGE)
        parts = [self.read_from(key, Seq(first - 1), known=known)]
        if near is not None:
            parts.insert(0, self._read_at(key, near, known.position, size))
        for part in parts:
            async with aclosing(part):
                async for commit in part:
                    yield commit
                    if commit.place.head.seq >= last:
                        return

    async def _read_at(
        self, key: ChatKey, position: StreamSeq, goal: StreamSeq, size: int | None = None
    ) -> AsyncGenerator[Commit, None]:
        """The messages from the one at a position on; none where that is not there any more."""
        await encryption.load(key)
        place: Place | None = None
        async for message in self._reader.pages(key, StreamSeq(position - 1), goal=goal, size=size):
            if place is None:
                found = _decoded(message)
                if found is None or message.position != position:
                    return
                place = _place_before(position, found)
            commit = evaluate_and_log(place, message)
            place = commit.place
            yield commit

    async def _proven(self, key: ChatKey, place: Place | None, known: Place) -> list[Commit]:
        """The messages from a place to `known`, if their chain of digests ends as `known` does.

        Empty if it does not, for example where the place is at an invalid message, or if there are
        more than PAGE: then only the whole log can tell.
        """
        await encryption.load(key)
        found: list[Commit] = []
        if place is None:
            return found
        async for message in self._reader.pages(key, place.position, goal=known.position):
            found.append(evaluate(place, message))
            place = found[-1].place
            if place.position >= known.position:
                return found if place == known else []
            if len(found) == PAGE:
                return []
        return []

    async def _inherited_from(self, key: ChatKey, seq: Seq) -> list[Commit]:
        """A fork's messages from the one after event `seq` of its origins on, up to its own first one.

        Empty where the chat is no fork, has event `seq` itself, or where only the whole log can tell,
        as for `_proven`. One without events is the place before its own first message.
        """
        raw = await self._reader.next(key, StreamSeq(1))
        fork = None if raw is None else _decoded(raw)
        if raw is None or fork is None or fork.forked is None or seq > fork.before.seq:
            return []
        if seq == fork.before.seq:
            return [Commit(Place(StreamSeq(raw.position - 1), fork.before), ())]
        known = await self._head_near(
            ChatKey(key.app, holder(key.chat, fork.forked.segments, seq)), seq
        )
        found: list[Commit] = []
        if known is None or fork.before.seq - known.seq > PAGE:
            return found
        try:
            async with aclosing(self._inherited(key, fork, known, raw.position)) as commits:
                found = [commit async for commit in commits]
        except OriginLostError:  # an invalid message was taken for the one before
            return []
        return found

    async def _head_near(self, key: ChatKey, seq: Seq) -> Head | None:
        """Event `seq` of a chat's own log, or one of the SLACK before it; None where it is not found."""
        newest = await self._reader.last(key)
        found = None if newest is None else _decoded(newest)
        if newest is None or found is None:
            return None
        if found.first.seq <= seq <= found.head.seq:
            return found.before if seq < found.head.seq else found.head
        place = await self._bisect(key, seq, Place(newest.position, found.head))
        return None if place is None else place.head

    async def message_at(
        self, key: ChatKey, seq: Seq, near: StreamSeq | None = None
    ) -> Commit | None:
        """The message of a chat's own log that holds event `seq`; None where there is none.

        It takes one small read with the position `near` of that message, a few without or with that
        of one before it, whatever the length of the chat. The chain up to it is not read: whoever
        relies on it names its digest. Raises NatsUnavailableError.
        """
        await encryption.load(key)
        if near is not None and (found := await self._search(key, seq, near)) is not None:
            return found
        newest = await self._reader.last(key)
        last = None if newest is None else _decoded(newest)
        if newest is None or last is None or seq > last.head.seq:
            return None
        if last.first.seq <= seq:
            return Commit(Place(newest.position, last.head), last.events)
        place = await self._bisect(key, seq, Place(newest.position, last.head))
        return None if place is None else await self._search(key, seq, place.position)

    async def _search(self, key: ChatKey, seq: Seq, start: StreamSeq) -> Commit | None:
        """The message that holds an event, soon after a position; None if the log has none there."""
        after = StreamSeq(max(start - 1, 0))
        part = self._reader.pages(key, after, goal=start, size=SLACK)
        async for raw in part:
            found = _decoded(raw)
            if found is None or found.first.seq > seq:
                return None
            if seq <= found.head.seq:
                return Commit(Place(raw.position, found.head), found.events)
        return None

    async def _bisect(self, key: ChatKey, seq: Seq, known: Place) -> Place | None:
        """The place after a message that holds event `seq`, or one of the SLACK events before it; the
        place before the message where it holds later events, too.

        Every other step expects that the chat's messages lie evenly in the stream, which takes three
        steps where they do; the steps between halve the range. None where an invalid message is in
        the way.
        """
        await encryption.load(key)
        low, low_seq = 0, 0
        high, high_seq = int(known.position) + 1, known.head.seq + 1
        for step in count():
            if low >= high:
                return None
            part = (
                (seq - SLACK // 2 - low_seq) / max(high_seq - low_seq, 1) if step % 2 == 0 else 0.5
            )
            middle = low + min(max(int((high - low) * part), 0), high - low - 1)
            raw = await self._reader.next(key, StreamSeq(middle))
            if raw is None or raw.position >= high:
                high = middle
                continue
            found = _decoded(raw)
            if found is None:
                return None
            if found.first.seq > seq:
                if found.forked is not None:
                    return None  # the event is one of its origin
                high, high_seq = middle, found.first.seq
            elif found.head.seq < seq - SLACK:
                low, low_seq = int(raw.position) + 1, found.head.seq
            else:
                return _around(raw.position, found, seq)
        return None

    async def chats(self, app: AppId | None = None) -> AsyncIterator[ChatKey]:
        """Every chat of one app or of all that has a message, slot after slot.

        For maintenance, not for requests: the server looks through all subjects of a slot. Raises
        NatsUnavailableError.
        """
        for slot in subjects.ALL_SLOTS:
            last: ChatKey | None = None
            async for subject in self._reader.subjects_of_slot(slot, app):
                key = _key(subject)  # those of a chat follow one another
                if key is not None and key != last:
                    last = key
                    yield key

    async def first(self, key: ChatKey) -> Commit | None:
        """The first valid message of a chat, of a fork its own first one; None where there is no such
        chat. Raises NatsUnavailableError.
        """
        await encryption.load(key)
        raw = await self._reader.next(key, StreamSeq(1))
        if raw is None:
            return None
        found = _decoded(raw)
        if found is not None and (found.forked is not None or found.follows(EMPTY)):
            return Commit(Place(raw.position, found.head), found.events)
        async for commit in self.read(key):  # invalid messages come before it
            if commit.events and commit.events[0].envelope.key == key:
                return commit
        return None

    async def last_seq(self, key: ChatKey) -> Seq:
        """The `seq` that a chat's newest message states; 0 for none. Raises NatsUnavailableError."""
        newest = await self._reader.last(key)
        found = None if newest is None else _decoded(newest)
        return Seq(0) if found is None else found.head.seq

    async def last_position(self, key: ChatKey) -> StreamSeq:
        """The position of a chat's newest message, 0 for none. Raises NatsUnavailableError."""
        newest = await self._reader.last(key)
        return StreamSeq(0) if newest is None else newest.position


def _key(subject: str) -> ChatKey | None:
    try:
        return subjects.parse(subject).key
    except InvalidSubjectError:
        return None


def _decoded(raw: RawMessage) -> Decision | None:
    try:
        return event_log.read(raw.subject, raw.data)
    except RejectedMessageError:
        return None


def _fork_after(place: Place, raw: RawMessage) -> Decision | None:
    """The first message of a fork, if a reader at `place` has not read all events before it."""
    is_before = place.head == EMPTY or place.position == raw.position - 1
    if not is_before or _FORKED not in raw.data[: raw.data.find(b"\n") + 1 or None]:
        return None
    found = _decoded(raw)
    is_fork = found is not None and found.forked is not None
    return found if is_fork and found is not None and place.head != found.before else None


def _up_to(commit: Commit, last: Seq) -> Commit:
    """The message without the events after `last`."""
    if commit.place.head.seq <= last:
        return commit
    events = tuple(one for one in commit.events if one.envelope.seq <= last)
    return Commit(Place(commit.place.position, events[-1].head), events)


def _ends(raw: RawMessage, head: Head) -> bool:
    """Whether the last event of a message is the one that a log ends with."""
    return event_log.digest(raw.data.rpartition(b"\n")[2]) == head.digest


def _around(position: StreamSeq, found: Decision, seq: Seq) -> Place:
    if found.head.seq <= seq:
        return Place(position, found.head)
    return _place_before(position, found)


def _place_before(position: StreamSeq, found: Decision) -> Place:
    head = Head(Seq(found.first.seq - 1), found.first.previous or "")
    return Place(StreamSeq(position - 1), head)


def decision_of(message: Msg) -> tuple[StreamSeq, Decision]:
    """The position and the decision of a republished message. Raises RejectedMessageError."""
    subject = message.subject.replace("mozaiks.live.", "mozaiks.evt.", 1)
    return position_of(message), event_log.read(subject, message.data)
