"""The log of one chat in memory, with what the execution of its turns needs of a journal."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from contracts import event_log, subjects
from contracts.codec import Fact, Origin
from contracts.deltas import Delta
from contracts.event_log import EMPTY
from contracts.events import Event
from contracts.ids import ChatKey, DeliveryId, QuestionId, RunnerId, WorkflowName
from contracts.large_values import MAX_BYTES, LargeValue
from services.chassis.consumers.slots import NO_SLOT, Slot
from services.chassis.jetstream.errors import MessageTooLargeError
from services.orchestrator.domain.evolution import evolve
from services.orchestrator.domain.external_variables import due, resolved, unresolved
from services.orchestrator.domain.state import ChatState
from services.orchestrator.domain.turn import Question
from services.orchestrator.runtime.chat_budget import NO_BUDGET, CallBudget
from services.orchestrator.runtime.chat_log import Decider, TurnOverError, decide_nothing
from services.orchestrator.workflows.spec import DataReference, Workflow

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""Events of a chat in memory are a second apart from here on, so that every run has the same."""
MAX_MESSAGE_BYTES = 1_000_000
"""About what a message of NATS takes by default."""


class MemoryChat:
    """What `ChatJournal` is over JetStream; every event is sealed as in a real log."""

    def __init__(self, key: ChatKey, workflow: WorkflowName, data: Mapping[str, Any]) -> None:
        """`data` are the values of variables that are looked up in databases."""
        self.key = key
        self.facts: list[Fact] = []
        self.state = ChatState()
        self.derived: dict[object, Any] = {}
        self.budget: CallBudget = NO_BUDGET
        self.slot: Slot = NO_SLOT
        self.runner: RunnerId = DeliveryId("testkit", 1, 1).runner
        self._workflow = workflow
        self._data = data
        self._head = EMPTY
        self._cause = ""
        self._changed = asyncio.Event()

    def add(self, events: Sequence[Event], cause: str | None = None) -> None:
        """Append events; `cause` is the command that they follow from, else the last one."""
        self._cause = self._cause if cause is None else cause
        for event in events:
            time = EPOCH + timedelta(seconds=len(self.facts))
            origin = Origin(self.key, self._workflow, time, self._cause, runner=self.runner)
            (stored,) = event_log.seal([event], self._head, [origin]).events
            fact = Fact(stored.envelope, event)
            self._head = stored.head
            self.facts.append(fact)
            self.state = evolve(self.state, fact)
        self._changed.set()
        self._changed = asyncio.Event()

    async def append(self, decide: Decider, *, then: Decider = decide_nothing) -> None:
        if events := decide(self.state):
            self.add(events)
            self.add(then(self.state))

    async def record(self, *events: Event, then: Decider = decide_nothing) -> None:
        if self.state.ended or self.state.open_turn is None:
            raise TurnOverError(f"{self.key.app}/{self.key.chat}")
        await self._check_size(events)
        self.add(events)
        self.add(then(self.state))

    async def store(self, values: Sequence[LargeValue]) -> None:
        """Nobody reads them: an event in memory has its whole values."""
        size = sum(value.reference.size for value in values)
        if size > MAX_BYTES:
            raise MessageTooLargeError(subjects.VALUES, size, MAX_BYTES)

    async def _check_size(self, events: Sequence[Event]) -> None:
        """Raises MessageTooLargeError for what a real log does not take, either."""
        origin = Origin(self.key, self._workflow, EPOCH, self._cause, runner=self.runner)
        decision = event_log.seal(events, self._head, [origin] * len(events))
        await self.store(decision.large)
        if len(decision.data) > MAX_MESSAGE_BYTES:
            raise MessageTooLargeError(subjects.EVENTS, len(decision.data), MAX_MESSAGE_BYTES)

    def check_ownership(self) -> None:
        """Nobody else runs this chat."""

    def changed(self) -> Coroutine[Any, Any, object]:
        return self._changed.wait()

    async def interrupt_text(self) -> None:
        """Nobody was shown any text."""

    async def show(self, delta: Delta) -> None:
        """Nobody watches."""

    async def expire(self, question: QuestionId, seconds: float) -> datetime:
        """The time is set and never comes by itself: `Expire` is an input."""
        del question
        return EPOCH + timedelta(seconds=len(self.facts) + seconds)

    async def announce(self, question: Question) -> None:
        """Nobody gets links of a played chat."""

    async def escalate(self, question: QuestionId, seconds: float) -> datetime:
        """As `expire`: nobody else can be asked in a played chat."""
        return await self.expire(question, seconds)

    async def look_up(
        self, reference: DataReference, variables: Mapping[str, Any], occasion: str
    ) -> Any:
        del variables, occasion
        return self._data.get(reference.name, reference.default)

    async def resolve_variables(self, workflow: Workflow) -> None:
        references = due(workflow, self.state)
        while references:
            found = resolved(references, (), self.state)
            known = {one.name: self._data[one.name] for one in references if one.name in self._data}
            self.add([found.model_copy(update={"changed": {**found.changed, **known}})])
            references = () if self.state.ended else unresolved(workflow, self.state)
