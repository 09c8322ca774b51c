"""A chat over plain HTTP: as server-sent events, or one page of frames at a time."""

import asyncio
import contextlib
import json
import logging
from typing import Any

from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from contracts.ids import Seq
from services.transport import notices
from services.transport.chatview import ChatView
from services.transport.desk import Desk
from services.transport.feed import Viewer
from services.transport.frames import Frame, encode
from services.transport.refusals import unavailable
from services.transport.rooms import Room, Seat
from services.transport.signin.lasting import run_out
from services.transport.together import together
from services.transport.viewing import LostEventsError, Viewing

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
"""Proxies close what is silent; a comment is no message to any client."""
RETRY = b"retry: 1000\n\n"
PAGE_FRAMES = 500
READ_SECONDS = 20.0
"""The longest that a page may take to read, beyond the time it was asked to wait."""


class _StuckError(Exception):
    """A client that does not read; its cursor brings it back."""


class EventStream(ASGIResponse):
    """Shows a chat until it has ended, its client is gone, or this process stops."""

    _should_set_content_length = False

    def __init__(self, desk: Desk, view: ChatView, viewer: Viewer, after: Seq) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(media_type="text/event-stream", headers=headers)
        self._desk = desk
        self._view = view
        self._viewer = viewer
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        places = self._desk.rooms.seat(self._view.key)
        with self._desk.crowd.one_more(self._view.key.app), contextlib.suppress(_StuckError):
            async with places as (room, seat):
                await self._stream(room, seat, receive, send)

    async def _stream(self, room: Room, seat: Seat, receive: Receive, send: Send) -> None:
        await self.start_response(send)
        wire, desk = _Wire(self._desk, send), self._desk
        await wire.write(RETRY)
        await wire.show(notices.meta(self._view))
        viewing = Viewing(desk.bus, room, seat, self._view, self._viewer, self._after, wire.show)
        try:
            await together(
                viewing.run(),
                wire.beat(),
                _gone(receive),
                desk.stopping.wait_for_it(),
                run_out(desk.who, desk.clock),
            )
        except LostEventsError as lost:
            log.error("a viewer is sent away", extra={"why": str(lost)})  # noqa: TRY400
        await wire.close()


class _Wire:
    """Frames as messages of `text/event-stream`, and a sign of life where there are none."""

    def __init__(self, desk: Desk, send: Send) -> None:
        self._desk = desk
        self._send = send
        self._turn = asyncio.Lock()
        self._end = _End()

    async def write(self, data: bytes) -> None:
        try:
            async with self._turn, asyncio.timeout(self._desk.send_seconds):
                await self._send({"type": "http.response.body", "body": data, "more_body": True})
        except TimeoutError:
            raise _StuckError from None

    async def show(self, frame: Frame) -> None:
        await self.write(_message(frame))
        self._desk.frames.inc()
        self._end.note(frame)

    async def beat(self) -> None:
        """Returns once the chat's end was shown."""
        while not await _within(HEARTBEAT_SECONDS, self._end.reached):
            await self.write(b": here\n\n")

    async def close(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class _End:
    """Whether everything was shown that a chat will ever have."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._live = False

    def note(self, frame: Frame) -> None:
        # In the history an end is followed by the boundary, which repeats it.
        if frame.type == "chat.resume_boundary":
            self._live = True
        ended = bool(frame.data.get("status")) and not frame.more
        if self._live and ended and frame.type in ("chat.resume_boundary", "chat.run_complete"):
            self.reached.set()


def _message(frame: Frame) -> bytes:
    # An id in the middle of an event would let a client that is cut off there miss its rest.
    place = f"id: {frame.seq}\n" if frame.seq is not None and not frame.more else ""
    return f"{place}data: {encode(frame)}\n\n".encode()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _within(seconds: float, event: asyncio.Event) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


class _Page:
    """The frames past a cursor, up to the end of the log or a bound, never half an event."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.read_up = asyncio.Event()
        self.filled = asyncio.Event()

    async def take(self, frame: Frame) -> None:
        if frame.type == "chat.resume_boundary":
            self.read_up.set()
        elif frame.seq is not None:
            self.frames.append(frame)
        enough = self.read_up.is_set() or len(self.frames) >= PAGE_FRAMES
        if self.frames and enough and not self.frames[-1].more:
            self.read_up.set()
            self.filled.set()
            await asyncio.Event().wait()  # what comes next belongs to the next page

    async def wait(self, seconds: float) -> None:
        await self.read_up.wait()
        await _within(seconds, self.filled)


async def page(
    desk: Desk, view: ChatView, viewer: Viewer, after: Seq, wait: float
) -> dict[str, Any]:
    """What lies past a cursor; where nothing does, what comes within `wait` seconds.

    Raises RefusalError, UnavailableError.
    """
    taken = _Page()
    patience = 0.0 if view.ended is not None else wait
    with desk.crowd.one_more(view.key.app):
        async with desk.rooms.seat(view.key) as (room, seat):
            viewing = Viewing(desk.bus, room, seat, view, viewer, after, taken.take)
            try:
                async with asyncio.timeout(patience + READ_SECONDS):
                    await together(viewing.run(), taken.wait(patience), desk.stopping.wait_for_it())
            except (TimeoutError, LostEventsError) as away:
                raise unavailable() from away
    frames = [json.loads(encode(frame)) for frame in taken.frames]
    return {
        "frames": frames,
        "last_sequence": max([viewing.cursor, *(frame["seq"] for frame in frames)]),
        "chat_status": viewing.view.status,
    }
