"""Removes the events of old chats from NATS, once the archive has them: per app, and never half a log."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from contracts.ids import ChatKey
from services.chassis.jetstream.errors import NatsRejectedError, NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.logs.repeats import RateLimitedLog
from services.chassis.tasks import cancel_and_wait, repeat
from services.persistence.domain.archive import read_chain
from services.persistence.maintenance.sources import ChatSources
from services.persistence.settings import EVERY_APP
from services.persistence.store.interface import Session, Store, StoreUnavailableError

log = logging.getLogger(__name__)

_UNAVAILABLE = (NatsUnavailableError, NatsRejectedError, StoreUnavailableError)
LOOK_SECONDS = 3600.0
"""Between two rounds through all chats."""


class Retention:
    """Leaves the newest message of each chat: it says that the others are archived, and fences appends."""

    def __init__(
        self,
        store: Store,
        sources: ChatSources,
        gateway: JetStreamGateway,
        ages: Mapping[str, timedelta],
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._sources = sources
        self._gateway = gateway
        self._ages = ages
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._log = RateLimitedLog(log)

    def start(self) -> None:
        self._task = asyncio.create_task(
            repeat(self._try, LOOK_SECONDS, log), name="remove the events of old chats"
        )

    async def stop(self) -> None:
        if self._task is not None:
            await cancel_and_wait(self._task)

    async def _try(self) -> None:
        try:
            await self.round()
        except _UNAVAILABLE as error:
            self._log.warning("the events of old chats stay in NATS", why=str(error))

    async def round(self) -> int:
        """Remove the events of all chats that are old enough; how many messages were removed."""
        removed = 0
        async for session in self._store.all_sessions():
            if self._is_due(session):
                removed += await self._chat_or_log(session)
        return removed

    async def _chat_or_log(self, session: Session) -> int:
        try:
            return await self.chat(session)
        except _UNAVAILABLE:
            raise
        except Exception:  # what is wrong with one chat keeps no other in NATS
            fields = {"app": session.key.app, "chat": session.key.chat}
            log.exception("the events of an old chat stay in NATS", extra=fields)
            return 0

    def _is_due(self, session: Session) -> bool:
        age = self._ages.get(session.app_id, self._ages.get(EVERY_APP))
        if age is None or session.status == "running" or session.is_erased:
            return False
        return session.last_updated_at < self._clock() - age

    async def chat(self, session: Session) -> int:
        """Remove the messages of a chat before its newest, if the archive has all of them.

        What forks read stays. Returns how many were removed.
        """
        key = session.key
        if await self._gateway.event_reader.count(key) < 2:
            return 0
        if await self._store.forks_of(key, None, 1) or not await self._is_archived(key):
            return 0
        newest = await self._gateway.events.last_position(key)
        if newest != session.last_position:
            return 0
        return await self._gateway.purger.purge_events(key, before=newest)

    async def _is_archived(self, key: ChatKey) -> bool:
        logged = (await self._sources.logged(key)).events
        archived = read_chain(key, await self._sources.records(key)).events
        own = [one.data for one in archived if one.envelope.key == key]
        return bool(logged) and [one.data for one in logged if one.envelope.key == key] == own
