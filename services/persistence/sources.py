"""Read chats whole: from the log, from the archive, and one by one where all are wanted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from contracts import event_log, subjects
from contracts.event_log import RejectedMessageError
from contracts.ids import ChatKey, Seq, StreamSeq
from services.chassis.bus import Bus
from services.chassis.direct_get import NOWHERE, RawMessage
from services.chassis.event_log import START, Commit, Place
from services.persistence.store import PAGE, Archived, Line, Store

AT_ONCE = 8
"""Chats that are worked on at the same time: bounds what is in memory, and the load on the servers."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Logged:
    """A chat as the log has it: its events, where its log ends, and what is none of its events."""

    events: tuple[Archived, ...]
    end: Place
    passed_over: tuple[StreamSeq, ...]


class Sources:
    """The log and the archive. Every method raises UnavailableError or StoreAwayError."""

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store = store
        self._bus = bus

    async def logged(self, key: ChatKey) -> Logged:
        events: list[Archived] = []
        passed_over: list[StreamSeq] = []
        end = START
        async for commit in self._bus.events.read(key):
            end = commit.place
            events += archived(commit)
            if not commit.events:
                passed_over.append(end.position)
        return Logged(tuple(events), end, tuple(passed_over))

    async def lines(self, key: ChatKey) -> list[Line]:
        return [line async for line in self._store.archived(key, after=Seq(-1))]

    async def chats(self) -> AsyncIterator[ChatKey]:
        """Each chat that the archive, the log or a session knows.

        One of which the archive has events, but not the first, may come twice.
        """
        async for key in self._store.archived_chats():
            yield key
        async for page in _pages(self._chats_of_log(), PAGE):
            for key in await self._store.unbegun(page):
                yield key
        async for sessions in _pages(self._store.all_sessions(), PAGE):
            for key in await self._store.unbegun([session.key for session in sessions]):
                if await self._bus.events.first(key) is None:
                    yield key

    async def _chats_of_log(self) -> AsyncIterator[ChatKey]:
        reader = self._bus.reader
        newest = await reader.last(subjects.EVENTS, subjects.ALL_EVENTS)
        if newest is None:
            return
        everything = reader.pages(
            subjects.EVENTS, subjects.ALL_EVENTS, NOWHERE, goal=newest.position
        )
        async for message in everything:
            if (key := _begun(message)) is not None:
                yield key


def _begun(message: RawMessage) -> ChatKey | None:
    """The chat that a message begins, if it is its first."""
    try:
        decision = event_log.read(message.subject, message.data)
    except RejectedMessageError:
        return None
    return decision.key if decision.follows(START.head) else None


def archived(commit: Commit) -> list[Archived]:
    return [Archived(one, commit.place.position) for one in commit.events]


async def each(items: AsyncIterator[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Work on all items, AT_ONCE at a time. Raises what a piece of work raised, the rest done."""
    async for page in _pages(items, AT_ONCE):
        done = await asyncio.gather(*(work(one) for one in page), return_exceptions=True)
        for outcome in done:
            if isinstance(outcome, BaseException):
                raise outcome


async def _pages(items: AsyncIterator[T], size: int) -> AsyncIterator[list[T]]:
    page: list[T] = []
    async for item in items:
        page.append(item)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page
