"""One viewer's way through a chat: the log from its cursor, then what happens, without gap or double."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal

from contracts.codec import Fact
from contracts.ids import Seq, StreamSeq
from contracts.live import TextStreamed, ToolProgressed
from services.chassis.bus import Bus, Stored, UnavailableError
from services.transport import feed, notices
from services.transport.chatview import ChatView, see
from services.transport.feed import Seen, Viewer
from services.transport.frames import Frame
from services.transport.rooms import NOWHERE, Behind, Happened, Rewound, Room, Seat
from services.transport.speech import MissedTextError, Speech, call_of, hear, unheard
from services.transport.views import read

log = logging.getLogger(__name__)

Send = Callable[[Frame], Awaitable[None]]

AWAY_SECONDS = 0.5
"""Between two tries to read while NATS is away."""
HEAL_TRIES = 200
HEAL_SECONDS = 0.05
"""How long a replica of the log may take to show what another has announced: ten seconds."""
IDLE_SECONDS = 15.0
"""A silent chat is looked up this often: nothing else would tell that its last message was lost."""


class LostEventsError(Exception):
    """An event was announced that the log does not show."""


class Viewing:
    """Shows one chat to one viewer until it is cancelled."""

    def __init__(
        self,
        bus: Bus,
        room: Room,
        seat: Seat,
        view: ChatView,
        viewer: Viewer,
        after: Seq,
        send: Send,
    ) -> None:
        self._bus = bus
        self._room = room
        self._seat = seat
        self._view = view
        self._viewer = viewer
        # A cursor past the end would hide what is still to come.
        self._cursor = Seq(min(after, view.last_seq))
        self._place: StreamSeq | None = None
        self._heard: Speech | None = None
        self._send = send

    @property
    def cursor(self) -> Seq:
        """The last event of which everything was shown."""
        return self._cursor

    @property
    def view(self) -> ChatView:
        return self._view

    @property
    def heard(self) -> Speech | None:
        """What was shown of the text that is still being spoken."""
        return self._heard

    def goes_on_from(self, heard: Speech | None) -> None:
        """Show a text only from where it was shown before this viewing."""
        self._heard = heard

    async def run(self) -> None:
        await self._replay("auto", feed.of_history)
        while True:
            news = await self._until_missed()
            if isinstance(news, Rewound):
                # A cursor past the end would hide what is still to come.
                self._cursor = Seq(min(news.cursor, self._cursor))
                self._place, self._heard = None, None
                await self._replay("client", feed.of_event)
            else:
                await self._catch_up(feed.of_event, news.goal)
                await self._speak()

    async def _replay(self, mode: Literal["auto", "client"], frames: "Frames") -> None:
        shown = await self._catch_up(frames)
        await self._send(notices.boundary(self._view, self._cursor, shown, mode))
        await self._speak()

    async def _catch_up(self, frames: "Frames", goal: Seq = NOWHERE) -> int:
        """Show the log from the cursor to its end, which lies at `goal` or beyond."""
        shown = 0
        for _ in range(HEAL_TRIES):
            async for stored in self._log():
                found = read(stored)
                if found is not None and found.envelope.seq > self._cursor:
                    await self._show(found, stored.position, frames)
                    shown += 1
            if self._cursor >= goal:
                return shown
            await asyncio.sleep(HEAL_SECONDS)
        raise LostEventsError(f"event {goal} is announced, the log ends at {self._cursor}")

    async def _log(self) -> AsyncIterator[Stored]:
        while True:
            try:
                if self._place is None:
                    async for stored in self._bus.read_from(self._view.key, after=self._cursor):
                        yield stored
                else:
                    async for stored in self._bus.read(self._view.key, after=self._place):
                        yield stored
            except UnavailableError:
                await asyncio.sleep(AWAY_SECONDS)
            else:
                return

    async def _until_missed(self) -> Behind | Rewound:
        """Show what happens until something is missing that only the log has."""
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    news = await self._seat.next()
            except TimeoutError:
                return Behind(NOWHERE)
            match news:
                case Behind() | Rewound():
                    return news
                case Happened(position=position, seen=happened):
                    seq = happened.envelope.seq
                    if seq > self._cursor + 1:
                        return Behind(seq)
                    if seq > self._cursor:
                        await self._show(happened, position, feed.of_event)
                case TextStreamed():
                    await self._listen(news)
                case ToolProgressed():
                    for frame in feed.of_progress(self._viewer, news):
                        await self._send(frame)

    async def _show(self, happened: Seen, position: StreamSeq, frames: "Frames") -> None:
        if happened.event is not None:
            self._view = see(self._view, Fact(happened.envelope, happened.event))
        for frame in frames(self._viewer, happened, self._view):
            await self._send(frame)
        self._cursor, self._place = happened.envelope.seq, position

    async def _listen(self, chunk: TextStreamed) -> None:
        # A chunk may overtake its call's event or come after its end: only the open call is heard.
        if call_of(chunk) != self._view.call:
            return
        try:
            await self._say(hear(self._heard, chunk))
        except MissedTextError:
            await self._speak()

    async def _speak(self) -> None:
        """Say what the open call has said so far, as far as this viewer has not heard it."""
        try:
            await self._say(await self._room.speech(self._view))
        except UnavailableError:
            log.info("the text so far cannot be read", extra={"chat": self._view.key.chat})

    async def _say(self, speech: Speech | None) -> None:
        chunk = unheard(self._heard, speech)
        if chunk is None:
            return
        self._heard = speech
        for frame in feed.of_chunk(self._viewer, chunk):
            await self._send(frame)


Frames = Callable[[Viewer, Seen, ChatView], list[Frame]]
