"""The files that users gave their chats: their bytes lie in an object store."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from typing import IO

from nats.errors import Error as NatsError
from nats.js.errors import ObjectNotFoundError
from nats.js.object_store import ObjectStore

from contracts import subjects
from services.chassis.bus import Bus
from services.chassis.direct_get import UnavailableError
from services.transport.refusals import RefusalError, limit_reached

AT_ONCE = 8
"""Uploads that one process takes in side by side."""
KEEP_SECONDS = 120.0
"""How long an object may take to be written."""


class Attachments:
    """Keeps files and gives them back, never whole in memory."""

    def __init__(self, bus: Bus, most: int, most_of_bundle: int) -> None:
        self._bus = bus
        self._most = {"bundle": most_of_bundle}
        self.most = most
        self._coming = 0

    def most_of(self, intent: str) -> int:
        """Bytes of one file."""
        return self._most.get(intent, self.most)

    @contextlib.contextmanager
    def one_more(self) -> Iterator[None]:
        """Raises RefusalError where too many come in already."""
        if self._coming >= AT_ONCE:
            raise limit_reached("service", f"{AT_ONCE} files come in already, try again shortly")
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1

    async def keep(self, name: str, file: IO[bytes]) -> None:
        """Write an object; its name says what its bytes are, so one that is there stays.

        Raises UnavailableError.
        """
        try:
            async with asyncio.timeout(KEEP_SECONDS):
                store = await self._bus.js.object_store(subjects.ATTACHMENTS)
                if not await self._is_there(store, name):
                    await store.put(name, file)  # type: ignore[arg-type]  # anything with readinto
        except (NatsError, TimeoutError, OSError) as away:
            raise UnavailableError(f"object {name}") from away

    async def _is_there(self, store: ObjectStore, name: str) -> bool:
        try:
            found = await store.get_info(name)
        except ObjectNotFoundError:
            return False
        return await self._bus.is_whole(subjects.ATTACHMENTS, found)

    async def pieces(self, name: str) -> AsyncIterator[bytes]:
        """The bytes of an object. Raises RefusalError, UnavailableError."""
        try:
            store = await self._bus.js.object_store(subjects.ATTACHMENTS)
            found = await store.get_info(name)
        except ObjectNotFoundError as gone:
            raise no_attachment("attachment_id") from gone
        except (NatsError, TimeoutError, OSError) as away:
            raise UnavailableError(f"object {name}") from away
        if not await self._bus.is_whole(subjects.ATTACHMENTS, found):
            raise UnavailableError(f"object {name} is not whole")
        return self._bus.pieces(subjects.ATTACHMENTS, str(found.nuid))


def attachment_id(digest: str, *more: str) -> str:
    """The id of a file: the same bytes under the same name for the same purpose are the same."""
    parts = (digest, *more)
    told = "".join(f"{len(part)}:{part}" for part in parts)
    return f"att_{sha256(told.encode()).hexdigest()[:32]}"


def no_attachment(field: str) -> RefusalError:
    return RefusalError("ATTACHMENT_NOT_FOUND", field, "there is no such attachment")
