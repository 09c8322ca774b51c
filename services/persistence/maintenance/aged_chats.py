"""Restores the log of a chat of which only the newest message is left, when somebody needs it."""

import asyncio
import logging
from weakref import WeakValueDictionary

from contracts import encryption, event_log
from contracts.event_log import RejectedMessageError
from contracts.ids import ChatKey, StreamSeq
from services.chassis.jetstream.gateway import JetStreamGateway
from services.persistence.maintenance.rebuilder import Rebuilder
from services.persistence.maintenance.restorer import Restorer
from services.persistence.maintenance.sources import IncompleteChatError

log = logging.getLogger(__name__)

ATTEMPTS = 20
PAUSE_SECONDS = 0.25
"""Until the newest events are archived, too."""


class AgedChats:
    """Every method raises StoreUnavailableError, NatsUnavailableError."""

    def __init__(self, restorer: Restorer, rebuilder: Rebuilder, gateway: JetStreamGateway) -> None:
        self._restorer = restorer
        self._rebuilder = rebuilder
        self._gateway = gateway
        self._locks: WeakValueDictionary[ChatKey, asyncio.Lock] = WeakValueDictionary()

    async def restore(self, key: ChatKey) -> int:
        """Append the archived events after the message that is left, then remove that.

        As long as it is there, readers know that the log is not whole. Returns the number of events;
        0 where nothing was to be done. Raises IncompleteChatError.
        """
        lock = self._locks.setdefault(key, asyncio.Lock())  # as long as somebody waits for it
        async with lock:
            return await self._restore(key)

    async def _restore(self, key: ChatKey) -> int:
        why = IncompleteChatError("the archive does not have its newest events")
        for _ in range(ATTEMPTS):
            if not await self._gateway.events.is_aged_out(key):
                return 0
            try:
                restored = await self._restorer.chat(key, is_old=True)
            except IncompleteChatError as incomplete:  # another process may be restoring it
                why = incomplete
            else:
                if await self._remove_remnants(key):
                    await self._rebuilder.chat(key)  # its positions have changed
                    extra = {"app": key.app, "chat": key.chat, "events": restored}
                    log.info("the events of an old chat are restored", extra=extra)
                    return restored
            await asyncio.sleep(PAUSE_SECONDS)
        raise why

    async def _remove_remnants(self, key: ChatKey) -> bool:
        """Remove what is before the first event, once the events after it go as far as that."""
        await encryption.load(key)
        remnants, head, first = 0, 0, StreamSeq(0)
        goal = await self._gateway.events.last_position(key)
        async for message in self._gateway.event_reader.pages(key, StreamSeq(0), goal=goal):
            try:
                found = event_log.read(message.subject, message.data)
            except RejectedMessageError:
                continue
            if found.is_remnant and not first:
                remnants = max(remnants, found.head.seq)
            elif not first:
                first, head = message.position, found.head.seq
            elif found.first.seq == head + 1:
                head = found.head.seq
        if not first or head < remnants:
            return False
        await self._gateway.purger.purge_events(key, before=first)
        return True
