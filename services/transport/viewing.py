"""One viewer's way through a chat: the log from its cursor, then what happens, without gap or double."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, Literal, Protocol, TypeVar

from contracts.codec import Fact
from contracts.ids import Seq, StreamSeq
from contracts.live import TextStreamed, ToolProgressed
from services.chassis.bus import Bus
from services.chassis.direct_get import UnavailableError
from services.chassis.event_log import Commit, Place
from services.transport.chatview import ChatView, see
from services.transport.feed import Seen, Viewer
from services.transport.rooms import NOWHERE, Behind, Happened, Left, Reached, Rewound, Room, Seat
from services.transport.speech import MissedTextError, Speech, call_of, hear, unheard

log = logging.getLogger(__name__)

Said = TypeVar("Said")
Mode = Literal["auto", "client"]

AWAY_SECONDS = 0.5
"""Between two tries to read while NATS is away."""
HEAL_TRIES = 200
HEAL_SECONDS = 0.05
"""How long a replica of the log may take to show what another has announced: ten seconds."""


class LostEventsError(Exception):
    """An event was announced that the log does not show."""


class Language(Protocol[Said]):
    """The words in which a chat is told; `feed` is one, that of the frames."""

    def of_history(self, viewer: Viewer, seen: Seen, view: ChatView, /) -> list[Said]: ...

    def of_event(self, viewer: Viewer, seen: Seen, view: ChatView, /) -> list[Said]: ...

    def of_chunk(self, viewer: Viewer, chunk: TextStreamed, /) -> list[Said]: ...

    def of_progress(self, viewer: Viewer, progress: ToolProgressed, /) -> list[Said]: ...

    def boundary(self, view: ChatView, last: Seq, replayed: int, mode: Mode, /) -> Said: ...


class Viewing(Generic[Said]):
    """Shows one chat to one viewer until it is cancelled, or the viewer leaves its seat."""

    def __init__(
        self,
        bus: Bus,
        room: Room,
        seat: Seat,
        view: ChatView,
        viewer: Viewer,
        after: Seq,
        send: Callable[[Said], Awaitable[None]],
        language: Language[Said],
    ) -> None:
        room.begin(view.place)
        self._bus = bus
        self._room = room
        self._seat = seat
        self._view = view
        self._viewer = viewer
        # A cursor past the end would hide what is still to come.
        self._cursor = Seq(min(after, view.last_seq))
        self._place: Place | None = None
        self._heard: Speech | None = None
        self._send = send
        self._language = language

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
        await self._replay("auto", self._language.of_history)
        while True:
            match await self._until_missed():
                case Left():
                    return
                case Rewound(cursor):
                    # A cursor past the end would hide what is still to come.
                    self._cursor = Seq(min(cursor, self._cursor))
                    self._place, self._heard = None, None
                    await self._replay("client", self._language.of_event)
                case Behind(goal):
                    await self._catch_up(self._language.of_event, goal)
                    await self._speak()

    async def _replay(self, mode: Mode, telling: "Telling[Said]") -> None:
        shown = await self._catch_up(telling)
        if self._seat.left:
            return
        await self._send(self._language.boundary(self._view, self._cursor, shown, mode))
        await self._speak()

    async def _catch_up(self, telling: "Telling[Said]", goal: StreamSeq = NOWHERE) -> int:
        """Show the log from the cursor to its end, which lies at position `goal` or beyond."""
        shown = 0
        for _ in range(HEAL_TRIES):
            async for commit in self._log():
                if self._seat.left:
                    return shown
                shown += await self._show(commit, telling)
            self._place = self._place or self._view.place  # where there was nothing to show
            if self._place.position >= goal:
                return shown
            await asyncio.sleep(HEAL_SECONDS)
        raise LostEventsError(f"message {goal} is announced, the log does not show it")

    async def _log(self) -> AsyncIterator[Commit]:
        """What lies past the cursor; the first time perhaps with some that lies before it."""
        key, known = self._view.key, self._view.place
        while True:
            try:
                if self._place is None:
                    async for commit in self._bus.events.read_from(key, self._cursor, known=known):
                        yield commit
                else:
                    async for commit in self._bus.events.read(key, after=self._place):
                        yield commit
            except UnavailableError:
                await asyncio.sleep(AWAY_SECONDS)
            else:
                return

    async def _until_missed(self) -> Behind | Rewound | Left:
        """Show what happens until something is missing that only the log has."""
        while True:
            match await self._seat.next():
                case (Behind() | Rewound() | Left()) as news:
                    return news
                case Reached(position):
                    if self._place is None or position > self._place.position:
                        return Behind(position)
                case Happened(position, decision):
                    if self._place is None or not decision.follows(self._place.head):
                        if self._place is None or position > self._place.position:
                            return Behind(position)
                        continue
                    commit = Commit(Place(position, decision.head), decision.events)
                    await self._show(commit, self._language.of_event)
                case TextStreamed() as chunk:
                    await self._listen(chunk)
                case ToolProgressed() as progress:
                    for said in self._language.of_progress(self._viewer, progress):
                        await self._send(said)

    async def _show(self, commit: Commit, telling: "Telling[Said]") -> int:
        """Show the events past the cursor; how many there were."""
        shown = 0
        self._room.settle(self._place or self._view.place, commit)
        for one in commit.events:
            if self._seat.left:  # the rest would be shown in the place of another chat
                return shown
            if one.envelope.seq <= self._cursor:
                continue
            if one.event is not None:
                self._view = see(self._view, Fact(one.envelope, one.event))
            for said in telling(self._viewer, Seen(one.envelope, one.event), self._view):
                await self._send(said)
            self._cursor = one.envelope.seq
            shown += 1
        self._place = commit.place
        return shown

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
        for said in self._language.of_chunk(self._viewer, chunk):
            await self._send(said)


Telling = Callable[[Viewer, Seen, ChatView], list[Said]]
