"""The way to JetStream: append facts, read one chat, order, watch, and keep small values.

FastStream and nats-py offer no atomic batch and no batch direct get; both are plain requests with
headers (NATS ADR-50 and ADR-31), written here once.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js import JetStreamContext
from nats.js.kv import KeyValue

from contracts import codec, envelope, subjects
from contracts.commands import Command
from contracts.envelope import Envelope
from contracts.ids import ChatKey, Seq, StreamSeq, new_message_id
from contracts.live import DELTA, Delta, TextStreamed
from contracts.lookups import DataFound, DataRequested
from services.chassis.away import NATS_AWAY as _AWAY
from services.chassis.away import AwayError
from services.chassis.connection import listen

PAGE = 500
"""Messages of one direct get: bounds what a reader holds before it has looked at them."""
PIECES = 8
"""Pieces of an object (128 KiB each) that a reader holds at once."""
ACK_SECONDS = 2
READ_SECONDS = 10.0
"""How long a page of a direct get may take, however large its messages."""
PUBLISH_TRIES = 3
OUTAGE_SECONDS = 30.0
"""How long an append outlasts a NATS that is away before it gives up."""
HEADER_BYTES = 4096
"""More than the headers of any append come to: ids and subjects are bounded."""
MAX_BATCH = 1000
"""Messages of one atomic batch that the server takes (NATS ADR-50)."""

_STALE = (
    10071,  # JSStreamWrongLastSequenceErrF: the chat has moved on
    10201,  # JSAtomicPublishContainsDuplicateMessageErr: so it has, and this seq is taken
)


class PositionConflictError(Exception):
    """Someone else appended first: nothing of this append is stored. Read again, decide again."""

    def __init__(self, key: ChatKey, expected: StreamSeq) -> None:
        super().__init__(f"{key.app}/{key.chat} has moved past stream position {expected}")


class RefusedError(Exception):
    """JetStream said no, and would again: the message carries its code and reason."""


class UnavailableError(AwayError):
    """JetStream did not answer within the time given; what was asked may or may not have happened."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as its stream holds it."""

    position: StreamSeq
    data: bytes
    operation: str = ""
    """What a bucket says was done where it was not a put: DEL or PURGE."""

    def envelope(self) -> Envelope:
        return codec.decode(self.data)


class Bus:
    """Everything that a service does on JetStream, over one connection."""

    def __init__(self, nc: Client) -> None:
        self.nc = nc
        self.js: JetStreamContext = nc.jetstream()

    async def append(self, facts: Sequence[Envelope], *, after: StreamSeq) -> StreamSeq:
        """Store the envelopes of one chat, all or none, right after stream position `after`.

        `after` is 0 for a new chat. Returns the stream position of the last one. Raises
        PositionConflictError, RefusedError, or UnavailableError after OUTAGE_SECONDS.
        """
        if not 0 < len(facts) <= MAX_BATCH:
            raise RefusedError(f"an append takes 1 to {MAX_BATCH} events, got {len(facts)}")
        payloads = [codec.encode(fact) for fact in facts]
        deadline = asyncio.get_running_loop().time() + OUTAGE_SECONDS
        unanswered = False
        while True:
            try:
                return await self._append_once(facts, payloads, after)
            except PositionConflictError:  # a try that was never answered may be what is in the way
                if not unanswered or asyncio.get_running_loop().time() > deadline:
                    raise
            except _AWAY as away:
                unanswered = True
                if asyncio.get_running_loop().time() > deadline:
                    raise UnavailableError(f"append to {facts[0].event_id}") from away
                await asyncio.sleep(0.2)
            # Whether it landed before the answer was lost, only the log can tell.
            landed = await self._landed(facts, payloads, after, deadline)
            if landed is not None:
                return landed

    async def _append_once(
        self, facts: Sequence[Envelope], payloads: Sequence[bytes], after: StreamSeq
    ) -> StreamSeq:
        batch = [envelope.headers(fact) for fact in facts]
        batch[0]["Nats-Expected-Last-Subject-Sequence"] = str(after)
        batch[0]["Nats-Expected-Last-Subject-Sequence-Subject"] = subjects.events_of(facts[0].key)
        if len(batch) > 1:
            _bind_together(batch)
        addressed = [subjects.event(fact.key, fact.category) for fact in facts]
        for subject, payload in zip(addressed, payloads, strict=True):
            self._refuse_oversize(subject, payload)  # before the first leaves: NATS would hang up
        *before, last = zip(addressed, payloads, batch, strict=True)
        for subject, payload, headers in before:
            await self.nc.publish(subject, payload, headers=headers)
        subject, payload, headers = last
        reply = await self.nc.request(subject, payload, timeout=ACK_SECONDS, headers=headers)
        ack = json.loads(reply.data)
        if "error" in ack:
            if ack["error"].get("err_code") in _STALE:
                raise PositionConflictError(facts[0].key, after)
            raise RefusedError(f"{ack['error'].get('err_code')}: {ack['error'].get('description')}")
        if ack.get("duplicate"):  # the id is known from elsewhere: nothing of ours was stored
            raise PositionConflictError(facts[0].key, after)
        return StreamSeq(ack["seq"])

    def _refuse_oversize(self, subject: str, data: bytes) -> None:
        room = self.nc.max_payload - HEADER_BYTES
        if len(data) > room:
            raise RefusedError(f"{subject}: {len(data)} bytes, NATS takes {room} and its headers")

    async def _landed(
        self,
        facts: Sequence[Envelope],
        payloads: Sequence[bytes],
        after: StreamSeq,
        deadline: float,
    ) -> StreamSeq | None:
        key = facts[0].key
        found: list[Stored] | None = None
        while found is None:
            try:
                found = [stored async for stored in self.read(key, after=after)]
            except UnavailableError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.2)
        if not found:
            return None
        ours = found[: len(payloads)]
        if [stored.data for stored in ours] == list(payloads):
            return ours[-1].position
        raise PositionConflictError(key, after)

    async def read(self, key: ChatKey, *, after: StreamSeq) -> AsyncIterator[Stored]:
        """One chat's events past a stream position, in order. Raises UnavailableError."""
        async for stored in self._pages(subjects.EVENTS, subjects.events_of(key), after):
            yield stored

    async def read_from(self, key: ChatKey, *, after: Seq) -> AsyncIterator[Stored]:
        """One chat's events with `seq` past a cursor, in order. Raises UnavailableError.

        The chat's own count says nothing of stream positions, so the place is found by bisection:
        some twenty small reads at the most, whatever the length of the chat.
        """
        place = await self._place_of(key, after) if after else StreamSeq(0)
        async for stored in self.read(key, after=place):
            yield stored

    async def first(self, key: ChatKey) -> Stored | None:
        """A chat's first event, none where there is no such chat. Raises UnavailableError."""
        return await self._next(subjects.events_of(key), StreamSeq(1))

    async def last(self, key: ChatKey) -> Stored | None:
        """A chat's newest event. Raises UnavailableError."""
        return await self._get_one({"last_by_subj": subjects.events_of(key)})

    async def _place_of(self, key: ChatKey, seq: Seq) -> StreamSeq:
        last = await self.last(key)
        if last is None:
            return StreamSeq(0)
        if last.envelope().seq <= seq:
            return last.position
        low, high = 0, int(last.position)  # the event `seq` lies in (low, high]
        while high - low > 1:
            middle = (low + high) // 2
            found = await self._next(subjects.events_of(key), StreamSeq(middle + 1))
            if found is None or found.envelope().seq > seq:
                high = middle
            elif found.envelope().seq == seq:
                return found.position
            else:
                low = found.position
        return StreamSeq(high)

    async def _next(self, subject: str, position: StreamSeq) -> Stored | None:
        return await self._get_one({"seq": position, "next_by_subj": subject})

    async def _get_one(self, query: dict[str, object]) -> Stored | None:
        api = f"$JS.API.DIRECT.GET.{subjects.EVENTS}"
        try:
            found = await self.nc.request(api, json.dumps(query).encode(), timeout=ACK_SECONDS)
        except _AWAY as away:
            raise UnavailableError(f"direct get from {subjects.EVENTS}") from away
        return None if _status(found) else _stored(found)

    async def _pages(
        self, stream: str, subject: str, after: StreamSeq, size: int = PAGE
    ) -> AsyncIterator[Stored]:
        pending = 1
        while pending:
            query = {"batch": size, "seq": after + 1, "next_by_subj": subject}
            page, pending = await self._direct_get(stream, query)
            for stored in page:
                after = stored.position
                yield stored

    async def _direct_get(self, stream: str, query: dict[str, object]) -> tuple[list[Stored], int]:
        """One batch direct get (NATS ADR-31): its messages and how many more there are."""
        found: list[Stored] = []
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def collect(message: Msg) -> None:
            status = _status(message)
            if not status:
                # Not the message itself: its headers are ten small objects, four times the size of
                # a usual event, and hundreds of viewers hold a page each.
                found.append(_stored(message))
            elif not done.done():
                _finish(done, stream, status, message)

        try:
            inbox = self.nc.new_inbox()
            subscription = await self.nc.subscribe(inbox, cb=collect)
            try:
                api = f"$JS.API.DIRECT.GET.{stream}"
                await self.nc.publish(api, json.dumps(query).encode(), reply=inbox)
                async with asyncio.timeout(READ_SECONDS):
                    pending = await done
            finally:
                await subscription.unsubscribe()
        except (*_AWAY, TimeoutError) as away:
            raise UnavailableError(f"direct get from {stream}") from away
        return found, pending

    async def read_deltas(self, key: ChatKey, *, since: str) -> list[TextStreamed]:
        """What was streamed to a chat since an ISO 8601 time, as long as it is kept.

        Raises UnavailableError.
        """
        subject = subjects.delta(key)
        query: dict[str, object] = {"batch": PAGE, "start_time": since, "next_by_subj": subject}
        page, pending = await self._direct_get(subjects.DELTAS, query)
        if pending and page:
            more = self._pages(subjects.DELTAS, subject, page[-1].position)
            page += [later async for later in more]
        shown = [DELTA.validate_json(stored.data) for stored in page]
        return [delta for delta in shown if isinstance(delta, TextStreamed)]

    async def order(self, command: Command) -> None:
        """Put a command into the orchestrator's queue; the same command twice is stored once.

        Raises UnavailableError, RefusedError.
        """
        subject = subjects.command(command.key, command.name)
        await self._publish(subject, command.model_dump_json().encode(), command.command_id)

    async def order_at(self, time: datetime, name: str, command: Command) -> None:
        """Have JetStream order something later, whoever is running then; an overdue one at once.

        `name` tells the chat's timers apart: one set again replaces the one before. Raises
        UnavailableError, RefusedError. (NATS ADR-51.)
        """
        headers = {
            "Nats-Schedule": f"@at {_next_second(time):%Y-%m-%dT%H:%M:%SZ}",
            "Nats-Schedule-Target": subjects.command(command.key, command.name),
        }
        subject = subjects.timer(command.key, name)
        await self._publish(subject, command.model_dump_json().encode(), new_message_id(), headers)

    async def ask(self, question: DataRequested) -> None:
        """Ask for data that another service keeps. Raises UnavailableError, RefusedError."""
        subject = subjects.lookup(question.key, question.request_id)
        await self._publish(subject, question.model_dump_json().encode(), new_message_id())

    async def answer(self, key: ChatKey, found: DataFound) -> None:
        """Raises UnavailableError, RefusedError."""
        subject = subjects.found(key, found.request_id)
        await self._publish(subject, found.model_dump_json().encode(), new_message_id())

    async def show(self, key: ChatKey, delta: Delta) -> None:
        """Show what happens right now; not waited for, because a stored event supersedes it."""
        await self.nc.publish(subjects.delta(key), delta.model_dump_json().encode())

    async def _publish(
        self, subject: str, data: bytes, message_id: str, headers: dict[str, str] | None = None
    ) -> None:
        sent = {**(headers or {}), "Nats-Msg-Id": message_id}
        self._refuse_oversize(subject, data)
        reply: Msg | None = None
        for attempt in range(PUBLISH_TRIES):
            try:
                reply = await self.nc.request(subject, data, timeout=ACK_SECONDS, headers=sent)
                break
            except _AWAY:  # safe to repeat: the server knows the id
                await asyncio.sleep(0.2 * attempt)
        if reply is None:
            raise UnavailableError(f"publish to {subject}")
        ack = json.loads(reply.data)
        if "error" in ack:
            raise RefusedError(f"{ack['error'].get('err_code')}: {ack['error'].get('description')}")

    @asynccontextmanager
    async def watching(
        self, key: ChatKey, on_message: Callable[[Msg], Awaitable[None]]
    ) -> AsyncIterator[None]:
        """Hear a chat's events and deltas as they are stored: a plain subscription, no consumer.

        Raises UnavailableError.
        """
        async with self._hearing(subjects.live(key), on_message):
            yield

    @asynccontextmanager
    async def awaiting(self, question: DataRequested) -> AsyncIterator[asyncio.Future[DataFound]]:
        """Hear the answer to a question that is asked inside. Raises UnavailableError."""
        answer: asyncio.Future[DataFound] = asyncio.get_running_loop().create_future()

        async def hear(message: Msg) -> None:
            if not answer.done():
                answer.set_result(DataFound.model_validate_json(message.data))

        async with self._hearing(subjects.found(question.key, question.request_id), hear):
            yield answer

    @asynccontextmanager
    async def _hearing(
        self, subject: str, on_message: Callable[[Msg], Awaitable[None]]
    ) -> AsyncIterator[None]:
        try:
            subscription = await listen(self.nc, subject, on_message, ACK_SECONDS)
        except _AWAY as away:
            raise UnavailableError(f"subscribe to {subject}") from away
        try:
            yield
        finally:
            with suppress(NatsError):  # the connection is gone, and its subscriptions with it
                await subscription.unsubscribe()

    async def bucket(self, name: str) -> KeyValue:
        return await self.js.key_value(name)

    async def values_under(self, bucket: str, prefix: str) -> list[bytes]:
        """The value of each key below a prefix, the one written last at the end.

        For buckets that keep no history: there the stream holds one message a key. Raises
        UnavailableError.
        """
        subject = subjects.bucket_subject(bucket, f"{prefix}.>" if prefix else ">")
        kept = self._pages(subjects.bucket_stream(bucket), subject, StreamSeq(0))
        return [stored.data async for stored in kept if not stored.operation]

    async def pieces(self, store: str, nuid: str) -> AsyncIterator[bytes]:
        """The bytes of one object, piece by piece, without a consumer. Raises UnavailableError."""
        stream, subject = subjects.object_stream(store), subjects.object_pieces(store, nuid)
        async for piece in self._pages(stream, subject, StreamSeq(0), PIECES):
            yield piece.data


def _bind_together(batch: Sequence[dict[str, str]]) -> None:
    """Make one atomic batch of several messages: nothing is stored before the last commits it."""
    name = new_message_id()
    for place, headers in enumerate(batch, start=1):
        headers["Nats-Batch-Id"] = name
        headers["Nats-Batch-Sequence"] = str(place)
    batch[-1]["Nats-Batch-Commit"] = "1"


def _stored(message: Msg) -> Stored:
    operation = (message.headers or {}).get("KV-Operation", "")
    return Stored(live_position(message), message.data, operation)


def live_position(message: Msg) -> StreamSeq:
    """The stream position that JetStream notes on a message it republishes or is asked for."""
    return StreamSeq(int((message.headers or {})["Nats-Sequence"]))


def _status(message: Msg) -> str:
    return (message.headers or {}).get("Status", "")


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


def _next_second(time: datetime) -> datetime:
    return (time + timedelta(microseconds=999_999)).astimezone(UTC)
