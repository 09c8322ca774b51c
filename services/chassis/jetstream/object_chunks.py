"""Chunks of stored objects: whether all are there, and their bytes, read without a consumer."""

from collections.abc import AsyncIterator

from nats.js.api import ObjectInfo

from contracts import subjects
from contracts.ids import StreamSeq
from services.chassis.jetstream.direct_get import DirectReader

CHUNKS_PER_READ = 8
"""Chunks (128 KiB each) that a reader holds at once."""


class ObjectChunks:
    """The chunks of the object stores of one connection. Methods raise NatsUnavailableError."""

    def __init__(self, reader: DirectReader) -> None:
        self._reader = reader

    async def is_complete(self, store: str, info: ObjectInfo) -> bool:
        """Whether every chunk of an object is stored, as one replica knows.

        A put whose last answer was lost removes its chunks, and may leave its description.
        """
        stream = subjects.object_stream(store)
        chunks = subjects.object_chunks(store, str(info.nuid))
        return await self._reader.count(stream, chunks) == (info.chunks or 0)

    async def read(self, store: str, nuid: str) -> AsyncIterator[bytes]:
        """The bytes of one object, chunk by chunk; none where there is no such object."""
        stream, subject = subjects.object_stream(store), subjects.object_chunks(store, nuid)
        last = await self._reader.last(stream, subject)
        if last is None:
            return
        chunks = self._reader.pages(
            stream, subject, StreamSeq(0), goal=last.position, size=CHUNKS_PER_READ
        )
        async for message in chunks:
            yield message.data
