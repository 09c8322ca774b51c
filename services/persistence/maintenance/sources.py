"""Reads complete chats from the log and from the archive, and lists all chats of both."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from contracts import event_log, subjects
from contracts.event_log import RejectedMessageError
from contracts.ids import ChatKey, StreamSeq
from services.chassis.jetstream.direct_get import BEFORE_FIRST, RawMessage
from services.chassis.jetstream.event_log import START, Commit, Place
from services.chassis.jetstream.gateway import JetStreamGateway
from services.persistence.store.interface import PAGE, ArchivedEvent, ArchiveRecord, Store

CONCURRENCY = 8
"""Chats handled at the same time: limits memory and the load on the servers."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LoggedChat:
    """A chat in the log: its events, its end, and the positions of messages that are not events of it."""

    events: tuple[ArchivedEvent, ...]
    end: Place
    not_events: tuple[StreamSeq, ...]


class ChatSources:
    """The log and the archive. Every method raises NatsUnavailableError or StoreUnavailableError."""

    def __init__(self, store: Store, gateway: JetStreamGateway) -> None:
        self._store = store
        self._gateway = gateway

    async def logged(self, key: ChatKey) -> LoggedChat:
        events: list[ArchivedEvent] = []
        not_events: list[StreamSeq] = []
        end = START
        async for commit in self._gateway.events.read(key):
            end = commit.place
            events += archived(commit)
            if not commit.events:
                not_events.append(end.position)
        return LoggedChat(tuple(events), end, tuple(not_events))

    async def records(self, key: ChatKey) -> list[ArchiveRecord]:
        return [record async for record in self._store.archive_records(key)]

    async def chats(self) -> AsyncIterator[ChatKey]:
        """Every chat in the archive, the log or the sessions.

        One whose first event is missing in the archive may be listed twice.
        """
        async for key in self._store.archived_chats():
            yield key
        async for page in _pages(self._chats_of_log(), PAGE):
            for key in await self._store.without_first_event(page):
                yield key
        async for sessions in _pages(self._store.all_sessions(), PAGE):
            for key in await self._store.without_first_event([session.key for session in sessions]):
                if await self._gateway.events.first(key) is None:
                    yield key

    async def _chats_of_log(self) -> AsyncIterator[ChatKey]:
        reader = self._gateway.reader
        newest = await reader.last(subjects.EVENTS, subjects.ALL_EVENTS)
        if newest is None:
            return
        everything = reader.pages(
            subjects.EVENTS, subjects.ALL_EVENTS, BEFORE_FIRST, goal=newest.position
        )
        async for message in everything:
            if (key := _started_chat(message)) is not None:
                yield key


def _started_chat(message: RawMessage) -> ChatKey | None:
    """The chat of a message if it is its first message, else None."""
    try:
        decision = event_log.read(message.subject, message.data)
    except RejectedMessageError:
        return None
    return decision.key if decision.follows(START.head) else None


def archived(commit: Commit) -> list[ArchivedEvent]:
    return [ArchivedEvent(one, commit.place.position) for one in commit.events]


async def for_each(items: AsyncIterator[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Runs `work` for all items, CONCURRENCY at a time. Raises its first error after the others ended."""
    async for page in _pages(items, CONCURRENCY):
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
