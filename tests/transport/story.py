"""Events, chats and clients of tests: a chat is appended to its log without an orchestrator."""

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
from contracts.catalogue import GENERAL, WorkflowCard
from contracts.codec import Fact, Origin, encode, seal
from contracts.commands import COMMAND, Command
from contracts.deltas import TextStreamed
from contracts.event_log import Decision, StoredEvent
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
from contracts.subjects import question
from services.chassis.jetstream.event_log import START, Place
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.protocol.chat_projection import ChatView, apply
from tests.logs import decisions
from tests.patience import PATIENCE_SECONDS

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
WORKFLOW = WorkflowName("Generator")
ANA = UserId("ana")
PLANNER = AgentName("PlannerAgent")
KEY = ChatKey(AppId("acme"), ChatId("c-1"))
QUESTION = question(KEY, 1, "call-1", 0)

GENERAL_CARD = WorkflowCard(name=GENERAL, pattern="DefaultPattern", general=True)
STARTED = ChatStarted(user_id=ANA, seed=7)
SELECTED = SpeakerSelected(turn=1, agent=PLANNER, by="initial")
YOUR_TURN = SpeakerSelected(turn=2, agent=AgentName("user"), by="after_work")
REQUESTED = ModelRequested(turn=1, call=0, agent=PLANNER, prompt=["plan"], digest="d")
RESPONDED = ModelResponded(turn=1, call=0, agent=PLANNER, text="A plan.")
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


def user_message(text: str) -> UserMessageReceived:
    return UserMessageReceived(user_id=ANA, text=text)


def question_asked(question_id: QuestionId = QUESTION) -> HumanAsked:
    return HumanAsked(
        question_id=question_id,
        turn=1,
        agent=PLANNER,
        tool_call_id="call-1",
        ordinal=0,
        prompt="Which colour?",
        options=["red", "blue"],
    )


def question_answered(question_id: QuestionId = QUESTION) -> HumanAnswered:
    return HumanAnswered(question_id=question_id, user_id=ANA, text="red")


def component_requested(
    question_id: QuestionId = QUESTION, display: Display = "inline"
) -> UiToolRequested:
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


def component_answered(question_id: QuestionId = QUESTION) -> UiToolAnswered:
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


def view_after(facts: Sequence[Fact]) -> ChatView:
    """The view of a chat after its first facts."""
    view = ChatView.before(facts[0].envelope)
    for fact in facts:
        view = apply(view, fact.envelope, fact.event)
    return view


def stored_event(fact: Fact) -> StoredEvent:
    return StoredEvent(fact.envelope, fact.event, encode(fact.envelope))


def unknown_event(fact: Fact) -> StoredEvent:
    """The event as decoded by a release that does not know its type."""
    return StoredEvent(fact.envelope, None, encode(fact.envelope))


def is_business(events: Sequence[Event]) -> bool:
    return any(event.category == "business" for event in events)


@dataclass
class Chat:
    """A chat in a real stream: `append` does what an orchestrator would do."""

    gateway: JetStreamGateway
    key: ChatKey = field(default_factory=lambda: ChatKey(AppId("acme"), new_chat_id()))
    place: Place = START
    workflow: WorkflowName = WORKFLOW
    last: Decision | None = None

    @property
    def seq(self) -> Seq:
        return self.place.head.seq

    async def append(self, *events: Event, cause: str = "test") -> None:
        """Append the events as one decision, each business event as one of its own."""
        for decision in self.decide(*events, cause=cause):
            await self.gateway.values.put(self.key, decision.large)
            position = await self.gateway.events.append(decision, after=self.place.position)
            self.place, self.last = Place(position, decision.head), decision

    def decide(self, *events: Event, cause: str = "test") -> list[Decision]:
        """The decisions that `append` would append."""
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

    async def append_foreign(self, data: bytes) -> None:
        """Store a message in the subjects of the chat that is not from the runtime."""
        ack = await self.gateway.js.publish(subjects.event(self.key, "runtime"), data)
        self.place = Place(StreamSeq(ack.seq), self.place.head)

    async def stream(self, *chunks: TextStreamed) -> None:
        for one in chunks:
            await self.gateway.live.publish_delta(self.key, one)
        await self.gateway.nc.flush()

    def path(self, user: str = ANA, workflow: str | None = None) -> str:
        return f"/ws/{workflow or self.workflow}/{self.key.app}/{self.key.chat}/{user}"


async def publish_cards(gateway: JetStreamGateway, *cards: WorkflowCard) -> None:
    """Publish workflow cards, as an orchestrator would."""
    offered = await gateway.key_values.bucket(subjects.WORKFLOWS)
    for card in cards:
        await offered.put(subjects.workflow_key(card.name), card.model_dump_json().encode())


async def last_command(gateway: JetStreamGateway, key: ChatKey) -> Command:
    """The newest command for a chat in the queue."""
    found = await gateway.js.get_last_msg(subjects.COMMANDS, subjects.command(key, "*"))
    return COMMAND.validate_json(found.data or b"")


async def remove_commands(gateway: JetStreamGateway, key: ChatKey) -> None:
    """Remove the commands for a chat from the queue, as if an orchestrator had handled them."""
    await gateway.js.purge_stream(subjects.COMMANDS, subject=subjects.command(key, "*"))


class Client:
    """A WebSocket client that keeps every frame."""

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
        frame: dict[str, Any] = json.loads(
            await asyncio.wait_for(self._socket.recv(), PATIENCE_SECONDS)
        )
        self.frames.append(frame)
        return frame

    async def until(self, kind: str, seq: int | None = None) -> dict[str, Any]:
        """Read until a frame of this type."""
        while True:
            frame = await self.next()
            if frame["type"] == kind and (seq is None or frame["seq"] == seq):
                return frame

    async def send(self, **message: Any) -> None:
        await self._socket.send(json.dumps(message))

    async def send_raw(self, message: str | bytes) -> None:
        await self._socket.send(message)

    async def close(self) -> None:
        await self._socket.close()

    def abort(self) -> None:
        """Abort the connection without a close frame, as if the network was lost."""
        self._socket.transport.abort()

    async def closed(self) -> int:
        """Read to the end; the close code of the server."""
        await asyncio.wait_for(self._drain(), PATIENCE_SECONDS)
        assert self._socket.close_code is not None
        return self._socket.close_code

    async def _drain(self) -> None:
        with contextlib.suppress(ConnectionClosedError):  # any code but 1000 and 1001
            async for text in self._socket:
                self.frames.append(json.loads(text))

    def seqs(self, kind: str = "chat.event") -> list[int]:
        return [frame["seq"] for frame in self.frames if frame["type"] == kind]

    def streamed_text(self) -> str:
        """The streamed text, assembled by the documented rules."""
        text = ""
        for frame in self.frames:
            if frame["type"] == "chat.print":
                offset = frame["data"]["offset"]
                assert offset in (0, len(text)), "a chunk overlaps or leaves a hole"
                text = text[:offset] + frame["data"]["content"]
        return text


async def client(address: str, **options: Any) -> Client:
    return Client(await open_socket(address, **options))


_OPENED: list[ClientConnection] = []


async def open_socket(address: str, **options: Any) -> ClientConnection:
    opened = await connect(f"ws://{address}", **options)
    _OPENED.append(opened)
    return opened


async def cut_sockets() -> None:
    """Close every socket that a test left open: the transport may outlive the test."""
    while _OPENED:
        opened = _OPENED.pop()
        opened.transport.abort()
        await opened.wait_closed()


def user_messages(count: int) -> Sequence[Event]:
    return [user_message(f"message {number}") for number in range(1, count + 1)]
