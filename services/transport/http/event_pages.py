"""Pages of a chat's frames as JSON: those after a cursor, and those before an event."""

import asyncio
import json
from collections.abc import Iterable

from contracts.events import Event
from contracts.events.human import UiToolAnswered
from contracts.ids import Seq
from services.chassis.tasks import run_until_first_ends, wait_for_event
from services.transport.context import RequestContext
from services.transport.delivery.chat_stream import ChatStream
from services.transport.errors import service_unavailable
from services.transport.http.models.chats import EventsPage, FrameJson
from services.transport.protocol import event_to_frames
from services.transport.protocol.chat_projection import ChatView
from services.transport.protocol.event_to_frames import Viewer
from services.transport.protocol.frame_encoding import Frame, encode

PAGE_FRAMES = 500
READ_TIMEOUT_SECONDS = 20.0
"""How long reading a page may take, beyond the time that the client asked to wait."""


class _FrameCollector:
    """Collects the frames of a page: up to the end of the log or the limit, never half an event."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.log_read = asyncio.Event()
        self.full = asyncio.Event()

    async def collect(self, frame: Frame) -> None:
        if frame.type == "chat.resume_boundary":
            self.log_read.set()
        elif frame.seq is not None:
            self.frames.append(frame)
        is_full = self.log_read.is_set() or len(self.frames) >= PAGE_FRAMES
        if self.frames and is_full and not self.frames[-1].more:
            self.log_read.set()
            self.full.set()
            await asyncio.Event().wait()  # later frames belong to the next page

    async def wait(self, seconds: float) -> None:
        await self.log_read.wait()
        await wait_for_event(self.full, seconds)


async def read_page(
    context: RequestContext, view: ChatView, viewer: Viewer, after: Seq, wait: float
) -> EventsPage:
    """The frames after a cursor; where there are none, those that come within `wait` seconds.

    Raises ApiError, NatsUnavailableError.
    """
    collector, services = _FrameCollector(), context.services
    timeout = 0.0 if view.ended_at is not None else wait
    with services.connections.acquire(view.key.app):
        async with services.hub.subscribe(view.key) as (channel, subscriber):
            stream = ChatStream(
                services.gateway.events,
                channel,
                subscriber,
                view,
                viewer,
                after,
                collector.collect,
                event_to_frames,
            )
            try:
                async with asyncio.timeout(timeout + READ_TIMEOUT_SECONDS):
                    await run_until_first_ends(
                        stream.run(), collector.wait(timeout), services.shutdown.wait()
                    )
            except TimeoutError as error:
                raise service_unavailable(services.gateway.storage) from error
    frames = _as_json(collector.frames)
    return EventsPage(
        frames=frames,
        last_sequence=max([stream.cursor, *(frame["seq"] for frame in frames)]),
        chat_status=stream.view.status,
        first_sequence=after + 1 if viewer.tail else None,
    )


async def read_earlier(
    context: RequestContext, view: ChatView, viewer: Viewer, before: Seq, limit: int
) -> EventsPage:
    """The frames of the newest `limit` events before event `before`. Raises NatsUnavailableError."""
    last = Seq(min(before - 1, view.last_seq))
    first = Seq(max(last - limit + 1, 1))
    frames = [] if last < first else await _read_frames(context, view, viewer, first, last)
    return EventsPage(
        frames=_as_json(frames), last_sequence=last, chat_status=view.status, first_sequence=first
    )


async def _read_frames(
    context: RequestContext, view: ChatView, viewer: Viewer, first: Seq, last: Seq
) -> list[Frame]:
    commits = context.services.gateway.events.read_part(
        view.key, first, last, known=view.place, near=view.positions.at_or_before(first)
    )
    events = [
        stored
        async for commit in commits
        for stored in commit.events
        if first <= stored.envelope.seq <= last
    ]
    if any(_is_of_unknown_component(stored.event, view) for stored in events):
        view = await context.chats.find(view.key)
    return [frame for stored in events for frame in event_to_frames.map_event(viewer, stored, view)]


def _is_of_unknown_component(event: Event | None, view: ChatView) -> bool:
    """Whether the view must be whole for the frames of an event."""
    if view.is_whole or not isinstance(event, UiToolAnswered):
        return False
    return event.question_id not in view.components


def _as_json(frames: Iterable[Frame]) -> list[FrameJson]:
    return [json.loads(encode(frame)) for frame in frames]
