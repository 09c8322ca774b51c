"""One chat as its runner holds it: the folded state, and the only hand that appends to its log."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from nats.aio.msg import Msg

from contracts import event_log
from contracts.codec import Fact, Origin
from contracts.commands import ExpireQuestion
from contracts.event_log import Decision, RejectedMessageError, StoredEvent
from contracts.events import Event
from contracts.events.turn import RUNTIME
from contracts.ids import (
    ChatKey,
    CommandId,
    DeliveryId,
    QuestionId,
    RunnerId,
    WorkflowName,
    delivery_of,
)
from contracts.live import Delta
from services.chassis.bus import Bus
from services.chassis.direct_get import UnavailableError
from services.chassis.event_log import (
    START,
    Commit,
    Place,
    PositionConflictError,
    decision_of,
)
from services.orchestrator.decisions import FencedError, claim, is_fenced
from services.orchestrator.lookups import look_up
from services.orchestrator.references import due, missing, queries, question, settled, value
from services.orchestrator.state import ChatState, Owner, evolve
from services.orchestrator.workflows.spec import DataReference, Workflow

Decide = Callable[[ChatState], Sequence[Event]]
Clock = Callable[[], datetime]


class SupersededError(Exception):
    """Another command's message owns this chat now: its delivery does what is left to be done."""


class TurnOverError(Exception):
    """The turn that this belongs to has ended meanwhile: cancelled, for one."""


class ChatLog:
    """Reads, folds and appends one chat, in the hands of one delivery of a command.

    `command` is the command's id: the cause of all that its delivery appends.
    """

    def __init__(
        self, bus: Bus, key: ChatKey, delivery: DeliveryId, command: CommandId, clock: Clock
    ) -> None:
        self.key = key
        self.state = ChatState()
        self._bus = bus
        self.delivery = delivery
        self._command = command
        self._clock = clock
        self._place = START
        self._running = False
        self._lost: FencedError | SupersededError | None = None
        self._lock = asyncio.Lock()
        self._moved = asyncio.Event()

    async def refresh(self) -> None:
        """Take in what was appended since, to the end that the log has now. Raises UnavailableError."""
        async with self._lock:
            await self._catch_up()

    async def append(
        self,
        decide: Decide,
        *,
        workflow: WorkflowName | None = None,
        actor: str = "runtime",
        trace: str | None = None,
    ) -> bool:
        """Append what `decide` says of the newest state; decided again whenever the chat moved on.

        Whether there was anything to append. Raises FencedError and SupersededError while the chat
        is run, RefusedError, UnavailableError, and what `decide` raises.
        """
        async with self._lock:
            while True:
                self.check_ownership()
                events = decide(self.state)
                if not events:
                    return False
                origin = Origin(
                    key=self.key,
                    workflow=self.state.workflow or workflow or WorkflowName(""),
                    time=self._clock(),
                    cause=self._command,
                    actor=actor,
                    runner=self.delivery.runner,
                    trace=trace,
                )
                decision = self._sealed(events, origin)
                try:
                    position = await self._bus.events.append(decision, after=self._place.position)
                except PositionConflictError as conflict:
                    before = self._place
                    await self._catch_up()
                    if self._place == before:  # not the log that was read: it was made anew
                        raise UnavailableError(str(conflict)) from conflict
                    continue
                self._take(Commit(Place(position, decision.head), decision.events))
                self._stir()
                return True

    def _sealed(self, events: Sequence[Event], origin: Origin) -> Decision:
        origins = [replace(origin, actor=_actor(event, origin)) for event in events]
        return event_log.seal(events, self._place.head, origins)

    # -- as the journal of a turn ----------------------------------------------------------------

    async def record(self, *events: Event) -> None:
        """Append the facts of the open turn. Raises TurnOverError, and what `append` raises."""
        turn = self.state.turns

        def still_open(state: ChatState) -> Sequence[Event]:
            if state.ended or state.open is None or state.open.number != turn:
                raise TurnOverError(f"turn {turn} of {self.key.app}/{self.key.chat}")
            return events

        await self.append(still_open)

    @property
    def runner(self) -> RunnerId:
        return self.delivery.runner

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

        await self.append(still_wanted)

    def changed(self) -> Coroutine[Any, Any, object]:
        return self._moved.wait()  # of this moment: what moves before it is awaited counts

    # -- as a run ----------------------------------------------------------------------------------

    @property
    def is_owned(self) -> bool:
        """Whether the chat waits for us, and this delivery's message is whose delivery runs it."""
        owner = self.state.owner
        return owner is not None and owner.message == self.delivery.message

    def check_ownership(self) -> None:
        """Raises FencedError or SupersededError once the chat is not this delivery's to run.

        For ever after: what another delivery did meanwhile must not be done twice.
        """
        if self._lost is not None:
            raise self._lost

    @asynccontextmanager
    async def running(self, *, takeover: bool) -> AsyncIterator[None]:
        """Run the chat, if it is this delivery's to run, and hear at once what others append.

        `takeover` says that this delivery did not itself append the command: another may have begun
        what it goes on with, and is fenced by a claim. Raises what `append` raises.
        """
        async with self._bus.watching(self.key, self._on_live):
            await self.refresh()
            if takeover:
                await self.append(lambda state: claim(state, self.delivery))
            elif is_fenced(self.state, self.delivery):
                raise FencedError(f"{self.state.runner} runs this chat")
            self._running = True
            if self.state.owner is not None and not self.is_owned:
                self._lost = self._superseded(self.state.owner)
            self.check_ownership()
            try:
                yield
            finally:
                self._running = False

    async def until(self, holds: Callable[[ChatState], bool]) -> None:
        """Returns when the state is so, or the chat is not ours to run any more."""
        while self._lost is None and not holds(self.state):
            await self.changed()

    async def _on_live(self, message: Msg) -> None:
        if message.subject.endswith(".delta"):
            return
        async with self._lock:
            try:
                position, decision = decision_of(message)
            except RejectedMessageError:  # said by whoever reads the log
                return
            if position <= self._place.position:
                return  # our own, or read already: most of what is heard
            if decision.follows(self._place.head):
                self._take(Commit(Place(position, decision.head), decision.events))
            else:
                await self._catch_up()
            self._stir()

    async def _catch_up(self) -> None:
        async for commit in self._bus.events.read(self.key, after=self._place):
            self._take(commit)
        self._stir()

    def _take(self, commit: Commit) -> None:
        for one in commit.events:
            self._fold(one)
        self._place = commit.place

    def _fold(self, one: StoredEvent) -> None:
        if one.event is None:
            self.state = replace(self.state, seq=one.envelope.seq)
            return
        self.state = evolve(self.state, Fact(one.envelope, one.event))
        if self._running and self._lost is None:
            self._lost = self._loss(one)

    def _loss(self, one: StoredEvent) -> FencedError | SupersededError | None:
        """What another's event takes from us: the chat itself, or the run of it."""
        me, owner = self.delivery, self.state.owner
        if owner is not None and owner.message != me.message:
            return self._superseded(owner)
        by = delivery_of(one.envelope.runner or RunnerId(""))
        if by is None or by == me or by.message != me.message or by.attempt < me.attempt:
            return None
        return FencedError(f"{self.key.app}/{self.key.chat} was taken over by {by.runner}")

    def _superseded(self, owner: Owner) -> SupersededError:
        return SupersededError(f"{self.key.app}/{self.key.chat} is run by {owner.command}")

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
