"""An AG-UI run as a source of server-sent events."""

import asyncio
from collections.abc import Sequence

from ag_ui.core import BaseEvent, Message, MessagesSnapshotEvent, RunErrorEvent
from ag_ui.encoder import EventEncoder

from contracts.codec import Fact
from contracts.events.chat import ChatRewound
from contracts.ids import Seq
from contracts.rewinds import DroppedRange, counts, with_rewind
from services.chassis.jetstream.event_log import EventLog
from services.transport.agui.mapper import MappedEvents, RunMapper, run_started
from services.transport.agui.messages import ConversationBuilder
from services.transport.agui.run_input import RunInput
from services.transport.agui.start import StartedRun
from services.transport.delivery.chat_stream import EventMapper
from services.transport.protocol.event_to_frames import Viewer

ENCODER = EventEncoder()
MEDIA_TYPE = ENCODER.get_content_type()
INTERRUPTED_CODE = "RUN_INTERRUPTED"
"""Error code of a stream that ends before its run: the client sends the run again, with its cursor."""


class AguiRun:
    """Streams a started run to its end."""

    def __init__(
        self, events: EventLog, run_input: RunInput, started: StartedRun, viewer: Viewer
    ) -> None:
        self.finished = asyncio.Event()
        self._events = events
        self._view = started.view
        self._viewer = viewer
        chat = started.view.key.chat
        self._mapper = RunMapper(run_input, chat, started.state, started.completion_ids)

    @property
    def mapper(self) -> EventMapper[MappedEvents]:
        return self._mapper

    def opening_events(self) -> bytes:
        mapped = self._mapper.opening_events(self._view)
        return _encode(mapped.events, mapped.seq)

    async def encode_item(self, mapped: MappedEvents) -> bytes:
        if not mapped.needs_snapshot or mapped.seq is None:
            return _encode(mapped.events, mapped.seq)
        snapshot = MessagesSnapshotEvent(messages=await self._messages(mapped.seq))
        return _encode([*mapped.events, snapshot], mapped.seq)

    def on_sent(self, mapped: MappedEvents) -> None:
        if mapped.last:
            self.finished.set()

    def closing_event(self) -> bytes:
        if self.finished.is_set():
            return b""
        return _encode([_interrupted("the run continues")])

    async def _messages(self, last: Seq) -> list[Message]:
        """The conversation up to an event. Raises NatsUnavailableError."""
        facts: list[Fact] = []
        dropped: tuple[DroppedRange, ...] = ()
        async for commit in self._events.read(self._view.key):
            for fact in commit.facts:
                if fact.envelope.seq > last:
                    continue
                facts.append(fact)
                if isinstance(fact.event, ChatRewound):
                    dropped = with_rewind(dropped, fact.event.to_seq, fact.envelope.seq)
        conversation = ConversationBuilder(self._viewer)
        for fact in facts:
            if counts(dropped, fact.envelope.seq, fact.envelope.type):
                conversation.add(fact)
        return conversation.messages


def not_started_response(run_input: RunInput) -> bytes:
    """The events of a run whose chat has not started in time."""
    return _encode([run_started(run_input), _interrupted("the chat has not started yet")])


def _interrupted(reason: str) -> BaseEvent:
    return RunErrorEvent(message=f"{reason}: send the run again", code=INTERRUPTED_CODE)


def _encode(events: Sequence[BaseEvent], seq: Seq | None = None) -> bytes:
    """Encoded events; the last one carries `seq`, the cursor of the client after all of them."""
    messages = [ENCODER.encode(event) for event in events[:-1]]
    messages += [_encode_last(event, seq) for event in events[-1:]]
    return "".join(messages).encode()


def _encode_last(event: BaseEvent, seq: Seq | None) -> str:
    if seq is None:
        return ENCODER.encode(event)
    # The client library of AG-UI ignores SSE ids: it finds the cursor in the metadata.
    with_cursor = event.model_copy(update={"metadata": {**(event.metadata or {}), "seq": seq}})
    return f"id: {seq}\n{ENCODER.encode(with_cursor)}"
