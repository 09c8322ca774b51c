"""Rebuilds the read models of chats from their events, and replaces the stored ones."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from contracts.catalogue import ChatSummary
from contracts.ids import ChatKey
from services.persistence.domain.archive import Chain, read_chain
from services.persistence.domain.projection import advance, summary_of
from services.persistence.maintenance.sources import (
    ChatSources,
    IncompleteChatError,
    LoggedChat,
    for_each,
)
from services.persistence.maintenance.value_archive import ValueArchive
from services.persistence.store.interface import ArchivedEvent, ArchiveRecord, Session, Store

log = logging.getLogger(__name__)

ATTEMPTS = 5
"""Attempts for a chat that gets new events meanwhile."""

Publish = Callable[[ChatSummary], Awaitable[None]]


@dataclass(slots=True)
class Rebuilt:
    """How many chats and events were rebuilt, and why the other chats were not."""

    chats: int = 0
    events: int = 0
    failed: dict[ChatKey, str] = field(default_factory=dict)


class Rebuilder:
    """Works while the services run. Every method raises StoreUnavailableError, NatsUnavailableError."""

    def __init__(
        self, store: Store, sources: ChatSources, publish: Publish, values: ValueArchive
    ) -> None:
        self._store = store
        self._sources = sources
        self._publish = publish
        self._values = values

    async def all(self) -> Rebuilt:
        """Rebuilds every chat; one that cannot be rebuilt keeps its documents."""
        rebuilt = Rebuilt()

        async def one(key: ChatKey) -> None:
            try:
                session = await self.chat(key)
            except IncompleteChatError as incomplete:
                _log_failure(key, incomplete)
                rebuilt.failed[key] = str(incomplete)
            else:
                rebuilt.chats += 1
                rebuilt.events += session.last_seq

        await for_each(self._sources.chats(), one)
        return rebuilt

    async def publish_all(self) -> int:
        """Publishes the summary of every session; returns the number of sessions."""
        chats = 0

        async def one(session: Session) -> None:
            nonlocal chats
            chats += 1
            await self._publish_one(session)

        await for_each(self._store.all_sessions(), one)
        return chats

    async def rebuild_or_log(self, key: ChatKey) -> None:
        """Rebuilds one chat, or logs why that is not possible."""
        try:
            await self.chat(key)
        except IncompleteChatError as incomplete:
            _log_failure(key, incomplete)

    async def chat(self, key: ChatKey) -> Session:
        """Replaces what is stored of a chat, except what is newer, and completes its archive.

        Raises IncompleteChatError.
        """
        for _ in range(ATTEMPTS):
            logged = await self._sources.logged(key)
            records = await self._sources.records(key)
            events = complete_history(logged, read_chain(key, records), records)
            _refuse_newer(events)
            inherited = advance(None, await self._sources.inherited(key, events))
            update = advance(None if inherited is None else inherited.session, events)
            if update is None:
                raise IncompleteChatError("neither the log nor the archive has an event of it")
            await self._values.add(logged.events)
            await self._store.repair_archive(events)
            await self._store.replace(update)
            stored = (await self._store.sessions([key])).get(key)
            if stored is None or stored.last_seq <= update.session.last_seq:
                await self._publish_one(update.session)
                return update.session
        raise IncompleteChatError("its session is as of an event that neither log nor archive has")

    async def _publish_one(self, session: Session) -> None:
        summary = summary_of(session)
        if summary is not None:
            await self._publish(summary)


def _log_failure(key: ChatKey, incomplete: IncompleteChatError) -> None:
    extra = {"app": key.app, "chat": key.chat, "why": str(incomplete)}
    log.error("a chat cannot be rebuilt and keeps its documents", extra=extra)


def _refuse_newer(events: Sequence[ArchivedEvent]) -> None:
    for one in events:
        if one.stored.event is None:
            kind = f"{one.envelope.type} version {one.envelope.version}"
            raise IncompleteChatError(f"event {one.envelope.seq} is of a newer release: {kind}")


def complete_history(
    logged: LoggedChat, archived: Chain, records: Sequence[ArchiveRecord]
) -> tuple[ArchivedEvent, ...]:
    """A chat's own events from the log, and from the archive those that the log has lost.

    Of a chat that is erased, the one that erases it.

    Raises IncompleteChatError if an event is missing in both.
    """
    for chain in (logged.events, archived.events):
        if chain and chain[-1].stored.is_erasure:
            return chain[-1:]
    log_end = logged.events[-1].envelope.seq if logged.events else 0
    if records and records[-1].seq > max(log_end, archived.head.seq):
        raise IncompleteChatError(f"archive: {archived.damage}; the log ends at event {log_end}")
    for own, other in zip(logged.events, archived.events, strict=False):
        if own.data != other.data and len(archived.events) > len(logged.events):
            raise IncompleteChatError(
                f"event {own.envelope.seq} in the archive is not the one in the log,"
                f" which ends at event {log_end}"
            )
    return (*logged.events, *archived.events[len(logged.events) :])
