"""Consume the event log from where the saved metrics state ends, and save the state regularly."""

import asyncio
import logging

from nats.errors import Error as NatsError
from nats.js.errors import APIError, KeyNotFoundError
from nats.js.kv import KeyValue

from contracts import subjects
from contracts.event_streams import origin_in
from contracts.ids import ChatKey, StreamSeq
from services.chassis.jetstream.direct_get import RawMessage
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.logs.repeats import RateLimitedLog
from services.chassis.tasks import cancel_and_wait
from services.metrics.metrics_state import MetricsState, UnreadableStateError
from services.metrics.observations import ChatMetrics

log = logging.getLogger(__name__)

KEY = "state"
SAVE_SECONDS = 10.0
"""After a crash the events of that time are read again: saving costs more than reading them."""
EVICTED = 1000
"""Evicted chats that are kept since a message was rejected: many may come in a row."""

_SAVE_ERRORS = (NatsError, APIError, OSError, NatsUnavailableError)


class MetricsConsumer:
    """Records events in stream order; saves the state at intervals and when it stops."""

    def __init__(self, gateway: JetStreamGateway, bucket: KeyValue, state: MetricsState) -> None:
        self._gateway = gateway
        self._bucket = bucket
        self._state = state
        self._saved: dict[str, StreamSeq] | None = None
        self._log = RateLimitedLog(log)
        self._evicted: dict[ChatKey, ChatMetrics | None] = {}
        self._saving: asyncio.Task[None] | None = None

    def position(self, stream: str) -> StreamSeq:
        """The last position of a stream of events that is recorded."""
        return self._state.positions[stream]

    async def follow(self, stream: str) -> None:
        """Count a stream of events, too. Raises NatsUnavailableError."""
        config = await self._gateway.reader.config(stream) or {}
        origin = origin_in(config.get("metadata") or {})
        self._state.follow(stream, origin, self._gateway.event_streams.known)

    async def load(self) -> None:
        """Continue from the saved state. Raises nats errors where the bucket cannot be read."""
        try:
            entry = await self._bucket.get(KEY)
            self._state.load(entry.value or b"", newest=await self._newest())
        except KeyNotFoundError:
            return
        except UnreadableStateError as error:
            log.warning(
                "saved metrics state is unusable: counting from the first event",
                extra={"why": str(error)},
            )
            return
        self._saved = dict(self._state.positions)
        log.info("counting continues", extra={"after": self._saved})

    def start_saving(self) -> None:
        self._saving = asyncio.create_task(self._save_regularly(), name="save metrics state")

    async def stop_saving(self) -> None:
        """Save for the last time: call it once no event comes any more."""
        if self._saving is not None:
            await cancel_and_wait(self._saving)
        await self._save()

    def clear(self) -> None:
        """Count another log from its first event: the stream was recreated."""
        self._state.clear()
        self._evicted.clear()
        log.warning("a stream of events was recreated: counting from its first event")

    async def save_again(self) -> None:
        """Save what was saved already: the bucket was recreated."""
        self._saved = None
        await self._save()

    async def on_events(self, events: list[RawMessage], stream: str = subjects.EVENTS) -> None:
        """Idempotent: known positions change nothing. Raises NatsUnavailableError."""
        for message in events:
            if message.is_restored:  # it was counted when it was stored first
                self._state.pass_over(message, stream)
            else:
                await self._record(message, stream)

    async def _newest(self) -> dict[str, StreamSeq]:
        streams = await self._gateway.event_streams.streams()
        return {
            name: StreamSeq((await self._gateway.js.stream_info(name)).state.last_seq)
            for name in streams.active
        }

    async def _record(self, message: RawMessage, stream: str) -> None:
        key = self._state.evicted_chat(message.subject)
        if key is None:
            _log_rejected(message, self._state.record(message, stream=stream))
            return
        if key not in self._evicted:
            self._evicted[key] = await self._read(key, message)
        chat = self._evicted.pop(key)
        _log_rejected(message, self._state.record(message, chat, stream))
        if self._state.evicted_chat(message.subject) is not None:  # rejected: it is unchanged
            self._evicted[key] = chat
            if len(self._evicted) > EVICTED:
                self._evicted.popitem()

    async def _read(self, key: ChatKey, message: RawMessage) -> ChatMetrics | None:
        """A chat as of the message before this one, from the log."""
        chat = None
        async for commit in self._gateway.events.read_own(key, message.position):
            if commit.place.position >= message.position:
                break
            if commit.events:
                chat = self._state.fold(chat, commit.events)
        return chat

    async def _save_regularly(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            await self._save()

    async def _save(self) -> None:
        positions = dict(self._state.positions)
        if positions == self._saved:
            return
        try:
            await self._bucket.put(KEY, self._state.save())
        except _SAVE_ERRORS as error:  # the next save includes it
            self._log.warning("metrics state is not saved", why=repr(error))
            return
        self._saved = positions


def _log_rejected(message: RawMessage, why: str | None) -> None:
    if why is not None:
        found = {"subject": message.subject, "position": message.position, "why": why}
        log.warning(
            "a message in a chat's log is not an event of it and is not counted", extra=found
        )
