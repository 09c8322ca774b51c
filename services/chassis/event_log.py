"""The logs of chats on JetStream: append a decision, read one chat, watch it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import NamedTuple

from nats.aio.client import Client
from nats.aio.msg import Msg

from contracts import event_log, subjects
from contracts.codec import Fact
from contracts.event_log import EMPTY, Decision, Head, RejectedMessageError, StoredEvent
from contracts.ids import AppId, ChatKey, Seq, StreamSeq
from contracts.subjects import InvalidSubjectError
from services.chassis.direct_get import (
    PAGE,
    DirectReader,
    RawMessage,
    UnavailableError,
    position_of,
)
from services.chassis.publish import MovedOnError, publish
from services.chassis.storage import Storage

log = logging.getLogger(__name__)

OUTAGE_SECONDS = 30.0
"""How long an append outlasts a NATS that is away before it gives up."""
RETRY_SECONDS = 0.2


class PositionConflictError(Exception):
    """Someone else appended first: nothing of this append is stored. Read again, decide again."""

    def __init__(self, key: ChatKey, expected: StreamSeq) -> None:
        super().__init__(f"{key.app}/{key.chat} has moved past stream position {expected}")


class Place(NamedTuple):
    """Where a reader of a chat stands: the last message it has seen, the last event that counts."""

    position: StreamSeq
    head: Head


START = Place(StreamSeq(0), EMPTY)


@dataclass(frozen=True, slots=True)
class Commit:
    """A message of a chat's log: the events that it adds.

    Where it does not count there are none, and `rejected` says why.
    """

    place: Place
    events: tuple[StoredEvent, ...]
    rejected: str | None = None

    @property
    def facts(self) -> list[Fact]:
        """The events that this release can read."""
        return [Fact(one.envelope, one.event) for one in self.events if one.event is not None]


def take(place: Place, message: RawMessage) -> Commit:
    """What the next message makes of the place of a reader who has seen all before it.

    A message that does not count is logged and passed over.
    """
    commit = judge(place, message)
    if commit.rejected is not None:
        told = {
            "subject": message.subject,
            "position": message.position,
            "why": commit.rejected,
        }
        log.warning("a message in a chat's log is no event of it", extra=told)
    return commit


def judge(place: Place, message: RawMessage) -> Commit:
    """As `take`, for a reader who may be wrong about the place: nothing is logged."""
    try:
        found = event_log.read(message.subject, message.data)
    except RejectedMessageError as rejected:
        return Commit(Place(message.position, place.head), (), str(rejected))
    if found.follows(place.head):
        return Commit(Place(message.position, found.head), found.events)
    why = event_log.why_it_does_not_follow(found, place.head)
    return Commit(Place(message.position, place.head), (), why)


class EventLog:
    """Everything that a service does with events, over one connection."""

    def __init__(self, nc: Client, storage: Storage) -> None:
        self._nc = nc
        self._storage = storage
        self._reader = DirectReader(nc)

    # -- append ------------------------------------------------------------------------------------

    async def append(self, decision: Decision, *, after: StreamSeq) -> StreamSeq:
        """Store a decision right after the chat's message at stream position `after`, 0 for none.

        Returns its own position. Raises PositionConflictError, RefusedError, or UnavailableError
        after OUTAGE_SECONDS.
        """
        payload = decision.data
        deadline = asyncio.get_running_loop().time() + OUTAGE_SECONDS
        unanswered = False
        while True:
            try:
                return await self._append_once(decision, payload, after)
            except PositionConflictError:  # a try that was never answered may be what is in the way
                if not unanswered:
                    raise
                return await self._landed(decision, payload, after)
            except UnavailableError as away:
                unanswered = True
                if asyncio.get_running_loop().time() > deadline:
                    raise UnavailableError(f"append {decision.first.event_id}: {away}") from away
                await asyncio.sleep(RETRY_SECONDS)

    async def _append_once(self, decision: Decision, payload: bytes, after: StreamSeq) -> StreamSeq:
        # No Nats-Msg-Id: the expected sequence refuses a repeat, and an id could be taken by others.
        headers = {
            **decision.headers,
            "Nats-Expected-Last-Subject-Sequence": str(after),
            "Nats-Expected-Last-Subject-Sequence-Subject": subjects.events_of(decision.key),
        }
        subject = subjects.event(decision.key, decision.first.category)
        try:
            return await publish(self._nc, self._storage, subject, payload, headers)
        except MovedOnError as moved:
            raise PositionConflictError(decision.key, after) from moved

    async def _landed(self, decision: Decision, payload: bytes, after: StreamSeq) -> StreamSeq:
        """Where it landed. Raises PositionConflictError where another came first."""
        subject = subjects.events_of(decision.key)
        found = await self._reader.next(subjects.EVENTS, subject, StreamSeq(after + 1))
        if found is None or found.data != payload:
            raise PositionConflictError(decision.key, after)
        return found.position

    # -- read --------------------------------------------------------------------------------------

    async def read(self, key: ChatKey, *, after: Place = START) -> AsyncIterator[Commit]:
        """One chat's messages past a place, in order, to where its log ends now by the leader's word.

        Raises UnavailableError.
        """
        newest = await self._reader.last(subjects.EVENTS, subjects.events_of(key))
        if newest is None or newest.position <= after.position:
            return
        async for commit in self._pages(key, after, newest.position):
            yield commit

    async def read_to(
        self, key: ChatKey, goal: StreamSeq, *, after: Place = START
    ) -> AsyncIterator[Commit]:
        """One chat's messages past a place, up to a position that the log is known to reach.

        What lies beyond may or may not be among them. Raises UnavailableError.
        """
        async for commit in self._pages(key, after, goal):
            yield commit

    async def _pages(self, key: ChatKey, after: Place, goal: StreamSeq) -> AsyncIterator[Commit]:
        subject = subjects.events_of(key)
        async for message in self._reader.pages(
            subjects.EVENTS, subject, after.position, goal=goal
        ):
            commit = take(after, message)
            after = commit.place
            yield commit

    async def read_from(self, key: ChatKey, seq: Seq, *, known: Place) -> AsyncIterator[Commit]:
        """One chat's messages from the one after event `seq` on, and perhaps some before it.

        `known` is the place of somebody who has read the log from its beginning. The chat's own
        count says nothing of stream positions, so the place of an earlier event is found by
        bisection: some twenty small reads at the most, whatever the length of the chat. A message
        that does not count may stand there: the place is used only where the chain of digests leads
        from it to `known`, and else the whole log is read. Raises UnavailableError.
        """
        after, proven = known, list[Commit]()
        if seq < known.head.seq:
            after, proven = START, await self._proven(key, await self._bisect(key, seq), known)
        for commit in proven:
            after = commit.place
            yield commit
        async for commit in self.read(key, after=after):
            yield commit

    async def _proven(self, key: ChatKey, place: Place | None, known: Place) -> list[Commit]:
        """The messages from a place to `known`, where their chain of digests ends as `known` does.

        Empty where it does not, as where the place is at a message that does not count, or where
        they are more than PAGE: only the whole log can tell then.
        """
        found: list[Commit] = []
        if place is None:
            return found
        subject = subjects.events_of(key)
        async for message in self._reader.pages(
            subjects.EVENTS, subject, place.position, goal=known.position
        ):
            found.append(judge(place, message))
            place = found[-1].place
            if place.position >= known.position:
                return found if place == known else []
            if len(found) == PAGE:
                return []
        return []

    async def _bisect(self, key: ChatKey, seq: Seq) -> Place | None:
        """Right after the message that holds event `seq`, or right before it where it holds more.

        None where a message that does not count stands in the way.
        """
        if not seq:
            return START
        subject = subjects.events_of(key)
        newest = await self._reader.last(subjects.EVENTS, subject)
        low, high = 0, 0 if newest is None else int(newest.position) + 1
        while low < high:
            middle = (low + high) // 2
            raw = await self._reader.next(subjects.EVENTS, subject, StreamSeq(middle))
            if raw is None or raw.position >= high:
                high = middle
                continue
            found = _readable(raw)
            if found is None:
                return None
            if found.first.seq > seq:
                high = middle
            elif found.head.seq < seq:
                low = int(raw.position) + 1
            else:
                return _around(raw.position, found, seq)
        return None

    async def chats(self, app: AppId | None = None) -> AsyncIterator[ChatKey]:
        """Every chat of one app or of all, slot after slot; one message in a subject is enough.

        For commands, not for requests: the server lists all subjects of a slot at once. Raises
        UnavailableError.
        """
        for slot in subjects.ALL_SLOTS:
            found = await self._reader.subjects_of(
                subjects.EVENTS, subjects.events_of_slot(slot, app)
            )
            for key in sorted({key for one in found if (key := _key(one)) is not None}):
                yield key

    async def first(self, key: ChatKey) -> Commit | None:
        """What a chat began with; none where there is no such chat. Raises UnavailableError."""
        subject = subjects.events_of(key)
        raw = await self._reader.next(subjects.EVENTS, subject, StreamSeq(1))
        if raw is None:
            return None
        if (commit := judge(START, raw)).events:
            return commit
        async for commit in self.read(key):  # what does not count lies before it
            if commit.events:
                return commit
        return None

    async def last_position(self, key: ChatKey) -> StreamSeq:
        """How far the log goes by the leader's word, 0 for nowhere. Raises UnavailableError."""
        newest = await self._reader.last(subjects.EVENTS, subjects.events_of(key))
        return StreamSeq(0) if newest is None else newest.position


def _key(subject: str) -> ChatKey | None:
    try:
        return subjects.parse(subject).key
    except InvalidSubjectError:
        return None


def _readable(raw: RawMessage) -> Decision | None:
    try:
        return event_log.read(raw.subject, raw.data)
    except RejectedMessageError:
        return None


def _around(position: StreamSeq, found: Decision, seq: Seq) -> Place:
    if found.head.seq == seq:
        return Place(position, found.head)
    return Place(
        StreamSeq(position - 1), Head(Seq(found.first.seq - 1), found.first.previous or "")
    )


def decision_of(message: Msg) -> tuple[StreamSeq, Decision]:
    """A republished message: its position and what it holds. Raises RejectedMessageError."""
    subject = message.subject.replace("mozaiks.live.", "mozaiks.evt.", 1)
    return position_of(message), event_log.read(subject, message.data)
