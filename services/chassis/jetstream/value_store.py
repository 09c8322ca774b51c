"""Large values of events in an object store: put before an event refers to them, read by chat and digest."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from hashlib import sha256

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import ObjectInfo, ObjectMeta
from nats.js.errors import ObjectNotFoundError
from nats.js.object_store import ObjectStore

from contracts import encryption, subjects
from contracts.event_log import StoredEvent
from contracts.ids import ChatKey
from contracts.large_values import LargeValue
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.object_chunks import ObjectChunks

TIMEOUT_SECONDS = 20.0
"""Limit of one transfer; nats-py itself has none."""
OUTAGE_SECONDS = 30.0
"""How long a put is repeated while NATS is unavailable, as an append is."""
RETRY_SECONDS = 0.5
COMPLETE_READS = 4
"""How often the chunks of a value are counted: one replica may have fewer for a moment."""


class ValueLostError(Exception):
    """The store does not have a value that an event refers to, or other bytes than the event names."""


@dataclass(frozen=True, slots=True)
class ValueContent:
    """A stored value that is about to be read, chunk by chunk."""

    info: ObjectInfo
    chunks: AsyncIterator[bytes]
    opened_size: int | None = None
    """Of the value, where more than that is stored, because it is sealed."""

    @property
    def size(self) -> int:
        return (self.info.size or 0) if self.opened_size is None else self.opened_size

    @property
    def media_type(self) -> str:
        return self.info.description or "application/octet-stream"


class ValueStore:
    """The values of all chats, over one connection; one that is stored is not stored again."""

    def __init__(self, js: JetStreamContext, objects: ObjectChunks) -> None:
        self._js = js
        self._objects = objects

    async def put(self, key: ChatKey, values: Iterable[LargeValue]) -> int:
        """Store values of a chat; how many bytes of them were not stored yet. Raises NatsUnavailableError after OUTAGE_SECONDS.

        Put them before the event that refers to them is appended: after a crash in between they are
        objects that no event names.
        """
        stored = 0
        for value in values:
            digest = value.reference.digest
            await encryption.ensure(key)
            sealed = encryption.seal_bytes(key, digest, value.data)
            name = subjects.value_key(key, digest)
            if await self._put(name, LargeValue(value.reference, sealed)):
                stored += value.reference.size
        return stored

    async def missing(self, key: ChatKey, values: Iterable[LargeValue]) -> list[LargeValue]:
        """Those of the values that are not stored yet. Raises NatsUnavailableError."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                store = await self._store()
                names = {one: subjects.value_key(key, one.reference.digest) for one in values}
                return [one for one in names if not await self._exists(store, names[one])]
        except (NatsError, TimeoutError, OSError) as error:
            raise NatsUnavailableError("object store of values") from error

    async def whole(self, stored: StoredEvent) -> StoredEvent:
        """The event with its whole values; the same where it has all of them in itself.

        They are those of the chat that the event names: a fork has events of others.

        Raises ValueLostError, NatsUnavailableError.
        """
        references = stored.envelope.values
        if not references:
            return stored
        found = {one.digest: await self.get(stored.envelope.key, one.digest) for one in references}
        try:
            return stored.with_values(found)
        except (LookupError, ValueError) as unfit:
            raise ValueLostError(f"{stored.envelope.event_id}: {unfit}") from unfit

    async def get(self, key: ChatKey, digest: str) -> bytes:
        """The bytes of a value. Raises ValueLostError, NatsUnavailableError."""
        content = await self._found(key, digest)
        stored = b"".join([chunk async for chunk in content.chunks])  # all that the leader has
        data = await _opened(key, digest, stored)
        if sha256(data).hexdigest() != digest:
            raise ValueLostError(f"value {digest} of {key.app}/{key.chat} has other bytes")
        return data

    async def open(self, key: ChatKey, digest: str) -> ValueContent:
        """A complete value of a chat, to be read. Raises ValueLostError, NatsUnavailableError."""
        for _ in range(COMPLETE_READS):
            content = await self._found(key, digest)
            if await self._is_complete(content.info):
                return (
                    content
                    if not encryption.is_on()
                    else await self._in_memory(key, digest, content)
                )
            await asyncio.sleep(RETRY_SECONDS)  # a replica may be behind
        raise ValueLostError(f"value {digest} of {key.app}/{key.chat} is incomplete")

    async def _in_memory(self, key: ChatKey, digest: str, content: ValueContent) -> ValueContent:
        """A value that may be sealed, opened: it has 8 MB at most."""
        data = await self.get(key, digest)
        return ValueContent(content.info, _once(data), len(data))

    async def _found(self, key: ChatKey, digest: str) -> ValueContent:
        name = subjects.value_key(key, digest)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                info = await (await self._store()).get_info(name)
        except ObjectNotFoundError as missing:
            raise ValueLostError(
                f"no value {digest} of {key.app}/{key.chat} is stored"
            ) from missing
        except (NatsError, TimeoutError, OSError) as error:
            raise NatsUnavailableError(f"object {name}") from error
        chunks = self._objects.read(subjects.VALUES, str(info.nuid))
        return ValueContent(info, chunks)

    async def _put(self, name: str, value: LargeValue) -> bool:
        """Whether it was not stored yet."""
        deadline = asyncio.get_running_loop().time() + OUTAGE_SECONDS
        while True:
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    store = await self._store()
                    if await self._exists(store, name):
                        return False
                    meta = ObjectMeta(name=name, description=value.reference.media_type)
                    await store.put(name, value.data, meta)
            except (NatsError, NatsUnavailableError, TimeoutError, OSError) as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise NatsUnavailableError(f"object {name}") from error
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return True

    async def _exists(self, store: ObjectStore, name: str) -> bool:
        try:
            info = await store.get_info(name)
        except ObjectNotFoundError:
            return False
        return await self._is_complete(info)

    async def _is_complete(self, info: ObjectInfo) -> bool:
        return await self._objects.is_complete(subjects.VALUES, info)

    async def _store(self) -> ObjectStore:
        return await self._js.object_store(subjects.VALUES)


async def _opened(key: ChatKey, digest: str, stored: bytes) -> bytes:
    await encryption.load(key)
    try:
        data = encryption.open_bytes(key, digest, stored)
    except ValueError as damaged:
        raise ValueLostError(f"value {digest} of {key.app}/{key.chat}: {damaged}") from damaged
    if data is None:
        raise ValueLostError(f"value {digest} of {key.app}/{key.chat}: its key is gone")
    return data


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
