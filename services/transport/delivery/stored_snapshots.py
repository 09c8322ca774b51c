"""Snapshots of chats that persistence stores: where they come in time, a long log is not read whole."""

import asyncio
import logging
from collections.abc import Callable

from contracts.ids import ChatKey, new_message_id
from contracts.lookups import SnapshotFound, SnapshotRequested
from services.chassis.jetstream.errors import NatsRejectedError, NatsUnavailableError
from services.chassis.jetstream.lookups import LookupChannel

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 0.5
"""How long persistence may take: about as long as reading a log of thousands of events."""
PAUSE_SECONDS = 30.0
"""How long nothing is asked after an answer did not come in time."""


class StoredSnapshots:
    """Asks for the snapshot of a chat, unless persistence was just found not to answer."""

    def __init__(self, lookups: LookupChannel, clock: Callable[[], float]) -> None:
        self._lookups = lookups
        self._clock = clock
        self._paused_until = 0.0

    async def find(self, key: ChatKey) -> SnapshotFound | None:
        """The snapshot of a chat; None where there is none, or none in time."""
        if self._clock() < self._paused_until:
            return None
        query = SnapshotRequested(request_id=new_message_id(), app_id=key.app, chat_id=key.chat)
        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                self._lookups.response(query, SnapshotFound) as response,
            ):
                await self._lookups.request(query)
                return await response
        except (TimeoutError, NatsUnavailableError, NatsRejectedError) as error:
            self._paused_until = self._clock() + PAUSE_SECONDS
            log.info(
                "no snapshot in time: chats are read from their logs", extra={"why": repr(error)}
            )
            return None
