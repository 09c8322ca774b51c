"""The way to JetStream for what is no event: commands, lookups, what is streamed, and small values."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import ObjectInfo
from nats.js.kv import KeyValue

from contracts import subjects
from contracts.commands import Command
from contracts.ids import AppId, ChatKey, StreamSeq, new_message_id
from contracts.live import DELTA, Delta, TextStreamed
from contracts.lookups import DataFound, DataRequested
from services.chassis.away import NATS_AWAY
from services.chassis.connection import listen
from services.chassis.direct_get import DirectReader, UnavailableError
from services.chassis.event_log import EventLog
from services.chassis.publish import publish
from services.chassis.storage import NotingContext, Storage

PIECES = 8
"""Pieces of an object (128 KiB each) that a reader holds at once."""
ACK_SECONDS = 2
PUBLISH_TRIES = 3

Refill = Callable[[], Awaitable[None]]
"""Raises what NATS raises where it is away: then it is called again."""


class Bus:
    """Everything that a service does on JetStream, over one connection."""

    def __init__(self, nc: Client) -> None:
        self.nc = nc
        self.storage = Storage()
        self.js: JetStreamContext = NotingContext(nc, self.storage)
        self.events = EventLog(nc, self.storage)
        self.reader = DirectReader(nc)
        self.refills: dict[str, Refill] = {}
        """By stream: what puts back what this process keeps there, once somebody made it anew."""

    async def read_deltas(self, key: ChatKey, *, since: str) -> list[TextStreamed]:
        """What was streamed to a chat since an ISO 8601 time, as long as it is kept.

        Raises UnavailableError.
        """
        shown = self.reader.since(subjects.DELTAS, subjects.delta(key), since)
        deltas = [DELTA.validate_json(message.data) async for message in shown]
        return [delta for delta in deltas if isinstance(delta, TextStreamed)]

    async def order(self, command: Command) -> None:
        """Put a command into the orchestrator's queue; the same command twice is stored once.

        Raises UnavailableError, RefusedError.
        """
        subject = subjects.command(command.key, command.name)
        await self._publish(subject, command.model_dump_json().encode(), command.command_id)

    async def commands_open(self, app: AppId | None = None) -> int:
        """How many commands, of one app or all, are in hand or waiting: one a chat that runs.

        Raises UnavailableError.
        """
        wanted = subjects.ALL_COMMANDS if app is None else subjects.commands_of_app(app)
        return await self.reader.count(subjects.COMMANDS, wanted)

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
        """Show what happens right now; not waited for, because a stored event supersedes it.

        For the same reason it is lost where NATS is away: no turn fails for what was only shown.
        """
        with suppress(*NATS_AWAY):
            await self.nc.publish(subjects.delta(key), delta.model_dump_json().encode())

    async def _publish(
        self, subject: str, data: bytes, message_id: str, headers: dict[str, str] | None = None
    ) -> None:
        sent = {**(headers or {}), "Nats-Msg-Id": message_id}
        for attempt in range(1, PUBLISH_TRIES + 1):
            try:
                await publish(self.nc, self.storage, subject, data, sent)
            except UnavailableError:  # safe to repeat: the server knows the id
                if attempt == PUBLISH_TRIES:
                    raise
                await asyncio.sleep(0.2 * attempt)
            else:
                return

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
        except NATS_AWAY as away:
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
        stream = subjects.bucket_stream(bucket)
        newest = await self.reader.last(stream, subject)
        if newest is None:
            return []
        kept = self.reader.pages(stream, subject, StreamSeq(0), goal=newest.position)
        return [message.data async for message in kept if not message.is_deleted]

    async def is_whole(self, store: str, found: ObjectInfo) -> bool:
        """Whether every piece of an object is there, as one replica knows. Raises UnavailableError.

        A put whose last answer was lost takes its pieces back, and may leave its description.
        """
        stream, pieces = (
            subjects.object_stream(store),
            subjects.object_pieces(store, str(found.nuid)),
        )
        return await self.reader.count(stream, pieces) == (found.chunks or 0)

    async def pieces(self, store: str, nuid: str) -> AsyncIterator[bytes]:
        """The bytes of one object, piece by piece, without a consumer. Raises UnavailableError."""
        stream, subject = subjects.object_stream(store), subjects.object_pieces(store, nuid)
        last = await self.reader.last(stream, subject)
        if last is None:
            return
        pieces = self.reader.pages(stream, subject, StreamSeq(0), goal=last.position, size=PIECES)
        async for message in pieces:
            yield message.data


def _next_second(time: datetime) -> datetime:
    return (time + timedelta(microseconds=999_999)).astimezone(UTC)
