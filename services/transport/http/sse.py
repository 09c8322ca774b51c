"""Server-sent events of a chat."""

import asyncio
import contextlib
import logging
from typing import Generic, Protocol

from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from contracts.ids import Seq
from contracts.wire.frames import ChatEndedData, HistoryData, ResumeBoundaryData
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.tasks import run_until_first_ends, wait_for_event
from services.transport.auth.expiry import wait_until_expired
from services.transport.context import RequestContext
from services.transport.delivery.broadcast import ChatChannel
from services.transport.delivery.chat_stream import ChatStream, EventMapper, T
from services.transport.delivery.subscriber import Subscriber
from services.transport.protocol import event_to_frames, session_frames
from services.transport.protocol.chat_projection import ChatView
from services.transport.protocol.event_to_frames import Viewer
from services.transport.protocol.frame_encoding import Frame, encode

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
"""Interval of comments, which clients ignore: proxies close idle connections."""
RETRY = b"retry: 1000\n\n"


class SlowClientError(Exception):
    """A client that does not read: it is disconnected, and resumes from its cursor."""


class SseSource(Protocol[T]):
    """What a stream sends, `T`, and how it is encoded as messages of `text/event-stream`.

    `finished` is set once everything was sent.
    """

    finished: asyncio.Event

    @property
    def mapper(self) -> EventMapper[T]: ...

    def opening_events(self) -> bytes: ...

    async def encode_item(self, item: T) -> bytes: ...

    def on_sent(self, item: T) -> None: ...

    def closing_event(self) -> bytes:
        """What is sent last; empty for nothing."""
        ...


class EventStream(ASGIResponse, Generic[T]):
    """Streams a chat until its source is finished, the client disconnects, or the process shuts down."""

    _should_set_content_length = False

    def __init__(
        self,
        context: RequestContext,
        view: ChatView,
        viewer: Viewer,
        after: Seq,
        source: SseSource[T],
    ) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(media_type="text/event-stream", headers=headers)
        self._context = context
        self._view = view
        self._viewer = viewer
        self._after = after
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        subscription = self._context.services.hub.subscribe(self._view.key)
        with (
            self._context.services.connections.acquire(self._view.key.app),
            contextlib.suppress(SlowClientError),
        ):
            async with subscription as (channel, subscriber):
                await self._stream(channel, subscriber, receive, send)

    async def _stream(
        self, channel: ChatChannel, subscriber: Subscriber, receive: Receive, send: Send
    ) -> None:
        await self.start_response(send)
        context, source = self._context, self._source
        services = context.services
        writer = SseWriter(services.settings.client_send_timeout_seconds, send)

        async def send_item(item: T) -> None:
            await writer.write(await source.encode_item(item))
            services.metrics.sse_frames.inc()
            source.on_sent(item)

        await writer.write(source.opening_events())
        stream = ChatStream(
            services.gateway.events,
            channel,
            subscriber,
            self._view,
            self._viewer,
            self._after,
            send_item,
            source.mapper,
        )
        try:
            await run_until_first_ends(
                stream.run(),
                writer.send_heartbeats(source.finished),
                wait_for_disconnect(receive),
                services.shutdown.wait(),
                wait_until_expired(context.identity, services.clock),
            )
        except NatsUnavailableError as error:
            log.error("a viewer is disconnected", extra={"why": str(error)})  # noqa: TRY400
        await writer.write(source.closing_event())
        await writer.close()


class SseWriter:
    """Writes messages of `text/event-stream`, and heartbeats while there are none."""

    def __init__(self, timeout: float, send: Send) -> None:
        self._timeout = timeout
        self._send = send
        self._lock = asyncio.Lock()

    async def write(self, data: bytes) -> None:
        if not data:
            return
        try:
            async with self._lock, asyncio.timeout(self._timeout):
                await self._send({"type": "http.response.body", "body": data, "more_body": True})
        except TimeoutError:
            raise SlowClientError from None

    async def send_heartbeats(self, finished: asyncio.Event) -> None:
        """Send heartbeats until the source is finished."""
        while not await wait_for_event(finished, HEARTBEAT_SECONDS):
            await self.write(b": heartbeat\n\n")

    async def close(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class FrameSource:
    """The frames of a chat, finished after its last frame."""

    def __init__(self, view: ChatView, mapper: EventMapper[Frame] = event_to_frames) -> None:
        self.finished = asyncio.Event()
        self.mapper = mapper
        self._view = view
        self._live = False

    def opening_events(self) -> bytes:
        return RETRY + _sse_message(session_frames.chat_meta(self._view))

    async def encode_item(self, frame: Frame) -> bytes:
        return _sse_message(frame)

    def on_sent(self, frame: Frame) -> None:
        # In the history the end of a chat is followed by the boundary, which repeats the status.
        if frame.type == "chat.resume_boundary":
            self._live = True
        ends = isinstance(frame.data, ResumeBoundaryData | ChatEndedData) and frame.data.status
        if self._live and ends and not frame.more:
            self.finished.set()

    def closing_event(self) -> bytes:
        return b""


def _sse_message(frame: Frame) -> bytes:
    # Only the last frame of an event has an id: else a client that reconnects would miss the rest.
    seq = frame.data.last_sequence if isinstance(frame.data, HistoryData) else frame.seq
    event_id = f"id: {seq}\n" if seq is not None and not frame.more else ""
    return f"{event_id}data: {encode(frame)}\n\n".encode()


async def wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
