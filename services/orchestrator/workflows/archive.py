"""The versions that chats began with, kept in a JetStream object store, each parcel by its digest."""

import asyncio
import logging
from base64 import urlsafe_b64decode
from contextlib import suppress

from nats.errors import Error as NatsError
from nats.js.api import ObjectInfo
from nats.js.errors import NotFoundError
from nats.js.object_store import ObjectStore

from contracts import subjects
from services.chassis.bus import Bus
from services.chassis.direct_get import UnavailableError
from services.orchestrator.workflows.versions import ForeignParcelError, Parcel, unpacked

log = logging.getLogger(__name__)

STORE_SECONDS = 10.0
"""How long one parcel may take on its way; nats-py itself would wait for a lost piece for ever."""
KNOWN = 1024
"""How many parcels a process remembers to be there; it asks again for the others."""


class Archive:
    """Keeps each parcel once."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._known: set[str] = set()

    async def keep(self, digest: str, parcel: Parcel) -> None:
        """Raises UnavailableError."""
        if digest in self._known:
            return
        try:
            async with asyncio.timeout(STORE_SECONDS):
                await self._put(digest, parcel)
        except (NatsError, OSError, TimeoutError) as away:
            raise UnavailableError(f"keep {digest} in {subjects.MANIFESTS}") from away
        if len(self._known) >= KNOWN:
            self._known.clear()
        self._known.add(digest)

    def forget(self) -> None:
        """Ask again for each parcel whether it is there: the store was made anew."""
        self._known.clear()

    async def find(self, digest: str) -> Parcel | None:
        """None where it was never kept, or is there no more. Raises UnavailableError."""
        try:
            async with asyncio.timeout(STORE_SECONDS):
                store = await self._store()
                if not await self._is_whole(await store.get_info(digest)):
                    log.warning("a version is not whole", extra={"digest": digest})
                    return None
                found = await store.get(digest)
        except NotFoundError:
            return None
        except (NatsError, OSError, TimeoutError) as away:
            raise UnavailableError(f"find {digest} in {subjects.MANIFESTS}") from away
        try:
            return unpacked(found.data or b"", digest)
        except ForeignParcelError as foreign:
            log.warning("a version is not what it was", extra={"why": str(foreign)})
            return None

    async def _put(self, digest: str, parcel: Parcel) -> None:
        store = await self._store()
        held = ""
        with suppress(NotFoundError):
            info = await store.get_info(digest)
            held = _digest_of(info) if await self._is_whole(info) else ""
        if held != digest:  # what is well is not put again: it would be gone for a moment
            await store.put(digest, parcel.packed())

    async def _is_whole(self, info: ObjectInfo) -> bool:
        return await self._bus.is_whole(subjects.MANIFESTS, info)

    async def _store(self) -> ObjectStore:
        return await self._bus.js.object_store(subjects.MANIFESTS)


def _digest_of(info: ObjectInfo) -> str:
    """SHA-256 in hex, as NATS found the object (ADR-20)."""
    return urlsafe_b64decode((info.digest or "").removeprefix("SHA-256=")).hex()
