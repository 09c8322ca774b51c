"""Fan-out of live messages: one NATS subscription per watched chat and process, many subscribers."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from pydantic import ValidationError

from contracts.deltas import TextStreamed
from contracts.event_log import RejectedMessageError
from contracts.ids import ChatKey, StreamSeq
from contracts.streamed_text import (
    CallText,
    MissingTextError,
    text_of_call,
)
from contracts.subjects import parse
from services.chassis.jetstream.direct_get import position_of
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.event_log import Commit, Place, decision_of
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.live_channel import decoded_delta
from services.chassis.nats.connection import flush
from services.chassis.nats.direct_subscription import DirectSubscription
from services.transport.delivery.stats import StreamStats
from services.transport.delivery.subscriber import (
    NO_POSITION,
    QUEUE_SIZE,
    Appended,
    LiveMessage,
    Progressed,
    Streamed,
    Subscriber,
)
from services.transport.errors import limit_exceeded
from services.transport.metrics import TransportMetrics
from services.transport.protocol.chat_projection import ChatView

log = logging.getLogger(__name__)

_NO_POSITIONS: frozenset[StreamSeq] = frozenset()  # shared: an empty set takes 216 bytes
VIEWERS_PER_CHAT = 200
"""Default limit of the viewers of one chat in one process."""
RECONNECT_POLL_SECONDS = 0.25
IDLE_POLL_SECONDS = 10.0
"""The tail of a chat without a live message for so long is read, once for all of its viewers."""
MAX_CLOCK_SKEW = timedelta(seconds=30)
"""How far the clocks of an orchestrator and of NATS may differ."""


class ChatChannel:
    """A watched chat: its subscribers, the text of its open model call, and what is counted of it."""

    __slots__ = (
        "_gateway",
        "_is_idle",
        "_key",
        "_newest",
        "_place",
        "_stats",
        "_subscribers",
        "_text",
        "_text_lock",
        "_uncounted",
        "_view",
    )

    def __init__(
        self, gateway: JetStreamGateway, key: ChatKey, stats: StreamStats | None = None
    ) -> None:
        self._gateway = gateway
        self._stats = stats or StreamStats()
        self._key = key
        self._subscribers: set[Subscriber] = set()
        self._text: CallText | None = None
        self._text_lock: asyncio.Lock | None = None  # a lock takes 200 bytes
        self._is_idle = False
        self._place: Place | None = None  # the place in the log up to which events are counted
        # Positions beyond it, of messages that may not be events of the chat.
        self._uncounted: frozenset[StreamSeq] = _NO_POSITIONS
        self._newest = NO_POSITION  # of the events that were published to this process
        self._view: tuple[StreamSeq, ChatView] | None = None

    @contextlib.contextmanager
    def subscribe(self, size: int) -> Iterator[Subscriber]:
        subscriber = Subscriber(size)
        self._subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)

    def resync(self) -> None:
        """Make every subscriber read the log from its cursor."""
        self._text = None
        self._view = None
        for subscriber in self._subscribers:
            subscriber.mark_lagging()

    def count_delivered(self, event_time: datetime) -> None:
        """A live event of this time was given to a viewer's connection."""
        self._stats.delivered(event_time)

    def count_lagging(self) -> None:
        """A viewer has to read the log."""
        self._stats.lagged()

    # -- the shared view ---------------------------------------------------------------------------

    def share_view(self, place: Place, view: ChatView) -> None:
        """Keep the view of a stream that is subscribed and has read the log up to a place."""
        if self._view is None or place.position > self._view[0]:
            self._view = (place.position, view)

    @property
    def live_view(self) -> ChatView | None:
        """The view after every event that was published to this process; None where none is there.

        It trails the log by what is on its way from NATS.
        """
        if self._view is None or self._view[0] < self._newest:
            return None
        return self._view[1]

    async def poll_tail(self) -> None:
        """Tell every subscriber how far the log reaches, if no live message arrived since the last poll.

        Raises NatsUnavailableError.
        """
        was_idle, self._is_idle = self._is_idle, True
        if not was_idle:
            return
        position = await self._gateway.events.last_position(self._key)
        for subscriber in self._subscribers:
            subscriber.report_tail(position)

    def on_message(self, raw: Msg) -> None:
        self._is_idle = False
        try:
            message = _decode(raw)
        except RejectedMessageError as error:
            log.warning("live message skipped", extra=_log_context(raw, error))
            self._uncounted |= {position_of(raw)}
            return
        except ValidationError as error:
            log.warning("live message skipped", extra=_log_context(raw, error))
            self._stats.rejected += 1
            return
        if isinstance(message, Streamed):
            self._append_chunk(message.chunk)
        elif isinstance(message, Appended):
            self._count_live(message)
        for subscriber in self._subscribers:
            subscriber.offer(message, len(raw.data))

    # -- statistics --------------------------------------------------------------------------------

    def start_counting(self, place: Place) -> None:
        """Count the events after the place that the first subscriber starts from."""
        if self._place is None:
            self._place = place

    def _count_live(self, message: Appended) -> None:
        self._newest = max(self._newest, message.position)
        if self._place is None or message.position <= self._place.position:
            return
        if message.decision.follows(self._place.head):
            self._count(
                Commit(Place(message.position, message.decision.head), message.decision.events)
            )
        else:  # not an event of the chat, or the message before it was lost
            self._uncounted |= {message.position}

    def count_from_log(self, before: Place, commit: Commit) -> None:
        """Count a message that a subscriber at `before` read from the log, unless it is counted already."""
        position = commit.place.position
        if self._place is not None and before.position <= self._place.position < position:
            self._count(commit)

    def _count(self, commit: Commit) -> None:
        position = commit.place.position
        rejected = {one for one in self._uncounted if one < position}
        if not commit.events:
            rejected.add(position)
        self._uncounted -= {position, *rejected}
        self._stats.rejected += len(rejected)
        for one in commit.events:
            self._stats.count(one.envelope, one.event)
        self._place = commit.place

    def _append_chunk(self, chunk: TextStreamed) -> None:
        try:
            if self._text is None:
                self._text = CallText(chunk)
            else:
                self._text.append(chunk)
        except MissingTextError:
            self._text = None  # read again when it is needed next

    async def streamed_text(self, view: ChatView) -> CallText | None:
        """The text of the chat's open model call so far. Raises NatsUnavailableError."""
        if view.call is None or view.call_requested_at is None:
            return None
        self._text_lock = self._text_lock or asyncio.Lock()
        async with self._text_lock:
            if self._text is None or self._text.position.call != view.call:
                since = (view.call_requested_at - MAX_CLOCK_SKEW).isoformat()
                chunks = await self._gateway.live.read_deltas(self._key, since=since)
                self._text = text_of_call(view.call, chunks)
            return self._text


@dataclass(slots=True)
class _OpenChannel:
    channel: ChatChannel
    lock: asyncio.Lock
    subscription: DirectSubscription | None = None
    viewer_count: int = 0


class ChannelHub:
    """The chat channels of this process: opened by the first viewer, closed by the last."""

    def __init__(
        self,
        gateway: JetStreamGateway,
        queue_size: int = QUEUE_SIZE,
        viewers_per_chat: int = VIEWERS_PER_CHAT,
        metrics: TransportMetrics | None = None,
    ) -> None:
        self._gateway = gateway
        self._viewers_per_chat = viewers_per_chat
        self._queue_size = queue_size
        self.stats = StreamStats(metrics=metrics)
        self._open: dict[ChatKey, _OpenChannel] = {}

    def __len__(self) -> int:
        return len(self._open)

    def live_view(self, key: ChatKey) -> ChatView | None:
        """The view of a chat that somebody watches, as far as its events were published to us."""
        entry = self._open.get(key)
        is_live = entry is not None and self._gateway.nc.is_connected
        return entry.channel.live_view if entry is not None and is_live else None

    @asynccontextmanager
    async def subscribe(self, key: ChatKey) -> AsyncIterator[tuple[ChatChannel, Subscriber]]:
        """Subscribe to a chat: from here on no message is missed without a `Lagging`.

        Raises ApiError, NatsUnavailableError.
        """
        entry = self._open.get(key)
        if entry is not None and entry.viewer_count >= self._viewers_per_chat:
            raise limit_exceeded(
                "chat_id", f"viewer limit reached ({self._viewers_per_chat} viewers of one chat)"
            )
        if entry is None:
            entry = _OpenChannel(ChatChannel(self._gateway, key, self.stats), asyncio.Lock())
            self._open[key] = entry
        entry.viewer_count += 1
        try:
            await self._subscribe_once(key, entry)
            with entry.channel.subscribe(self._queue_size) as subscriber:
                yield entry.channel, subscriber
        finally:
            entry.viewer_count -= 1
            if entry.viewer_count == 0:
                del self._open[key]
                if entry.subscription is not None:
                    await entry.subscription.aclose()

    async def _subscribe_once(self, key: ChatKey, entry: _OpenChannel) -> None:
        async with entry.lock:
            if entry.subscription is not None:
                return
            # Closed when the last viewer leaves.
            entry.subscription = await self._gateway.live.subscribe(key, entry.channel.on_message)

    async def poll_idle_channels(self) -> None:
        """Poll the tails of idle chats, until cancelled: a lost last message is noticed only by this."""
        while True:
            await asyncio.sleep(IDLE_POLL_SECONDS)
            with contextlib.suppress(
                NatsUnavailableError
            ):  # after a reconnect all channels are resynced
                await self._poll_tails()

    async def _poll_tails(self) -> None:
        # A method of its own: a local variable of the sleeping loop would keep the last channel in memory.
        for entry in list(self._open.values()):
            await entry.channel.poll_tail()

    async def resync_after_reconnect(self) -> None:
        """Resync all channels after each reconnect to NATS, until cancelled: messages were lost meanwhile."""
        nc = self._gateway.nc
        seen_reconnects = nc.stats["reconnects"]
        while True:
            await asyncio.sleep(RECONNECT_POLL_SECONDS)
            reconnects = nc.stats["reconnects"]
            if reconnects == seen_reconnects or not nc.is_connected:
                continue
            with contextlib.suppress(NatsError, OSError, TimeoutError):
                await flush(nc, 2)  # the subscriptions are active again before the log is read
                seen_reconnects = reconnects
                self._resync_channels()

    def _resync_channels(self) -> None:
        for entry in self._open.values():
            entry.channel.resync()


def _decode(raw: Msg) -> LiveMessage:
    if raw.subject.endswith(".delta"):
        delta = decoded_delta(parse(raw.subject).key, raw.data)
        if delta is None:
            raise RejectedMessageError("the key of its chat is gone")
        return Streamed(delta) if isinstance(delta, TextStreamed) else Progressed(delta)
    return Appended(*decision_of(raw))


def _log_context(raw: Msg, error: Exception) -> dict[str, object]:
    return {"subject": raw.subject, "why": str(error)}
