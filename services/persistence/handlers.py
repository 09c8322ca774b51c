"""Stored events in; archive, projections and chat summaries out, each time the same."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from contracts import event_log
from contracts.catalogue import ChatSummary
from contracts.event_log import Decision, RejectedMessageError
from contracts.ids import ChatKey, StreamSeq
from services.chassis.away import AwayError
from services.chassis.direct_get import RawMessage, UnavailableError
from services.chassis.event_log import START, Commit, Place
from services.persistence.projection import advance, summary_of
from services.persistence.sources import archived
from services.persistence.store import PAGE, Archived, Session, Store, StoreAwayError

log = logging.getLogger(__name__)

Announce = Callable[[ChatSummary], Awaitable[None]]
Rebuild = Callable[[ChatKey], Awaitable[None]]
"""Makes a chat's documents anew from its events."""


class ReadTo(Protocol):
    def __call__(self, key: ChatKey, goal: StreamSeq, *, after: Place) -> AsyncIterator[Commit]:
        """One chat's messages past a place, up to a position at the least, from the log."""


class Sent(NamedTuple):
    """A message that can be read: where it lies in the log, and what it holds."""

    position: StreamSeq
    decision: Decision


class Keeper:
    """Keeps what the log says. Told twice, out of order or by two at once, it keeps the same.

    `rejected` hears how many messages came that are no events of any chat.
    """

    def __init__(
        self,
        store: Store,
        read_to: ReadTo,
        announce: Announce,
        rebuild: Rebuild,
        rejected: Callable[[int], None],
    ) -> None:
        self._store = store
        self._read_to = read_to
        self._announce = announce
        self._rebuild = rebuild
        self._rejected = rejected

    async def apply(self, batch: Sequence[RawMessage]) -> None:
        """Raises AwayError: nothing is lost, ask again."""
        try:
            await self._keep(batch)
        except (StoreAwayError, UnavailableError) as away:
            raise AwayError(str(away)) from away

    async def _keep(self, batch: Sequence[RawMessage]) -> None:
        chats, unreadable = by_chat(batch)
        if unreadable:
            self._rejected(unreadable)
        known = await self._store.sessions(chats.keys())
        new = [await self._events(key, known.get(key), sent) for key, sent in chats.items()]
        await self._store.archive([event for _, events in new for event in events])
        made = [advance(session, events) for session, events in new]
        changes = [change for change in made if change is not None]
        await self._store.keep(changes)
        # Last, and also for what was known already: a crash may have come between.
        summaries = [summary_of(change.session) for change in changes]
        await asyncio.gather(*(self._announce(s) for s in summaries if s is not None))

    async def _events(
        self, key: ChatKey, session: Session | None, sent: Sequence[Sent]
    ) -> tuple[Session | None, list[Archived]]:
        """What the messages add to a session, and the session they add it to."""
        found = following(place_of(session), sent)
        if found is not None:
            return session, found
        return await self._catch_up(key, session, sent)

    async def _catch_up(
        self, key: ChatKey, session: Session | None, sent: Sequence[Sent]
    ) -> tuple[Session | None, list[Archived]]:
        """The same, by the log itself.

        Another replica may have the messages before these in hand, or they are no events at all, or
        the log was restored and counts its positions anew: the log says which.
        """
        known, place = session, place_of(session)
        if any(is_misplaced(place, one) for one in sent):
            place = START
        mine = {one.position for one in sent}
        passed_over = 0
        page: list[Archived] = []
        async for commit in self._read_to(key, sent[-1].position, after=place):
            passed_over += not commit.events and commit.place.position in mine
            page += archived(commit)
            if len(page) >= PAGE:
                session = await self._advance(session, page)
                page = []
        if passed_over:
            self._rejected(passed_over)
            if known is not None and await self._contradicts(known, sent[-1].position):
                await self._rebuild(key)
                return (await self._store.sessions([key])).get(key), []
        return session, page

    async def _contradicts(self, session: Session, goal: StreamSeq) -> bool:
        """Whether the log, up to a position that it has, has another event in the session's place.

        So it is where two messages claimed the same place at once, and this reader took the second
        for the chat's because another had the first in hand.
        """
        head = START.head
        async for commit in self._read_to(session.key, goal, after=START):
            if session.head in [one.head for one in commit.events]:
                return False
            head = commit.place.head
        return head.seq >= session.last_seq

    async def _advance(self, session: Session | None, page: Sequence[Archived]) -> Session | None:
        await self._store.archive(page)
        change = advance(session, page)
        if change is None:
            return None
        await self._store.keep([change])
        return change.session


def place_of(session: Session | None) -> Place:
    return START if session is None else Place(session.last_position, session.head)


def following(place: Place, sent: Iterable[Sent]) -> list[Archived] | None:
    """The events of messages that follow one another from a place, past those it knows.

    None where only the log can tell.
    """
    found: list[Archived] = []
    for position, decision in sent:
        if decision.follows(place.head):
            place = Place(position, decision.head)
            found += archived(Commit(place, decision.events))
        elif position > place.position or decision.head.seq > place.head.seq:
            return None
    return found


def is_misplaced(place: Place, sent: Sent) -> bool:
    """Whether a message lies before a place whose events come later, or the other way round."""
    return (sent.position <= place.position) != (sent.decision.head.seq <= place.head.seq)


def by_chat(batch: Iterable[RawMessage]) -> tuple[dict[ChatKey, list[Sent]], int]:
    """Each chat's messages in the order of the log, and how many messages nobody can read."""
    chats: dict[ChatKey, list[Sent]] = {}
    unreadable = 0
    for message in sorted(batch, key=lambda message: message.position):
        try:
            decision = event_log.read(message.subject, message.data)
        except RejectedMessageError as rejected:
            unreadable += 1
            told = {"subject": message.subject, "position": message.position, "why": str(rejected)}
            log.warning("a message in EVENTS is no event of a chat", extra=told)
        else:
            chats.setdefault(decision.key, []).append(Sent(message.position, decision))
    return chats, unreadable
