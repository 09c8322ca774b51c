"""Read a stream without a consumer: batch direct gets, and the leader's word where it decides.

nats-py offers no batch direct get; it is a plain request with headers (NATS ADR-31). Any replica may
answer a direct get, and one that lags answers with the past. So whoever decides on what it reads
first asks the stream's leader how far the log goes, and reads until it has come there.
"""

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from contracts.ids import StreamSeq
from services.chassis.away import NATS_AWAY, AwayError

PAGE = 500
"""Messages of one direct get: bounds what a reader holds before it has looked at them."""
REQUEST_SECONDS = 2.0
READ_SECONDS = 10.0
"""How long a page of a direct get may take, and a replica to show what the leader has."""
SILENT_SECONDS = 0.5
"""How long a replica may be silent before another is asked; doubled with each try."""
BEHIND_SECONDS = 0.05
"""Between two looks at a replica that is behind."""

NOWHERE = StreamSeq(0)
"""Before every message."""

_NOT_FOUND = 10037
"""JSNoMessageFoundErr"""


class RefusedError(Exception):
    """JetStream said no, and would again: the message carries its code and reason."""


class UnavailableError(AwayError):
    """JetStream did not answer within the time given; what was asked may or may not have happened."""


@dataclass(frozen=True, slots=True)
class RawMessage:
    """A message as its stream holds it."""

    position: StreamSeq
    subject: str
    data: bytes
    is_deleted: bool = False
    """Whether it marks the end of a key in a bucket."""


def position_of(message: Msg) -> StreamSeq:
    """The stream position that JetStream notes on a message it republishes or is asked for."""
    return StreamSeq(int((message.headers or {})["Nats-Sequence"]))


def _raw(message: Msg) -> RawMessage:
    """An answer to a direct get: the message's own subject is in a header (NATS ADR-31)."""
    headers = message.headers or {}
    subject = headers.get("Nats-Subject", "")
    return RawMessage(position_of(message), subject, message.data, "KV-Operation" in headers)


class DirectReader:
    """Reads streams over one connection. Every method raises UnavailableError."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc

    async def last(self, stream: str, subject: str) -> RawMessage | None:
        """The newest message of a subject or filter, by the stream's leader; none where there is none."""
        return await self._ask_leader(stream, {"last_by_subj": subject})

    async def next(self, stream: str, subject: str, position: StreamSeq) -> RawMessage | None:
        """The first message at or after a position, by the leader."""
        return await self._ask_leader(stream, {"seq": int(position), "next_by_subj": subject})

    async def at(self, stream: str, position: StreamSeq) -> RawMessage | None:
        """The message at a position, by the leader; none where it was removed."""
        return await self._ask_leader(stream, {"seq": int(position)})

    async def subjects_of(self, stream: str, subject: str) -> list[str]:
        """Every subject below a filter that holds a message."""
        found: list[str] = []
        while True:
            query = {"subjects_filter": subject, "offset": len(found)}
            answer = await self._ask(f"$JS.API.STREAM.INFO.{stream}", query)
            if (error := answer.get("error")) is not None:
                raise UnavailableError(f"{stream}: {error.get('description')}")
            page = answer["state"].get("subjects") or {}
            found += page
            if not page or len(found) >= answer.get("total", 0):
                return found

    async def _ask_leader(self, stream: str, query: dict[str, object]) -> RawMessage | None:
        answer = await self._ask(f"$JS.API.STREAM.MSG.GET.{stream}", query)
        if (error := answer.get("error")) is not None:
            if error.get("err_code") == _NOT_FOUND:
                return None
            raise UnavailableError(f"get from {stream}: {error.get('description')}")
        message = answer["message"]
        data = b64decode(message.get("data", ""))
        return RawMessage(StreamSeq(message["seq"]), message["subject"], data)

    async def _ask(self, api: str, query: Mapping[str, object]) -> dict[str, Any]:
        """Ask until a leader answers: a new one is elected within seconds."""
        asked = json.dumps(query).encode()
        clock = asyncio.get_running_loop().time
        deadline = clock() + READ_SECONDS
        while True:
            try:
                reply = await self._nc.request(api, asked, timeout=REQUEST_SECONDS)
            except NATS_AWAY as away:
                if not self._nc.is_connected or clock() > deadline:
                    raise UnavailableError(f"{api}: NATS does not answer") from away
                await asyncio.sleep(BEHIND_SECONDS)
            else:
                answer: dict[str, Any] = json.loads(reply.data)
                return answer

    async def count(self, stream: str, subject: str) -> int:
        """How many messages a filter catches, as one replica knows; cheap, whatever their number."""
        query: dict[str, object] = {"batch": 1, "seq": 1, "next_by_subj": subject}
        page, more = await self._direct_get(stream, query)
        return len(page) + more

    async def pages(
        self,
        stream: str,
        subject: str,
        after: StreamSeq,
        *,
        goal: StreamSeq = NOWHERE,
        size: int | None = None,
    ) -> AsyncIterator[RawMessage]:
        """The messages past a position, in order, up to `goal` at the least.

        Raises UnavailableError also where no replica shows the goal within READ_SECONDS.
        """
        deadline = asyncio.get_running_loop().time() + READ_SECONDS
        while True:
            page, more = await self._direct_get(
                stream, {"batch": size or PAGE, "seq": after + 1, "next_by_subj": subject}
            )
            for message in page:
                after = message.position
                yield message
            if more:
                deadline = asyncio.get_running_loop().time() + READ_SECONDS
            elif after >= goal:
                return
            elif asyncio.get_running_loop().time() > deadline:
                raise UnavailableError(f"{stream}: no replica shows message {goal}")
            else:
                await asyncio.sleep(BEHIND_SECONDS)

    async def since(self, stream: str, subject: str, time: str) -> AsyncIterator[RawMessage]:
        """The messages since an ISO 8601 time, as one replica knows them."""
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

        The server chooses the replica: one that is frozen is silent, and another is asked.
        """
        clock = asyncio.get_running_loop().time
        deadline, patience = clock() + READ_SECONDS, SILENT_SECONDS
        while True:
            answer = _Answer(stream, clock)
            try:
                subscription = await self._nc.subscribe(self._nc.new_inbox(), cb=answer.collect)
                try:
                    api = f"$JS.API.DIRECT.GET.{stream}"
                    asked = json.dumps(query).encode()
                    await self._nc.publish(api, asked, reply=subscription.subject)
                    return answer.messages, await answer.whole(min(patience, READ_SECONDS))
                finally:
                    await subscription.unsubscribe()
            except (*NATS_AWAY, TimeoutError) as away:
                if not self._nc.is_connected or clock() > deadline:
                    raise UnavailableError(f"direct get from {stream}") from away
                patience *= 2
                await asyncio.sleep(BEHIND_SECONDS)


class _Answer:
    """What comes of one direct get, until its end or a silence."""

    def __init__(self, stream: str, clock: Callable[[], float]) -> None:
        self.messages: list[RawMessage] = []
        self._stream = stream
        self._clock = clock
        self._heard = clock()
        self._done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def collect(self, message: Msg) -> None:
        self._heard = self._clock()
        headers = message.headers or {}
        if "Nats-Sequence" in headers:  # a stored message may have a header called Status, too
            self.messages.append(_raw(message))
        elif not self._done.done():
            _finish(self._done, self._stream, headers.get("Status", ""), message)

    async def whole(self, patience: float) -> int:
        """How many more messages there are. Raises TimeoutError after so long a silence."""
        while not self._done.done():
            left = self._heard + patience - self._clock()
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
            done.set_exception(RefusedError(f"direct get from {stream}: {status} {reason}"))
