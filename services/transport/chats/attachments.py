"""Attachments: the files that users upload to chats, in a JetStream object store."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator
from hashlib import sha256
from typing import IO

from nats.errors import Error as NatsError
from nats.js.errors import ObjectNotFoundError
from nats.js.object_store import ObjectStore

from contracts import encryption, subjects
from contracts.ids import AppId
from contracts.sealed_files import SealedFile, opened_file
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.errors import ApiError, limit_exceeded

MAX_CONCURRENT_UPLOADS = 8
"""Default limit of the uploads that one process receives at the same time."""
MAX_CONCURRENT_UPLOADS_PER_APP = 4
"""The same for one app, so that the slow clients of one leave room for the others."""
WRITE_TIMEOUT_SECONDS = 120.0
"""How long writing one object may take."""


class UploadLimiter:
    """Limits the uploads that this process receives at the same time, in total and per app."""

    def __init__(
        self,
        max_total: int = MAX_CONCURRENT_UPLOADS,
        max_per_app: int = MAX_CONCURRENT_UPLOADS_PER_APP,
    ) -> None:
        self._max_total = max_total
        self._max_per_app = max_per_app
        self._active = 0
        self._active_of: Counter[AppId] = Counter()

    @contextlib.contextmanager
    def acquire(self, apps: Collection[AppId]) -> Iterator[None]:
        """Hold one upload of a client that may act for these apps. Raises ApiError at a limit.

        For which of them it is, is known only once the form was read, so it counts for each. Without
        sign-in a client names no apps, and only the total is limited.
        """
        if self._active >= self._max_total:
            raise _upload_limit("service", f"{self._max_total} at a time")
        if any(self._active_of[app] >= self._max_per_app for app in apps):
            raise _upload_limit("app_id", f"{self._max_per_app} of one app at a time")
        self._active += 1
        self._active_of.update(apps)
        try:
            yield
        finally:
            self._active -= 1
            self._active_of.subtract(apps)
            self._active_of += Counter()  # drops the apps that have none


def _upload_limit(field: str, limit: str) -> ApiError:
    return limit_exceeded(field, f"upload limit reached ({limit}), try again shortly")


class AttachmentStore:
    """Writes and reads files in chunks: no file is in memory as a whole."""

    def __init__(self, gateway: JetStreamGateway, max_bytes: int, max_bundle_bytes: int) -> None:
        self._gateway = gateway
        self._max_bytes_of = {"bundle": max_bundle_bytes}
        self.max_bytes = max_bytes

    def max_bytes_for(self, intent: str) -> int:
        """Limit of one file in bytes."""
        return self._max_bytes_of.get(intent, self.max_bytes)

    async def put(self, name: str, file: IO[bytes]) -> bool:
        """Write an object; whether it was written. The name is derived from the bytes, so an object
        that exists is not written again.

        Raises NatsUnavailableError.
        """
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
                store = await self._gateway.js.object_store(subjects.ATTACHMENTS)
                if await self._exists(store, name):
                    return False
                stored: object = file
                if encryption.is_on():
                    key = subjects.parse_attachment_key(name)[0]
                    await encryption.ensure(key)
                    stored = SealedFile(file, key, name)
                await store.put(name, stored)  # type: ignore[arg-type]  # anything with readinto
                return True
        except (NatsError, TimeoutError, OSError) as error:
            raise NatsUnavailableError(f"object {name}") from error

    async def exists(self, name: str) -> bool:
        """Whether an object is stored as a whole. Raises NatsUnavailableError."""
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
                store = await self._gateway.js.object_store(subjects.ATTACHMENTS)
                return await self._exists(store, name)
        except (NatsError, TimeoutError, OSError) as error:
            raise NatsUnavailableError(f"object {name}") from error

    async def _exists(self, store: ObjectStore, name: str) -> bool:
        try:
            info = await store.get_info(name)
        except ObjectNotFoundError:
            return False
        return await self._gateway.objects.is_complete(subjects.ATTACHMENTS, info)

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """The bytes of an object in chunks. Raises ApiError, NatsUnavailableError."""
        try:
            store = await self._gateway.js.object_store(subjects.ATTACHMENTS)
            info = await store.get_info(name)
        except ObjectNotFoundError as error:
            raise attachment_not_found("attachment_id") from error
        except (NatsError, TimeoutError, OSError) as error:
            raise NatsUnavailableError(f"object {name}") from error
        if not await self._gateway.objects.is_complete(subjects.ATTACHMENTS, info):
            raise NatsUnavailableError(f"object {name} is incomplete")
        chunks = self._gateway.objects.read(subjects.ATTACHMENTS, str(info.nuid))
        if not encryption.is_on():
            return chunks
        key = subjects.parse_attachment_key(name)[0]
        await encryption.load(key)
        return opened_file(chunks, key, name)


def attachment_id(digest: str, *fields: str) -> str:
    """The id of a file: the same bytes with the same name and purpose give the same id."""
    parts = (digest, *fields)
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return f"att_{sha256(text.encode()).hexdigest()[:32]}"


def attachment_not_found(field: str) -> ApiError:
    return ApiError("ATTACHMENT_NOT_FOUND", field, "no such attachment")
