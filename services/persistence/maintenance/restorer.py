"""Restores lost events of the log from the archive, byte for byte, and their large values."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from contracts.ids import ChatKey
from services.chassis.jetstream.errors import NatsRejectedError
from services.chassis.jetstream.event_log import EventLog, PositionConflictError
from services.persistence.domain.archive import decisions, read_chain
from services.persistence.maintenance.rebuilder import Rebuilder
from services.persistence.maintenance.sources import (
    ChatSources,
    IncompleteChatError,
    LoggedChat,
    for_each,
)
from services.persistence.maintenance.value_archive import ValueArchive
from services.persistence.store.interface import ArchivedEvent, Store

ATTEMPTS = 3
"""Attempts for a chat to which others append meanwhile."""


@dataclass(slots=True)
class Restored:
    """What was restored.

    `chats` and `events` count those that were restored; `statuses` counts all chats that are
    complete now; `failed` has the reason for each of the others.
    """

    chats: int = 0
    events: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    failed: dict[ChatKey, str] = field(default_factory=dict)


class Restorer:
    """Appends the events that the log lacks.

    Every method raises StoreUnavailableError, NatsUnavailableError.
    """

    def __init__(
        self,
        store: Store,
        sources: ChatSources,
        events: EventLog,
        rebuilder: Rebuilder,
        values: ValueArchive,
    ) -> None:
        self._store = store
        self._sources = sources
        self._events = events
        self._rebuilder = rebuilder
        self._values = values

    async def all(self, chats: AsyncIterator[ChatKey] | None = None) -> Restored:
        """Restores these chats, by default those of the archive, and rebuilds their read models.

        Positions change. A chat that has left the log because of its age stays in the archive alone
        where the chats are given.
        """
        restored = Restored()

        async def one(key: ChatKey) -> None:
            try:
                stays = chats is not None and await self._sources.is_aged_out(key)
                appended = 0 if stays else await self.chat(key)
                session = await self._rebuilder.chat(key)
            except IncompleteChatError as incomplete:
                restored.failed[key] = str(incomplete)
            else:
                restored.chats += appended > 0
                restored.events += appended
                restored.statuses[session.status] += 1

        await for_each(self._store.archived_chats() if chats is None else chats, one)
        return restored

    async def chat(self, key: ChatKey, *, is_old: bool = False) -> int:
        """Restores one chat, which `is_old` where its events were counted before; returns the number of events restored. Raises IncompleteChatError."""
        for _ in range(ATTEMPTS):
            records = await self._sources.records(key)
            archived = read_chain(key, records)
            logged = await self._sources.logged(key)
            if archived.damage and len(records) > len(logged.events):
                raise IncompleteChatError(f"archive: {archived.damage}")
            missing = missing_events(logged, archived.events)
            await self._values.restore(archived.events)  # before the events that refer to them
            try:
                await self._append(logged, missing, is_old=is_old)
            except PositionConflictError:  # another command or the chat itself appended meanwhile
                continue
            except NatsRejectedError as refused:
                raise IncompleteChatError(str(refused)) from refused
            return len(missing)
        raise IncompleteChatError("other writers append to it continuously")

    async def _append(
        self, logged: LoggedChat, missing: Sequence[ArchivedEvent], *, is_old: bool
    ) -> None:
        place = logged.end.position
        for found in decisions(missing):
            decision = replace(found, is_restored=is_old)
            place = await self._events.append(decision, after=place)


def missing_events(
    logged: LoggedChat, archived: Sequence[ArchivedEvent]
) -> Sequence[ArchivedEvent]:
    """The events of the archive after the end of the log. Raises IncompleteChatError if they differ."""
    if archived and archived[-1].stored.is_erasure:
        return (
            () if logged.events and logged.events[-1].data == archived[-1].data else archived[-1:]
        )
    for own, other in zip(logged.events, archived, strict=False):
        if own.data != other.data:
            seq = own.envelope.seq
            raise IncompleteChatError(f"event {seq} in the log is not the one in the archive")
    return archived[len(logged.events) :]
