"""Read the messages of a chat's log from the stream that holds them."""

from collections.abc import AsyncIterator

from contracts import subjects
from contracts.ids import AppId, ChatKey, StreamSeq
from services.chassis.jetstream.direct_get import BEFORE_FIRST, DirectReader, RawMessage
from services.chassis.jetstream.event_streams import EventStreamLocator


class EventReader:
    """Reads by chat, as DirectReader does by stream. Every method raises NatsUnavailableError."""

    def __init__(self, reader: DirectReader, streams: EventStreamLocator) -> None:
        self._reader = reader
        self._streams = streams

    async def last(self, key: ChatKey) -> RawMessage | None:
        """The newest message of a chat, from the leader; None where there is none."""
        subject = subjects.events_of(key)
        return await self._streams.ask(key, lambda stream: self._reader.last(stream, subject))

    async def next(self, key: ChatKey, position: StreamSeq) -> RawMessage | None:
        """A chat's first message at or after a position, from the leader; None where there is none."""
        subject = subjects.events_of(key)
        return await self._streams.ask(
            key, lambda stream: self._reader.next(stream, subject, position)
        )

    async def count(self, key: ChatKey) -> int:
        """How many messages a chat has, from one replica."""
        return await self._reader.count(await self._streams.holder(key), subjects.events_of(key))

    async def pages(
        self,
        key: ChatKey,
        after: StreamSeq,
        *,
        goal: StreamSeq = BEFORE_FIRST,
        size: int | None = None,
    ) -> AsyncIterator[RawMessage]:
        """A chat's messages after a position, in order, at least up to position `goal`."""
        stream = await self._streams.holder(key)
        async for message in self._reader.pages(
            stream, subjects.events_of(key), after, goal=goal, size=size
        ):
            yield message

    async def subjects_of_slot(self, slot: str, app: AppId | None = None) -> AsyncIterator[str]:
        """Every subject of a slot's events that has a message, of one app or of all, in their order."""
        stream = (await self._streams.streams()).holder(slot)
        async for page in self._reader.subject_pages(stream, subjects.events_of_slot(slot, app)):
            for subject in page:
                yield subject
