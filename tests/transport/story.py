"""A chat to look at: its events by name, sealed in order, appended without an orchestrator."""

import asyncio
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

from contracts import subjects
from contracts.catalogue import WorkflowCard
from contracts.codec import Fact, Origin, seal
from contracts.commands import COMMAND, Command
from contracts.event_log import Decision
from contracts.events import Event
from contracts.events.business import BusinessLogged
from contracts.events.chat import ChatCompleted, ChatStarted, UserMessageReceived
from contracts.events.human import (
    Display,
    HumanAnswered,
    HumanAsked,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.parts import TextPart, Tokens, ToolCall
from contracts.events.turn import (
    ModelRequested,
    ModelResponded,
    SpeakerSelected,
    ToolReturned,
    TurnCompleted,
    UsageRecorded,
)
from contracts.ids import (
    AgentName,
    AppId,
    ChatId,
    ChatKey,
    QuestionId,
    RunnerId,
    Seq,
    StreamSeq,
    UserId,
    WorkflowName,
    new_chat_id,
)
from contracts.live import TextStreamed
from contracts.subjects import question
from services.chassis.bus import Bus
from services.chassis.event_log import START, Place
from tests.logs import decisions

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
WORKFLOW = WorkflowName("Generator")
ANA = UserId("ana")
PLANNER = AgentName("PlannerAgent")
KEY = ChatKey(AppId("acme"), ChatId("c-1"))
ASKED = question(KEY, 1, "call-1", 0)

STARTED = ChatStarted(user_id=ANA, seed=7)
SELECTED = SpeakerSelected(turn=1, agent=PLANNER, by="initial")
YOUR_TURN = SpeakerSelected(turn=2, agent=AgentName("user"), by="after_work")
REQUESTED = ModelRequested(turn=1, call=0, agent=PLANNER, prompt=["plan"], digest="d")
SAID = ModelResponded(turn=1, call=0, agent=PLANNER, text="A plan.")
CALLED = ModelResponded(
    turn=1,
    call=0,
    agent=PLANNER,
    text="Let me look.",
    tool_calls=[ToolCall(id="call-1", name="look", arguments='{"at":1}')],
)
RETURNED = ToolReturned(
    turn=1,
    call=0,
    agent=PLANNER,
    tool_call_id="call-1",
    name="look",
    status="ok",
    parts=[TextPart(text="seen")],
)
USED = UsageRecorded(
    turn=1,
    call=0,
    agent=PLANNER,
    model="demo",
    tokens=Tokens(prompt=3, completion=4, total=7),
    duration=0.5,
)
DONE = TurnCompleted(turn=1, agent=PLANNER, text="A plan.")
COMPLETED = ChatCompleted(reason="terminate", turns=1)
LOGGED = BusinessLogged(log_event_type="PLAN_MADE", message="a plan was made")


def said(text: str) -> UserMessageReceived:
    return UserMessageReceived(user_id=ANA, text=text)


def asks(question_id: QuestionId = ASKED) -> HumanAsked:
    return HumanAsked(
        question_id=question_id,
        turn=1,
        agent=PLANNER,
        tool_call_id="call-1",
        ordinal=0,
        prompt="Which colour?",
        options=["red", "blue"],
    )


def answers(question_id: QuestionId = ASKED) -> HumanAnswered:
    return HumanAnswered(question_id=question_id, user_id=ANA, text="red")


def shows(question_id: QuestionId = ASKED, display: Display = "inline") -> UiToolRequested:
    return UiToolRequested(
        question_id=question_id,
        turn=1,
        agent=PLANNER,
        tool_call_id="call-1",
        ordinal=0,
        ui_tool_id="pick_colour",
        component="ColourPicker",
        display=display,
        payload={"colours": 2},
    )


def picked(question_id: QuestionId = ASKED) -> UiToolAnswered:
    return UiToolAnswered(question_id=question_id, user_id=ANA, response={"colour": "red"})


def chunk(offset: int, text: str, runner: str = "r1", call: int = 0) -> TextStreamed:
    return TextStreamed(
        turn=1, call=call, agent=PLANNER, runner=RunnerId(runner), offset=offset, text=text
    )


def sealed(
    *events: Event,
    key: ChatKey = KEY,
    after: int = 0,
    workflow: WorkflowName = WORKFLOW,
    cause: str = "test",
) -> list[Fact]:
    return [
        seal(event, Seq(seq), Origin(key, workflow, NOON + timedelta(seconds=seq), cause))
        for seq, event in enumerate(events, start=after + 1)
    ]


def is_business(events: Sequence[Event]) -> bool:
    return any(event.category == "business" for event in events)


@dataclass
class Chat:
    """A chat on a real stream: `append` is what an orchestrator would have done."""

    bus: Bus
    key: ChatKey = field(default_factory=lambda: ChatKey(AppId("acme"), new_chat_id()))
    place: Place = START
    workflow: WorkflowName = WORKFLOW
    last: Decision | None = None

    @property
    def seq(self) -> Seq:
        return self.place.head.seq

    async def append(self, *events: Event, cause: str = "test") -> None:
        """The events as one decision, each business event apart."""
        for decision in self.decided(*events, cause=cause):
            position = await self.bus.events.append(decision, after=self.place.position)
            self.place, self.last = Place(position, decision.head), decision

    def decided(self, *events: Event, cause: str = "test") -> list[Decision]:
        """What `append` would append."""
        groups: list[list[Event]] = []
        for event in events:
            if event.category == "business" or not groups or is_business(groups[-1]):
                groups.append([])
            groups[-1].append(event)
        return decisions(
            groups,
            self.key,
            workflow=self.workflow,
            cause=cause,
            head=self.place.head,
            began=NOON,
        )

    async def intrude(self, data: bytes) -> None:
        """Put a message into the chat's log as nobody of the runtime does."""
        ack = await self.bus.js.publish(subjects.event(self.key, "runtime"), data)
        self.place = Place(StreamSeq(ack.seq), self.place.head)

    async def stream(self, *chunks: TextStreamed) -> None:
        for one in chunks:
            await self.bus.show(self.key, one)
        await self.bus.nc.flush()

    def path(self, user: str = ANA, workflow: str | None = None) -> str:
        return f"/ws/{workflow or self.workflow}/{self.key.app}/{self.key.chat}/{user}"


async def offer(bus: Bus, *cards: WorkflowCard) -> None:
    """Put workflows on offer, as an orchestrator would have."""
    offered = await bus.bucket(subjects.WORKFLOWS)
    for card in cards:
        await offered.put(subjects.workflow_key(card.name), card.model_dump_json().encode())


async def ordered(bus: Bus, key: ChatKey) -> Command:
    """The newest order that was put into the queue for a chat."""
    found = await bus.js.get_last_msg(subjects.COMMANDS, subjects.command(key, "*"))
    return COMMAND.validate_json(found.data or b"")


async def carried_out(bus: Bus, key: ChatKey) -> None:
    """The orders for a chat have left the queue, as an orchestrator would have seen to."""
    await bus.js.purge_stream(subjects.COMMANDS, subject=subjects.command(key, "*"))


class Client:
    """A WebSocket client that remembers every frame."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.frames: list[dict[str, Any]] = []

    @property
    def subprotocol(self) -> str | None:
        return self._socket.subprotocol

    @property
    def close_reason(self) -> str | None:
        return self._socket.close_reason

    async def next(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(await asyncio.wait_for(self._socket.recv(), 10))
        self.frames.append(frame)
        return frame

    async def until(self, kind: str, seq: int | None = None) -> dict[str, Any]:
        """Read on to the next frame of a type."""
        while True:
            frame = await self.next()
            if frame["type"] == kind and (seq is None or frame["seq"] == seq):
                return frame

    async def say(self, **message: Any) -> None:
        await self._socket.send(json.dumps(message))

    async def say_raw(self, message: str | bytes) -> None:
        await self._socket.send(message)

    async def close(self) -> None:
        await self._socket.close()

    def cut(self) -> None:
        """End without a word, as a lost network does."""
        self._socket.transport.abort()

    async def closed(self) -> int:
        """Read to the end; the code that the server closed with."""
        await asyncio.wait_for(self._drain(), 10)
        assert self._socket.close_code is not None
        return self._socket.close_code

    async def _drain(self) -> None:
        with contextlib.suppress(ConnectionClosedError):  # any code but 1000 and 1001
            async for text in self._socket:
                self.frames.append(json.loads(text))

    def seqs(self, kind: str = "chat.event") -> list[int]:
        return [frame["seq"] for frame in self.frames if frame["type"] == kind]

    def spoken(self) -> str:
        """The text of the open call as a client that follows the rules shows it."""
        text = ""
        for frame in self.frames:
            if frame["type"] == "chat.print":
                offset = frame["data"]["offset"]
                assert offset in (0, len(text)), "a chunk overlaps or leaves a hole"
                text = text[:offset] + frame["data"]["content"]
        return text


async def client(address: str, **options: Any) -> Client:
    return Client(await connect(f"ws://{address}", **options))


def many(count: int) -> Sequence[Event]:
    return [said(f"message {number}") for number in range(1, count + 1)]
