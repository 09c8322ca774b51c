"""Which stream holds the events of a chat now, also while events are moved from one to another.

The metadata of stream EVENTS names the streams. A process trusts what it has read of it for
TRUSTED_SECONDS, and whoever moves events waits for longer than that once the metadata says so: from
then on every process asks with each read whether the chat's events have moved. See
docs/decisions/events-moved-by-mirrors.md.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import TypeVar

from contracts.event_streams import ONE_STREAM, EventStreams, streams_in
from contracts.ids import ChatKey
from contracts.subjects import EVENTS, slot
from services.chassis.jetstream.direct_get import DirectReader
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.storage_health import StorageHealth

CHECK_SECONDS = 2.0
"""How long what is known is used without being read again."""
TRUSTED_SECONDS = 10.0
"""How long it is used where it cannot be read, as during an election."""
QUICK_SECONDS = 0.5
"""How long a reader waits for what it could do without."""

T = TypeVar("T")


class EventStreamLocator:
    """Knows the streams of events over one connection. Methods raise NatsUnavailableError."""

    def __init__(
        self,
        reader: DirectReader,
        storage: StorageHealth,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._reader = reader
        self._storage = storage
        self._clock = clock
        self.known = ONE_STREAM
        """The streams as this process has read them last."""
        self._checked = float("-inf")
        self._retry_at = float("-inf")
        self._lock = asyncio.Lock()

    async def streams(self) -> EventStreams:
        """The streams of events now."""
        await self._keep_current()
        return self.known

    async def holder(self, key: ChatKey) -> str:
        """The stream that takes the events of a chat."""
        return (await self._streams_of(key)).holder(slot(key))

    async def holders(self, key: ChatKey) -> tuple[str, ...]:
        """Every stream that has something of a chat: two while its events are moved."""
        return (await self._streams_of(key)).holders(slot(key))

    async def _streams_of(self, key: ChatKey) -> EventStreams:
        await self._keep_current()
        if self.known.is_mirrored(slot(key)):
            await self._read()
        return self.known

    async def ask(self, key: ChatKey, question: Callable[[str], Awaitable[T]]) -> T:
        """The answer to a question about the stream that held a chat's events when it was asked."""
        while True:
            stream = await self.holder(key)
            checked = self._checked  # others may check again meanwhile
            answer = await question(stream)
            if self._clock() - checked <= TRUSTED_SECONDS:
                return answer

    async def _keep_current(self) -> None:
        if self._clock() - self._checked <= CHECK_SECONDS:
            return
        async with self._lock:
            now = self._clock()
            if now - self._checked > TRUSTED_SECONDS:
                await self._read()
            elif now - self._checked > CHECK_SECONDS and now >= self._retry_at:
                self._retry_at = now + CHECK_SECONDS
                with suppress(NatsUnavailableError, TimeoutError):
                    async with asyncio.timeout(QUICK_SECONDS):
                        await self._read()

    async def _read(self) -> None:
        asked = self._clock()
        config = await self._reader.config(EVENTS)
        if config is not None:  # without stream EVENTS, the others are where they were
            found = streams_in(config.get("metadata") or {})
            mirrors = [name for name in found.moving if await self._is_mirror(name)]
            self.known = replace(found, mirrors=frozenset(mirrors))
            self._storage.event_streams = self.known
        self._checked = asked

    async def _is_mirror(self, stream: str) -> bool:
        """Whether a stream does not take new events yet; its leader says so."""
        config = await self._reader.config(stream)
        return config is None or bool(config.get("mirror"))
