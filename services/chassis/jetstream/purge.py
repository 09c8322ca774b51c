"""Remove messages from streams: all of a subject, or those before a position."""

import asyncio
import json

from nats.aio.client import Client
from nats.js.api import ObjectInfo
from pydantic_core import from_json

from contracts import subjects
from contracts.ids import StreamSeq
from contracts.subjects import InvalidSubjectError
from services.chassis.jetstream.direct_get import DirectReader
from services.chassis.jetstream.errors import NatsRejectedError, NatsUnavailableError, is_temporary
from services.chassis.nats.unavailable import NATS_UNAVAILABLE

PURGE_SECONDS = 30.0
"""How long one removal may take: a chat may have a hundred thousand messages."""
RETRY_SECONDS = 0.5


class Purger:
    """Removes messages over one connection. Methods raise NatsUnavailableError, NatsRejectedError."""

    def __init__(self, nc: Client, reader: DirectReader) -> None:
        self._nc = nc
        self._reader = reader

    async def purge(self, stream: str, subject: str, *, before: StreamSeq | None = None) -> int:
        """Remove the messages of a subject or filter, or those `before` a position; their number.

        A stream that does not exist has none.
        """
        query: dict[str, object] = {"filter": subject}
        if before is not None:
            query["seq"] = int(before)
        answer = await self._ask(stream, json.dumps(query).encode())
        error = answer.get("error")
        if error is None:
            return int(str(answer.get("purged", 0)))
        if error.get("code") == 404:
            return 0
        raise NatsRejectedError(f"purge of {stream}: {error.get('description')}")

    async def object_names(self, store: str) -> list[str]:
        """The name of every object of a store."""
        stream = subjects.object_stream(store)
        found = await self._reader.subjects_of(stream, f"$O.{store}.M.>")
        names: list[str] = []
        for one in found:
            try:
                names.append(subjects.object_name(one))
            except InvalidSubjectError:
                continue
        return names

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

    async def _ask(self, stream: str, query: bytes) -> dict[str, dict[str, object]]:
        api = f"$JS.API.STREAM.PURGE.{stream}"
        clock = asyncio.get_running_loop().time
        deadline = clock() + PURGE_SECONDS
        while True:
            try:
                reply = await self._nc.request(api, query, timeout=PURGE_SECONDS)
            except NATS_UNAVAILABLE as error:
                if not self._nc.is_connected or clock() > deadline:
                    raise NatsUnavailableError(f"{api}: NATS does not answer") from error
            else:
                answer: dict[str, dict[str, object]] = from_json(reply.data)
                if not is_temporary(answer.get("error") or {}) or clock() > deadline:
                    return answer
            await asyncio.sleep(RETRY_SECONDS)
