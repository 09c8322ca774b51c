"""A chat over plain HTTP: as server-sent events, or one page of frames at a time."""

import asyncio
import contextlib
import json
import logging
from typing import Any, Generic, Protocol

from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from contracts.ids import Seq
from services.chassis.direct_get import UnavailableError
from services.transport import feed, notices
from services.transport.chatview import ChatView
from services.transport.desk import Desk
from services.transport.feed import Viewer
from services.transport.frames import Frame, encode
from services.transport.refusals import unavailable
from services.transport.rooms import Room, Seat
from services.transport.signin.lasting import run_out
from services.transport.together import together
from services.transport.viewing import Language, LostEventsError, Said, Viewing

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
"""Proxies close what is silent; a comment is no message to any client."""
RETRY = b"retry: 1000\n\n"
PAGE_FRAMES = 500
READ_SECONDS = 20.0
"""The longest that a page may take to read, beyond the time it was asked to wait."""


class _StuckError(Exception):
    """A client that does not read; its cursor brings it back."""


class Tale(Protocol[Said]):
    """What a stream tells, and how that is written as messages of `text/event-stream`.

    `over` is set when the whole of it was told.
    """

    over: asyncio.Event

    @property
    def language(self) -> Language[Said]: ...

    def opening(self) -> bytes: ...

    async def written(self, said: Said) -> bytes: ...

    def told(self, said: Said) -> None: ...

    def parting(self) -> bytes:
        """The last words where it ends before it is over."""
        ...


class EventStream(ASGIResponse, Generic[Said]):
    """Tells of a chat until all is told, its client is gone, or this process stops."""

    _should_set_content_length = False

    def __init__(
        self, desk: Desk, view: ChatView, viewer: Viewer, after: Seq, tale: Tale[Said]
    ) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(media_type="text/event-stream", headers=headers)
        self._desk = desk
        self._view = view
        self._viewer = viewer
        self._after = after
        self._tale = tale

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        places = self._desk.rooms.seat(self._view.key)
        with self._desk.crowd.one_more(self._view.key.app), contextlib.suppress(_StuckError):
            async with places as (room, seat):
                await self._stream(room, seat, receive, send)

    async def _stream(self, room: Room, seat: Seat, receive: Receive, send: Send) -> None:
        await self.start_response(send)
        wire, desk, tale = _Wire(self._desk.send_seconds, send), self._desk, self._tale

        async def show(said: Said) -> None:
            await wire.write(await tale.written(said))
            desk.frames.inc()
            tale.told(said)

        await wire.write(tale.opening())
        viewing = Viewing(
            desk.bus, room, seat, self._view, self._viewer, self._after, show, tale.language
        )
        try:
            await together(
                viewing.run(),
                wire.beat(tale.over),
                _gone(receive),
                desk.stopping.wait_for_it(),
                run_out(desk.who, desk.clock),
            )
        except (LostEventsError, UnavailableError) as lost:
            log.error("a viewer is sent away", extra={"why": str(lost)})  # noqa: TRY400
        await wire.write(tale.parting())
        await wire.close()


class _Wire:
    """Messages of `text/event-stream`, and a sign of life where there are none."""

    def __init__(self, patience: float, send: Send) -> None:
        self._patience = patience
        self._send = send
        self._turn = asyncio.Lock()

    async def write(self, data: bytes) -> None:
        if not data:
            return
        try:
            async with self._turn, asyncio.timeout(self._patience):
                await self._send({"type": "http.response.body", "body": data, "more_body": True})
        except TimeoutError:
            raise _StuckError from None

    async def beat(self, over: asyncio.Event) -> None:
        """Returns once everything was told."""
        while not await _within(HEARTBEAT_SECONDS, over):
            await self.write(b": here\n\n")

    async def close(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class Frames:
    """A chat in frames, until everything was shown that it will ever have."""

    language: Language[Frame] = feed

    def __init__(self, view: ChatView) -> None:
        self.over = asyncio.Event()
        self._view = view
        self._live = False

    def opening(self) -> bytes:
        return RETRY + _message(notices.meta(self._view))

    async def written(self, frame: Frame) -> bytes:
        return _message(frame)

    def told(self, frame: Frame) -> None:
        # In the history an end is followed by the boundary, which repeats it.
        if frame.type == "chat.resume_boundary":
            self._live = True
        ended = bool(frame.data.get("status")) and not frame.more
        if self._live and ended and frame.type in ("chat.resume_boundary", "chat.run_complete"):
            self.over.set()

    def parting(self) -> bytes:
        return b""


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
            viewing = Viewing(desk.bus, room, seat, view, viewer, after, taken.take, feed)
            try:
                async with asyncio.timeout(patience + READ_SECONDS):
                    await together(viewing.run(), taken.wait(patience), desk.stopping.wait_for_it())
            except (TimeoutError, LostEventsError) as away:
                raise unavailable(desk.bus.storage) from away
    frames = [json.loads(encode(frame)) for frame in taken.frames]
    return {
        "frames": frames,
        "last_sequence": max([viewing.cursor, *(frame["seq"] for frame in frames)]),
        "chat_status": viewing.view.status,
    }
