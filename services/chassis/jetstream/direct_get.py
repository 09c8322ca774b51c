"""Read a stream without a consumer: batch direct gets, and single gets from the stream's leader.

nats-py offers no batch direct get; it is a plain request with headers (NATS ADR-31). Any replica may
answer a direct get, and one that lags answers with old data. A reader that decides on what it reads
therefore asks the leader for the newest position first, and reads until it has reached it.
"""

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from pydantic_core import from_json

from contracts.ids import StreamSeq
from services.chassis.jetstream.errors import (
    NatsRejectedError,
    NatsUnavailableError,
    is_temporary,
)
from services.chassis.nats.unavailable import NATS_UNAVAILABLE

PAGE = 500
"""Messages of one direct get: limits what a reader holds in memory."""
YIELD_EVERY = 16
"""Messages of a page after which other tasks run."""
REQUEST_SECONDS = 2.0
READ_SECONDS = 10.0
"""How long a page of a direct get may take, and a replica to catch up with the leader."""
LISTING_SECONDS = 60.0
"""How long the leader may take to list 100,000 subjects: it looks through all that a stream has."""
SILENT_SECONDS = 0.5
"""How long a replica may take before another is asked; doubled with each attempt."""
FIRST_BEHIND_SECONDS = 0.002
BEHIND_SECONDS = 0.05
"""The pause before a replica that lags is asked again: the first, doubled with each, and the longest."""

BEFORE_FIRST = StreamSeq(0)
"""A position before every message."""

_NOT_FOUND = 10037
"""JSNoMessageFoundErr"""
_NO_STREAM = 10059
"""JSStreamNotFoundErr"""


@dataclass(frozen=True, slots=True)
class RawMessage:
    """A message as its stream stores it."""

    position: StreamSeq
    subject: str
    data: bytes
    is_deleted: bool = False
    """Whether it is the delete marker of a key in a bucket."""
    stored_at: datetime | None = field(default=None, compare=False)
    """When the stream stored it; only of messages that a consumer delivered."""
    is_restored: bool = field(default=False, compare=False)
    """Whether it was stored before, and came back from the archive; only of such messages, too."""


def position_of(message: Msg) -> StreamSeq:
    """The stream position in the headers of a republished or directly read message."""
    return StreamSeq(int((message.headers or {})["Nats-Sequence"]))


def _raw(message: Msg) -> RawMessage:
    """A response to a direct get: the subject of the message is in a header (NATS ADR-31)."""
    headers = message.headers or {}
    subject = headers.get("Nats-Subject", "")
    return RawMessage(position_of(message), subject, message.data, "KV-Operation" in headers)


class DirectReader:
    """Reads streams over one connection. Every method raises NatsUnavailableError."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc

    async def last(self, stream: str, subject: str) -> RawMessage | None:
        """The newest message of a subject or filter, from the leader; None where there is none."""
        return await self._ask_leader(stream, {"last_by_subj": subject})

    async def next(self, stream: str, subject: str, position: StreamSeq) -> RawMessage | None:
        """The first message at or after a position, from the leader; None where there is none."""
        return await self._ask_leader(stream, {"seq": int(position), "next_by_subj": subject})

    async def at(self, stream: str, position: StreamSeq) -> RawMessage | None:
        """The message at a position, from the leader; None where it was removed, or below the first."""
        if position < 1:
            return None
        return await self._ask_leader(stream, {"seq": int(position)})

    async def counts_of(self, stream: str, subject: str) -> dict[str, int]:
        """The number of messages of every subject that matches a filter, as the leader has them."""
        found: dict[str, int] = {}
        async for page in self._counted(stream, subject):
            found |= page
        return found

    async def subject_pages(self, stream: str, subject: str) -> AsyncIterator[list[str]]:
        """The subjects that match a filter and have a message, in their order, page by page.

        A page has what the leader answers at once, 100,000 at the most. One that is there all the time
        is in a page, whatever is removed or added meanwhile.
        """
        last = ""
        async for counts in self._counted(stream, subject):
            page = sorted(one for one in counts if one > last)
            last = page[-1] if page else last
            yield page

    async def _counted(self, stream: str, subject: str) -> AsyncIterator[dict[str, int]]:
        """Pages of subjects and their numbers of messages. The server has them in the order of subjects.

        Each page begins with the last subject of the one before: where that is missing, subjects were
        removed, others have moved to their places, and are looked for further ahead.
        """
        offset, last, step = 0, "", 1
        while True:
            query = {"subjects_filter": subject, "offset": offset}
            answer = await self._ask(f"$JS.API.STREAM.INFO.{stream}", query, LISTING_SECONDS)
            if (error := answer.get("error")) is not None:
                raise NatsUnavailableError(f"{stream}: {error.get('description')}")
            page: dict[str, int] = answer["state"].get("subjects") or {}
            if offset and (not page or min(page) > last):
                offset, step = max(0, offset - step), step * 2
                continue
            if page:
                yield page
                last = max(last, *page)
            if offset + len(page) >= answer.get("total", 0):
                return
            offset, step = offset + max(len(page) - 1, 1), 1

    async def config(self, stream: str) -> dict[str, Any] | None:
        """The configuration of a stream, from its leader; None where there is no such stream."""
        answer = await self._ask(f"$JS.API.STREAM.INFO.{stream}", {})
        if (error := answer.get("error")) is not None:
            if error.get("err_code") == _NO_STREAM:
                return None
            raise NatsUnavailableError(f"{stream}: {error.get('description')}")
        config: dict[str, Any] = answer["config"]
        return config

    async def _ask_leader(self, stream: str, query: dict[str, object]) -> RawMessage | None:
        answer = await self._ask(f"$JS.API.STREAM.MSG.GET.{stream}", query)
        if (error := answer.get("error")) is not None:
            if error.get("err_code") == _NOT_FOUND:
                return None
            raise NatsUnavailableError(f"get from {stream}: {error.get('description')}")
        message = answer["message"]
        data = b64decode(message.get("data", ""))
        return RawMessage(StreamSeq(message["seq"]), message["subject"], data)

    async def _ask(
        self, api: str, query: Mapping[str, object], request_seconds: float = REQUEST_SECONDS
    ) -> dict[str, Any]:
        """Repeat until a leader answers: a new one is elected within seconds."""
        body = json.dumps(query).encode()
        clock = asyncio.get_running_loop().time
        deadline = clock() + READ_SECONDS
        while True:
            try:
                reply = await self._nc.request(api, body, timeout=request_seconds)
            except NATS_UNAVAILABLE as error:
                if not self._nc.is_connected or clock() > deadline:
                    raise NatsUnavailableError(f"{api}: NATS does not answer") from error
            else:
                answer: dict[str, Any] = from_json(reply.data)
                if not is_temporary(answer.get("error") or {}) or clock() > deadline:
                    return answer
            await asyncio.sleep(BEHIND_SECONDS)

    async def count(self, stream: str, subject: str) -> int:
        """How many messages match a filter, from one replica; cheap, whatever their number."""
        query: dict[str, object] = {"batch": 1, "seq": 1, "next_by_subj": subject}
        page, more = await self._direct_get(stream, query)
        return len(page) + more

    async def pages(
        self,
        stream: str,
        subject: str,
        after: StreamSeq,
        *,
        goal: StreamSeq = BEFORE_FIRST,
        size: int | None = None,
    ) -> AsyncIterator[RawMessage]:
        """The messages after a position, in order, at least up to position `goal`.

        Raises NatsUnavailableError also where no replica has reached the goal within READ_SECONDS.
        """
        deadline = asyncio.get_running_loop().time() + READ_SECONDS
        pauses = _pauses()
        while True:
            page, more = await self._direct_get(
                stream, {"batch": size or PAGE, "seq": after + 1, "next_by_subj": subject}
            )
            for number, message in enumerate(page, 1):
                after = message.position
                yield message
                if number % YIELD_EVERY == 0:  # whoever reads folds them: others get a turn
                    await asyncio.sleep(0)
            if page:
                pauses = _pauses()
            if more:
                deadline = asyncio.get_running_loop().time() + READ_SECONDS
            elif after >= goal:
                return
            elif asyncio.get_running_loop().time() > deadline:
                raise NatsUnavailableError(f"{stream}: no replica has reached message {goal}")
            else:
                await asyncio.sleep(next(pauses))

    async def since(self, stream: str, subject: str, time: str) -> AsyncIterator[RawMessage]:
        """The messages since an ISO 8601 time, from one replica."""
        page, more = await self._direct_get(
            stream, {"batch": PAGE, "start_time": time, "next_by_subj": subject}
        )
        for message in page:
            yield message
        if more and page:
            async for message in self.pages(stream, subject, page[-1].position):
                yield message

    async def _direct_get(
        self, stream: str, query: dict[str, object]
    ) -> tuple[list[RawMessage], int]:
        """One batch direct get: its messages and how many more there are.

        The server chooses the replica: where a frozen one does not answer, another is asked.
        """
        clock = asyncio.get_running_loop().time
        deadline, limit = clock() + READ_SECONDS, SILENT_SECONDS
        while True:
            response = _Response(stream, clock)
            try:
                subscription = await self._nc.subscribe(self._nc.new_inbox(), cb=response.collect)
                try:
                    api = f"$JS.API.DIRECT.GET.{stream}"
                    body = json.dumps(query).encode()
                    await self._nc.publish(api, body, reply=subscription.subject)
                    return response.messages, await response.complete(min(limit, READ_SECONDS))
                finally:
                    await subscription.unsubscribe()
            except (*NATS_UNAVAILABLE, TimeoutError) as error:
                if not self._nc.is_connected or clock() > deadline:
                    raise NatsUnavailableError(f"direct get from {stream}") from error
                limit *= 2
                await asyncio.sleep(BEHIND_SECONDS)


def _pauses() -> Iterator[float]:
    """Short at first: a mirror of the stream may answer, too, and have nothing of a chat."""
    pause = FIRST_BEHIND_SECONDS
    while True:
        yield min(pause, BEHIND_SECONDS)
        pause *= 2


class _Response:
    """The messages of one direct get, until its end or a time-out."""

    def __init__(self, stream: str, clock: Callable[[], float]) -> None:
        self.messages: list[RawMessage] = []
        self._stream = stream
        self._clock = clock
        self._received_at = clock()
        self._done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def collect(self, message: Msg) -> None:
        self._received_at = self._clock()
        headers = message.headers or {}
        if "Nats-Sequence" in headers:  # a stored message may have a header called Status, too
            self.messages.append(_raw(message))
        elif not self._done.done():
            _finish(self._done, self._stream, headers.get("Status", ""), message)

    async def complete(self, limit: float) -> int:
        """How many more messages there are. Raises TimeoutError after `limit` seconds without one."""
        while not self._done.done():
            left = self._received_at + limit - self._clock()
            if left <= 0:
                raise TimeoutError
            await asyncio.wait([self._done], timeout=left)
        return self._done.result()


def _finish(done: asyncio.Future[int], stream: str, status: str, message: Msg) -> None:
    headers: dict[str, Any] = message.headers or {}
    match status:
        case "204" | "404":  # end of batch, nothing found
            done.set_result(int(headers.get("Nats-Num-Pending", 0)))
        case "503":
            done.set_exception(NoRespondersError())
        case _:
            reason = headers.get("Description", "")
            done.set_exception(NatsRejectedError(f"direct get from {stream}: {status} {reason}"))
