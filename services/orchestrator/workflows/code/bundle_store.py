"""Store the file bundles of workflow versions in a JetStream object store, by digest."""

import asyncio
import logging
from base64 import urlsafe_b64decode
from contextlib import suppress

from nats.errors import Error as NatsError
from nats.js.api import ObjectInfo
from nats.js.errors import NotFoundError
from nats.js.object_store import ObjectStore

from contracts import subjects
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.workflows.code.bundle import FileBundle, InvalidBundleError, unpack

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10.0
"""Limit for one transfer; nats-py itself has none and would wait for a missing chunk forever."""
MAX_REMEMBERED = 1024
"""How many stored bundles a process remembers; for others it asks the store again."""


class BundleStore:
    """Stores each bundle once."""

    def __init__(self, gateway: JetStreamGateway) -> None:
        self._gateway = gateway
        self._stored: set[str] = set()

    async def put(self, digest: str, bundle: FileBundle) -> None:
        """Store a bundle unless it is stored already. Raises NatsUnavailableError."""
        if digest in self._stored:
            return
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self._put(digest, bundle)
        except (NatsError, OSError, TimeoutError) as away:
            raise NatsUnavailableError(f"put {digest} into {subjects.MANIFESTS}") from away
        if len(self._stored) >= MAX_REMEMBERED:
            self._stored.clear()
        self._stored.add(digest)

    def forget(self) -> None:
        """Forget which bundles are stored, because the store was created anew."""
        self._stored.clear()

    async def get(self, digest: str) -> FileBundle | None:
        """The bundle, None if it is not stored or not intact. Raises NatsUnavailableError."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                store = await self._store()
                if not await self._is_complete(await store.get_info(digest)):
                    log.warning("a stored bundle is incomplete", extra={"digest": digest})
                    return None
                stored = await store.get(digest)
        except NotFoundError:
            return None
        except (NatsError, OSError, TimeoutError) as away:
            raise NatsUnavailableError(f"get {digest} from {subjects.MANIFESTS}") from away
        try:
            return unpack(stored.data or b"", digest)
        except InvalidBundleError as invalid:
            log.warning("a stored bundle is not valid", extra={"why": str(invalid)})
            return None

    async def _put(self, digest: str, bundle: FileBundle) -> None:
        store = await self._store()
        stored_digest = ""
        with suppress(NotFoundError):
            info = await store.get_info(digest)
            stored_digest = _digest_of(info) if await self._is_complete(info) else ""
        if (
            stored_digest != digest
        ):  # an intact object is not put again: it would be missing meanwhile
            await store.put(digest, bundle.pack())

    async def _is_complete(self, info: ObjectInfo) -> bool:
        return await self._gateway.objects.is_complete(subjects.MANIFESTS, info)

    async def _store(self) -> ObjectStore:
        return await self._gateway.js.object_store(subjects.MANIFESTS)


def _digest_of(info: ObjectInfo) -> str:
    """SHA-256 in hex, as NATS computed it for the object (ADR-20)."""
    return urlsafe_b64decode((info.digest or "").removeprefix("SHA-256=")).hex()
