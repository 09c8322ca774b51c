"""Remove messages from streams: all of a subject, or those before a position."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping

from nats.aio.client import Client
from nats.js.api import ObjectInfo
from pydantic_core import from_json

from contracts import subjects
from contracts.ids import ChatKey, StreamSeq
from contracts.subjects import InvalidSubjectError
from services.chassis.jetstream.direct_get import DirectReader
from services.chassis.jetstream.errors import NatsRejectedError, NatsUnavailableError, is_temporary
from services.chassis.jetstream.event_streams import EventStreamLocator
from services.chassis.nats.unavailable import NATS_UNAVAILABLE

PURGE_SECONDS = 30.0
"""How long one removal may take: a chat may have a hundred thousand messages."""
RETRY_SECONDS = 0.5


class Purger:
    """Removes messages over one connection. Methods raise NatsUnavailableError, NatsRejectedError."""

    def __init__(self, nc: Client, reader: DirectReader, event_streams: EventStreamLocator) -> None:
        self._nc = nc
        self._reader = reader
        self._event_streams = event_streams

    async def purge_events(self, key: ChatKey, *, before: StreamSeq | None = None) -> int:
        """Remove a chat's messages in the log, or those `before` a position; their number.

        While its events are moved to another stream, they are removed from both.
        """
        numbers: dict[str, int] = {}
        while missing := set(await self._event_streams.holders(key)) - numbers.keys():
            for stream in missing:
                numbers[stream] = await self.purge(stream, subjects.events_of(key), before=before)
        return max(numbers.values())

    async def purge(self, stream: str, subject: str, *, before: StreamSeq | None = None) -> int:
        """Remove the messages of a subject or filter, or those `before` a position; their number.

        A stream that does not exist has none.
        """
        query: dict[str, object] = {"filter": subject}
        if before is not None:
            query["seq"] = int(before)
        return await purge(self._nc, stream, query)

    async def object_names(self, store: str) -> AsyncIterator[str]:
        """The name of every object of a store, page by page; objects may be removed meanwhile."""
        descriptions = f"$O.{store}.M.>"
        async for page in self._reader.subject_pages(subjects.object_stream(store), descriptions):
            for one in page:
                with contextlib.suppress(InvalidSubjectError):
                    yield subjects.object_name(one)

    async def remove_object(self, store: str, name: str) -> bool:
        """Remove an object, its chunks first; whether there was one."""
        stream, meta = subjects.object_stream(store), subjects.object_meta(store, name)
        stored = await self._reader.last(stream, meta)
        if stored is None:
            return False
        info = ObjectInfo.from_response(from_json(stored.data))
        if info.nuid:
            await self.purge(stream, subjects.object_chunks(store, info.nuid))
        await self.purge(stream, meta)
        return True


async def purge(nc: Client, stream: str, query: Mapping[str, object]) -> int:
    """Remove messages from a stream, as the server's API takes it; their number.

    A stream that does not exist has none. Raises NatsUnavailableError, NatsRejectedError.
    """
    answer = await _ask(nc, stream, json.dumps(query).encode())
    error = answer.get("error")
    if error is None:
        return int(str(answer.get("purged", 0)))
    if error.get("code") == 404:
        return 0
    raise NatsRejectedError(f"purge of {stream}: {error.get('description')}")


async def _ask(nc: Client, stream: str, query: bytes) -> dict[str, dict[str, object]]:
    api = f"$JS.API.STREAM.PURGE.{stream}"
    clock = asyncio.get_running_loop().time
    deadline = clock() + PURGE_SECONDS
    while True:
        try:
            reply = await nc.request(api, query, timeout=PURGE_SECONDS)
        except NATS_UNAVAILABLE as error:
            if not nc.is_connected or clock() > deadline:
                raise NatsUnavailableError(f"{api}: NATS does not answer") from error
        else:
            answer: dict[str, dict[str, object]] = from_json(reply.data)
            if not is_temporary(answer.get("error") or {}) or clock() > deadline:
                return answer
        await asyncio.sleep(RETRY_SECONDS)
