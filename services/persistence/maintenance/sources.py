"""Reads complete chats from the log and from the archive, and lists all chats of both."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from contracts import encryption, event_log, subjects
from contracts.event_log import EMPTY, RejectedMessageError
from contracts.forks import segments_of
from contracts.ids import ChatKey, StreamSeq
from services.chassis.jetstream.direct_get import BEFORE_FIRST, RawMessage
from services.chassis.jetstream.event_log import START, Commit, Place
from services.chassis.jetstream.gateway import JetStreamGateway
from services.persistence.domain.archive import read_chain
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


class IncompleteChatError(Exception):
    """The events of a chat cannot be read completely; nothing of the chat was changed."""


class ChatSources:
    """The log and the archive. Every method raises NatsUnavailableError or StoreUnavailableError."""

    def __init__(self, store: Store, gateway: JetStreamGateway) -> None:
        self._store = store
        self._gateway = gateway

    async def logged(self, key: ChatKey) -> LoggedChat:
        """A chat's own events; those of a fork begin with the one after its origin's."""
        events: list[ArchivedEvent] = []
        not_events: list[StreamSeq] = []
        end = START
        async for commit in self._gateway.events.read_own(key):
            end = commit.place
            events += archived(commit)
            if not commit.events:
                not_events.append(end.position)
        return LoggedChat(tuple(events), end, tuple(not_events))

    async def is_aged_out(self, key: ChatKey) -> bool:
        """Whether all of a chat's messages but the newest are in the archive only, as they should."""
        return await self._gateway.events.is_aged_out(key)

    async def inherited(
        self, key: ChatKey, own: Sequence[ArchivedEvent]
    ) -> tuple[ArchivedEvent, ...]:
        """The events before those of a fork, from the log, and those that it has lost from the archive.

        Empty for any other chat. Raises IncompleteChatError where one is missing in both, or where
        they are not those that the fork goes on from.
        """
        if own and own[-1].stored.is_erasure:
            return ()
        first = own[0].stored if own else None
        found: list[ArchivedEvent] = []
        for part in segments_of(None if first is None else first.event):
            origin, begun = ChatKey(key.app, part.chat_id), len(found)
            events: Sequence[ArchivedEvent] = (await self.logged(origin)).events
            if not events or events[-1].envelope.seq < part.last:
                events = read_chain(origin, await self.records(origin)).events
            found += [one for one in events if begun < one.envelope.seq <= part.last]
        head = found[-1].stored.head if found else EMPTY
        if first is not None and found and head != first.before:
            raise IncompleteChatError(
                f"the events of its origin do not lead to event {head.seq + 1}"
            )
        if first is not None and not found and first.envelope.seq > 1:
            raise IncompleteChatError("its first event is missing")
        return tuple(found)

    async def records(self, key: ChatKey) -> list[ArchiveRecord]:
        await encryption.load(key)
        return [record async for record in self._store.archive_records(key)]

    async def chats(self) -> AsyncIterator[ChatKey]:
        """Every chat in the archive, the log or the sessions."""
        async for key in self._store.archived_chats():
            yield key
        async for page in _pages(self._chats_of_log(), PAGE):
            for key in await self._store.not_archived(page):
                yield key
        async for sessions in _pages(self._store.all_sessions(), PAGE):
            for key in await self._store.not_archived([session.key for session in sessions]):
                if await self._gateway.events.first(key) is None:
                    yield key

    async def _chats_of_log(self) -> AsyncIterator[ChatKey]:
        reader, streams = self._gateway.reader, await self._gateway.event_streams.streams()
        for stream in streams.active:
            newest = await reader.last(stream, subjects.ALL_EVENTS)
            if newest is None:
                continue
            async for message in reader.pages(
                stream, subjects.ALL_EVENTS, BEFORE_FIRST, goal=newest.position
            ):
                if streams.holds(stream, message.subject) and (key := _started_chat(message)):
                    yield key


def _started_chat(message: RawMessage) -> ChatKey | None:
    """The chat of a message if it is its first message, else None."""
    try:
        decision = event_log.read(message.subject, message.data)
    except RejectedMessageError:
        return None
    begins = decision.follows(START.head) or decision.forked is not None
    return decision.key if begins else None


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
