"""Stored events in; archive, projections and chat summaries out, each time the same."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from contracts.catalogue import ChatSummary
from contracts.ids import ChatKey, Seq
from services.chassis.away import AwayError
from services.chassis.bus import Stored, UnavailableError
from services.persistence.projection import advance, summary_of
from services.persistence.store import PAGE, Archived, Change, Session, Store, StoreAwayError

Announce = Callable[[ChatSummary], Awaitable[None]]


class ReadFrom(Protocol):
    def __call__(self, key: ChatKey, *, after: Seq) -> AsyncIterator[Stored]:
        """One chat's events past a cursor, from the log."""


class Keeper:
    """Keeps what the log says. Told twice, out of order or by two at once, it keeps the same."""

    def __init__(self, store: Store, read_from: ReadFrom, announce: Announce) -> None:
        self._store = store
        self._read_from = read_from
        self._announce = announce

    async def apply(self, batch: Sequence[Stored]) -> None:
        """Raises AwayError (nothing is lost, ask again) and UnreadableMessageError."""
        try:
            await self._keep([archived(stored) for stored in batch])
        except (StoreAwayError, UnavailableError) as away:
            raise AwayError(str(away)) from away

    async def _keep(self, events: Sequence[Archived]) -> None:
        await self._store.archive(events)
        chats = by_chat(events)
        known = await self._store.sessions(chats.keys())
        changes: list[Change] = []
        for key, new in chats.items():
            session = known.get(key)
            if not follows(session, new):
                session = await self._catch_up(key, session, until=new[-1].envelope.seq)
            change = advance(session, (event.envelope for event in new))
            if change is not None:
                changes.append(change)
        await self._store.keep(changes)
        # Last, and also for what was known already: a crash may have come between.
        summaries = [summary_of(change.session) for change in changes]
        await asyncio.gather(*(self._announce(s) for s in summaries if s is not None))

    async def _catch_up(
        self, key: ChatKey, session: Session | None, *, until: Seq
    ) -> Session | None:
        """Fetch from the log what another replica still has in hand, up to event `until`."""
        known = session.last_seq if session is not None else Seq(0)
        page: list[Archived] = []
        async for stored in self._read_from(key, after=known):
            event = archived(stored)
            if event.envelope.seq > until:
                break
            page.append(event)
            if len(page) == PAGE:
                session = await self._advance(session, page)
                page = []
        return await self._advance(session, page)

    async def _advance(self, session: Session | None, page: Sequence[Archived]) -> Session | None:
        await self._store.archive(page)
        change = advance(session, (event.envelope for event in page))
        if change is None:
            return None
        await self._store.keep([change])
        return change.session


def archived(stored: Stored) -> Archived:
    """Raises UnreadableMessageError where there is no envelope."""
    return Archived(stored.envelope(), stored.position, stored.data)


def follows(session: Session | None, events: Iterable[Archived]) -> bool:
    """Whether the events lead on from the session without a hole, however often each is there."""
    known = session.last_seq if session is not None else 0
    new = {event.envelope.seq for event in events if event.envelope.seq > known}
    return not new or max(new) - known == len(new)


def by_chat(events: Iterable[Archived]) -> dict[ChatKey, list[Archived]]:
    """The events of each chat in the order of its own count."""
    chats: dict[ChatKey, list[Archived]] = {}
    for event in sorted(events, key=lambda event: event.envelope.seq):
        chats.setdefault(event.envelope.key, []).append(event)
    return chats


async def rebuild(store: Store) -> int:
    """Drop the projections and fold the archive anew; how many chats there were. Raises GapError."""
    await store.drop_projections()
    chats = 0
    async for key in store.archived_chats():
        await _refold(store, key)
        chats += 1
    return chats


async def _refold(store: Store, key: ChatKey) -> None:
    session: Session | None = None
    page: list[Archived] = []
    async for event in store.archived(key, after=Seq(0)):
        page.append(event)
        if len(page) == PAGE:
            session = await _keep_page(store, session, page)
            page = []
    await _keep_page(store, session, page)


async def _keep_page(
    store: Store, session: Session | None, page: Sequence[Archived]
) -> Session | None:
    change = advance(session, (event.envelope for event in page))
    if change is None:
        return None
    await store.keep([change])
    return change.session
