"""One chat as its runner holds it: the folded state, and the only hand that appends to its log."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from nats.aio.msg import Msg

from contracts import codec
from contracts.codec import Fact, Origin, UnknownEventTypeError
from contracts.commands import ExpireQuestion
from contracts.envelope import Envelope
from contracts.events import Event
from contracts.events.turn import RUNTIME
from contracts.ids import (
    ChatKey,
    CommandId,
    QuestionId,
    RunnerId,
    Seq,
    StreamSeq,
    WorkflowName,
)
from contracts.live import Delta
from services.chassis.bus import Bus, PositionConflictError, live_position
from services.orchestrator.lookups import look_up
from services.orchestrator.references import due, missing, queries, question, settled, value
from services.orchestrator.state import ChatState, evolve
from services.orchestrator.workflows.spec import DataReference, Workflow

Decide = Callable[[ChatState], Sequence[Event]]
Clock = Callable[[], datetime]


class FencedError(Exception):
    """Another runner has appended to this chat: this one stops, whatever it was doing."""


class TurnOverError(Exception):
    """The turn that this belongs to has ended meanwhile: cancelled, for one."""


class ChatLog:
    """Reads, folds and appends one chat; used by one command or one run at a time."""

    def __init__(self, bus: Bus, key: ChatKey, clock: Clock) -> None:
        self.key = key
        self.state = ChatState()
        self.fenced = False
        self._bus = bus
        self._clock = clock
        self._position = StreamSeq(0)
        self._runner: RunnerId | None = None
        self._lock = asyncio.Lock()
        self._moved = asyncio.Event()

    async def refresh(self) -> None:
        """Take in what was appended since. Raises UnavailableError."""
        async with self._lock:
            await self._catch_up()

    async def append(
        self,
        decide: Decide,
        *,
        cause: str,
        workflow: WorkflowName | None = None,
        actor: str = "runtime",
        trace: str | None = None,
    ) -> None:
        """Append what `decide` says of the newest state; decided again whenever the chat moved on.

        Raises FencedError, RefusedError, UnavailableError, and what `decide` raises.
        """
        async with self._lock:
            while True:
                if self.fenced:
                    raise FencedError(f"{self.key.app}/{self.key.chat}: {self.state.runner}")
                events = decide(self.state)
                if not events:
                    return
                origin = Origin(
                    key=self.key,
                    workflow=self.state.workflow or workflow or WorkflowName(""),
                    time=self._clock(),
                    cause=cause,
                    actor=actor,
                    runner=self._runner,
                    trace=trace,
                )
                facts = self._sealed(events, origin)
                try:
                    reached = await self._bus.append(
                        [fact.envelope for fact in facts], after=self._position
                    )
                except PositionConflictError:
                    await self._catch_up()
                    continue
                for fact in facts:
                    self._fold(fact)
                self._position = reached
                self._stir()
                return

    def _sealed(self, events: Sequence[Event], origin: Origin) -> list[Fact]:
        first = self.state.seq + 1
        return [
            codec.seal(event, Seq(first + place), replace(origin, actor=_actor(event, origin)))
            for place, event in enumerate(events)
        ]

    # -- as the journal of a turn ----------------------------------------------------------------

    async def record(self, *events: Event) -> None:
        """Append the facts of the open turn. Raises TurnOverError, FencedError, UnavailableError."""
        turn = self.state.turns

        def still_open(state: ChatState) -> Sequence[Event]:
            if state.ended or state.open is None or state.open.number != turn:
                raise TurnOverError(f"turn {turn} of {self.key.app}/{self.key.chat}")
            return events

        await self.append(still_open, cause=f"turn:{turn}")

    @property
    def runner(self) -> RunnerId:
        return self._runner or RunnerId("")

    async def show(self, delta: Delta) -> None:
        await self._bus.show(self.key, delta)

    async def expire(self, question: QuestionId, seconds: float) -> datetime:
        """Set the timer of a question; when it will end.

        Before the question is asked: a timer of a question that never was changes nothing.
        """
        time = self._clock() + timedelta(seconds=seconds)
        order = ExpireQuestion(
            command_id=CommandId(f"expire-{question}"),
            app_id=self.key.app,
            chat_id=self.key.chat,
            user_id=self.state.user,
            question_id=question,
        )
        place = f"{self.state.turns}-{sha256(question.encode()).hexdigest()[:16]}"
        await self._bus.order_at(time, place, order)
        return time

    async def look_up(
        self, reference: DataReference, variables: Mapping[str, Any], occasion: str
    ) -> Any:
        """The value of a variable that lies elsewhere, now; its default where there is none."""
        asked = question(reference, variables, self.key, self.state.user, occasion)
        found = None if asked is None else await look_up(self._bus, asked)
        return value(reference, found)

    async def refer(self, workflow: Workflow) -> None:
        """Settle the variables that lie elsewhere, as far as the open turn needs them.

        Raises what `append` raises.
        """
        wanted = due(workflow, self.state)
        while wanted:
            await self._settle(wanted)
            wanted = () if self.state.ended else missing(workflow, self.state)

    async def _settle(self, wanted: Sequence[DataReference]) -> None:
        asked = queries(wanted, self.state, self.key)
        found = await asyncio.gather(*(look_up(self._bus, one) for one in asked))
        known = settled(wanted, found, self.state)

        def still_wanted(state: ChatState) -> Sequence[Event]:
            return [] if state.ended else [known]

        await self.append(still_wanted, cause=f"turn:{self.state.turns}")

    def changed(self) -> Coroutine[Any, Any, object]:
        return self._moved.wait()  # of this moment: what moves before it is awaited counts

    # -- as a run ----------------------------------------------------------------------------------

    @asynccontextmanager
    async def run_by(self, runner: RunnerId) -> AsyncIterator[None]:
        """Append under a lease and hear at once what others append."""
        async with self._bus.watching(self.key, self._on_live):
            await self.refresh()
            self._runner = runner
            try:
                yield
            finally:
                self._runner = None

    async def until(self, holds: Callable[[ChatState], bool]) -> None:
        """Returns when the state is so, or another runner took over."""
        while not (self.fenced or holds(self.state)):
            await self.changed()

    async def _on_live(self, message: Msg) -> None:
        if message.subject.endswith(".delta"):
            return
        async with self._lock:
            if live_position(message) <= self._position:
                return  # our own, or read already: most of what is heard
            envelope = codec.decode(message.data)
            if envelope.seq == self.state.seq + 1:
                self._take(envelope)
                self._position = live_position(message)
            else:
                await self._catch_up()
            self._stir()

    async def _catch_up(self) -> None:
        async for stored in self._bus.read(self.key, after=self._position):
            self._take(stored.envelope())
            self._position = stored.position
        self._stir()

    def _take(self, envelope: Envelope) -> None:
        try:
            event = codec.open_event(envelope)
        except UnknownEventTypeError:  # from a newer release: it has its place, and no meaning here
            self.state = replace(self.state, seq=envelope.seq)
        else:
            self._fold(Fact(envelope, event))

    def _fold(self, fact: Fact) -> None:
        self.state = evolve(self.state, fact)
        by = fact.envelope.runner
        if self._runner is not None and by is not None and by != self._runner:
            self.fenced = True

    def _stir(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()


def _actor(event: Event, origin: Origin) -> str:
    """The person for what they did, the agent for what it did, the runtime for the rest."""
    if event.type in _OF_THE_PERSON and not getattr(event, "by_default", False):
        return origin.actor
    agent = getattr(event, "agent", None)
    of_runtime = agent in (None, RUNTIME) or event.type in _OF_THE_RUNTIME
    return "runtime" if of_runtime else f"agent:{agent}"


_OF_THE_PERSON = {
    "chat.started",
    "chat.user_message_received",
    "chat.cancelled",
    "human.answered",
    "ui.tool_answered",
}
_OF_THE_RUNTIME = {"turn.speaker_selected", "turn.failed"}
