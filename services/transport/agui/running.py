"""A run of AG-UI as a stream of server-sent events."""

import asyncio
from collections.abc import Sequence

from ag_ui.core import BaseEvent, Message, MessagesSnapshotEvent, RunErrorEvent
from ag_ui.encoder import EventEncoder

from contracts.ids import Seq
from services.chassis.bus import Bus
from services.transport.agui.asking import Asked
from services.transport.agui.conversation import Conversation
from services.transport.agui.entering import Entered
from services.transport.agui.telling import Telling, Told, started
from services.transport.feed import Viewer
from services.transport.viewing import Language

ENCODER = EventEncoder()
MEDIA_TYPE = ENCODER.get_content_type()
COME_BACK = "COME_BACK"
"""The code of a run that cannot be told to its end here: its client goes on from its cursor."""


class Run:
    """Tells a run that was let in, to its end."""

    def __init__(self, bus: Bus, asked: Asked, entered: Entered, viewer: Viewer) -> None:
        self.over = asyncio.Event()
        self._bus = bus
        self._view = entered.view
        self._viewer = viewer
        chat = entered.view.key.chat
        self._telling = Telling(asked, chat, entered.standing, entered.awaited)

    @property
    def language(self) -> Language[Told]:
        return self._telling

    def opening(self) -> bytes:
        told = self._telling.opening(self._view)
        return _encoded(told.events, told.seq)

    async def written(self, told: Told) -> bytes:
        if not told.torn or told.seq is None:
            return _encoded(told.events, told.seq)
        whole = MessagesSnapshotEvent(messages=await self._messages(told.seq))
        return _encoded([*told.events, whole], told.seq)

    def told(self, told: Told) -> None:
        if told.last:
            self.over.set()

    def parting(self) -> bytes:
        return b"" if self.over.is_set() else _encoded([_cut_off("the run goes on elsewhere")])

    async def _messages(self, last: Seq) -> list[Message]:
        """The conversation up to an event. Raises UnavailableError."""
        whole = Conversation(self._viewer)
        async for commit in self._bus.events.read(self._view.key):
            for fact in commit.facts:
                if fact.envelope.seq <= last:
                    whole.add(fact)
        return whole.messages


def not_begun(asked: Asked) -> bytes:
    """A whole run whose chat has not begun in time."""
    return _encoded([started(asked), _cut_off("the chat is about to start")])


def _cut_off(why: str) -> BaseEvent:
    return RunErrorEvent(message=f"{why}: ask for it again", code=COME_BACK)


def _encoded(events: Sequence[BaseEvent], seq: Seq | None = None) -> bytes:
    """The events as they are written; only the last leaves the client at `seq`, and says so."""
    messages = [ENCODER.encode(event) for event in events[:-1]]
    messages += [_at(event, seq) for event in events[-1:]]
    return "".join(messages).encode()


def _at(event: BaseEvent, seq: Seq | None) -> str:
    if seq is None:
        return ENCODER.encode(event)
    # The protocol's own client reads no ids: to it the cursor is told in words.
    placed = event.model_copy(update={"metadata": {**(event.metadata or {}), "seq": seq}})
    return f"id: {seq}\n{ENCODER.encode(placed)}"
