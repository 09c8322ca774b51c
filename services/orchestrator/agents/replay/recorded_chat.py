"""The journal of a chat that is replayed: what the code appends is held against the recorded log.

The log is the clock. What the code wants to append waits until the log comes to it, and then the
recorded event counts, with its time and ids, so that the code is always in the state that the chat
was in. What users, timers and other processes did is done where the log has it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from contracts.codec import Fact
from contracts.deltas import Delta
from contracts.events import Event
from contracts.events.chat import ToolCodeChanged
from contracts.events.run import RunClaimed
from contracts.events.turn import (
    RUNTIME,
    ModelCallFailed,
    ModelRequested,
    ModelResponded,
    SpeakerSelected,
    ToolDispatched,
    TurnFailed,
    TurnStopRequested,
    UsageRecorded,
    VariablesChanged,
)
from contracts.ids import ChatKey, QuestionId, RunnerId
from contracts.large_values import LargeValue
from services.chassis.consumers.slots import NO_SLOT, Slot
from services.orchestrator.agents.replay.comparison import (
    FieldDifference,
    field_differences,
    is_same,
)
from services.orchestrator.agents.replay.recorded_calls import CallKey, RecordedCalls
from services.orchestrator.agents.replay.recorded_commands import command_of, is_taken
from services.orchestrator.domain.decisions import decide
from services.orchestrator.domain.evolution import evolve
from services.orchestrator.domain.external_variables import due, resolved, unresolved
from services.orchestrator.domain.state import ChatState
from services.orchestrator.domain.turn import Question
from services.orchestrator.runtime.chat_budget import NO_BUDGET, CallBudget
from services.orchestrator.runtime.chat_log import Decider, TurnOverError, decide_nothing
from services.orchestrator.workflows.spec import DataReference, Workflow

_NOT_OFFERED = (UsageRecorded, ToolCodeChanged)
"""What the code appends and the log may have otherwise: it is taken from the log alone."""


NO_VALUES: Mapping[str, bytes] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first event of a log that this code makes otherwise: `found` is what it makes there.

    `found` is none where the code makes nothing more.
    """

    recorded: Fact
    found: Event | None
    fields: tuple[FieldDifference, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Answered:
    """What a log says became of a model call."""

    event: ModelResponded | ModelCallFailed | TurnFailed


class RecordedChat:
    """What `ChatJournal` is over JetStream, over a recorded log; `finished` is set at its end.

    Its end is the end of the log or `divergence`. Whoever appends after that waits for ever: its
    task is to be cancelled.
    """

    def __init__(
        self,
        facts: Sequence[Fact],
        workflow: Workflow,
        opening: Callable[["RecordedChat"], Decider],
        values: Mapping[str, bytes] = NO_VALUES,
    ) -> None:
        """`values` are those that tools' results refer to. `opening` is what begins the open turn, as of `RunnableWorkflow`. Never without facts."""
        self.state = ChatState()
        self.derived: dict[object, Any] = {}
        self.budget: CallBudget = NO_BUDGET
        self.slot: Slot = NO_SLOT
        self.values = values
        self.runner = RunnerId(facts[0].envelope.runner or "replay")
        self.calls = RecordedCalls(facts)
        self.place = 0
        """How many events of the log have happened."""
        self.taken = 0
        """Those of them that this code did not make, and that were not compared."""
        self.takeovers = 0
        self.divergence: Divergence | None = None
        self.finished = asyncio.Event()
        self._facts = facts
        self._workflow = workflow
        self._opening = opening(self)
        self._waiting: dict[int, Event] = {}
        self._accepted: set[int] = set()
        self._changed = asyncio.Event()

    @property
    def key(self) -> ChatKey:
        """The chat's; the events of a fork begin in another chat."""
        envelope = self._facts[min(self.place, len(self._facts) - 1)].envelope
        return ChatKey(envelope.app_id, envelope.chat_id)

    # -- the log -------------------------------------------------------------------------------

    @property
    def head(self) -> Fact | None:
        """The event that the log has next; None at its end."""
        return self._facts[self.place] if self.place < len(self._facts) else None

    def happen(self) -> None:
        """Do what the log has next, as long as it is what users, timers or processes did."""
        while (head := self.head) is not None and self.divergence is None:
            if self.place in self._accepted:
                self._take(head, compared=True)
                continue
            if is_taken(head.event, self.calls.occasions):
                self._take(head, compared=False)
                continue
            command = command_of(self._facts, self.place, self.state, self._workflow)
            if command is None:
                break
            events = decide(command, self.state, self._workflow)
            if not events:
                self._diverge(None, f"{command.name} changes nothing")
                break
            if not self._match_all(events):
                break
            self._match_following(self._opening)
        self._notify()

    async def append(self, decide: Decider, *, then: Decider = decide_nothing) -> None:
        """Hold the events that `decide` returns against the log, where it comes to them."""
        events: list[Event] = []
        begun = False
        while True:
            await self._until_open()
            if not begun:
                events = self._offered(decide(self.state))
            if not events:
                break
            later = self._later_place(events[0])
            if later is not None and not self._accept_early(events[0], later):
                await self._wait(events[0])
                continue
            begun = True
            if later is None and not self._match_all(events[:1]):
                continue
            events = events[1:]
            if not events:
                self._match_following(then)
            self.happen()
        if begun:
            await self._until_open()

    def _accept_early(self, event: Event, place: int) -> bool:
        """Calls that are made at the same time begin in any order: one need not wait for another."""
        if not isinstance(event, ToolDispatched) or not is_same(self._facts[place].event, event):
            return False
        self._accepted.add(place)
        return True

    def _offered(self, events: Sequence[Event]) -> list[Event]:
        """The events that are compared."""
        return [one for one in events if not isinstance(one, _NOT_OFFERED)]

    async def _wait(self, event: Event) -> None:
        """Until the log goes on."""
        self._waiting[id(event)] = event
        try:
            await self._changed.wait()
        finally:
            del self._waiting[id(event)]

    def stall(self) -> None:
        """The code does nothing more, and the log goes on."""
        if self.head is not None and self.divergence is None:
            offered = next(iter(self._waiting.values()), None)
            self._diverge(offered, "the code does not come to this event")

    def _match_all(self, events: Sequence[Event]) -> bool:
        for event in events:
            head = self.head
            if head is None:  # what follows the end of the log is nobody's to compare
                break
            if not is_same(head.event, event):
                self._diverge(event, "this event differs")
                return False
            self._take(head, compared=True)
        return True

    def _match_following(self, then: Decider) -> None:
        """What follows is in the same message, or in a later one: then it comes by itself."""
        if self.head is None:
            return
        following = self._offered(then(self.state))
        if following and is_same(self.head.event, following[0]):
            self._match_all(following)

    def _take(self, fact: Fact, *, compared: bool) -> None:
        self.place += 1
        self.taken += not compared
        self.takeovers += isinstance(fact.event, RunClaimed)
        self.state = evolve(self.state, fact)
        if compared and self.head is not None and isinstance(self.head.event, _NOT_OFFERED):
            self._take(self.head, compared=False)

    def _later_place(self, event: Event) -> int | None:
        """Where in the same turn the log comes to an event of this identity; None if it is next."""
        wanted = _identity(event)
        head = self.head
        if head is None or _identity(head.event) == wanted:
            return None
        for place, fact in enumerate(self._ahead(1), self.place + 1):
            if _identity(fact.event) == wanted:
                return place
            if isinstance(fact.event, SpeakerSelected):
                return None
        return None

    def _diverge(self, found: Event | None, why: str) -> None:
        head = self.head
        assert head is not None  # noqa: S101  of the callers
        fields = () if found is None else tuple(field_differences(head.event, found))
        self.divergence = Divergence(head, found, fields, why)
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        if self.head is None or self.divergence is not None:
            self.finished.set()

    async def _until_open(self) -> None:
        if self.finished.is_set():
            await asyncio.Future()

    # -- what recorded models and tools ask for -----------------------------------------------------

    async def model_answer(self, turn: int, call: int) -> Answered:
        """What became of the model call that is made now; waits for ever if nothing did."""
        for fact in self._ahead():
            match fact.event:
                case ModelResponded() | ModelCallFailed() as event if (
                    event.turn == turn and event.call == call
                ):
                    return Answered(event)
                case TurnFailed(turn=number) as event if number == turn:
                    return Answered(event)
                case SpeakerSelected() | TurnStopRequested() | RunClaimed():
                    break
                case _:
                    pass
        return await asyncio.Future[Answered]()

    def next_request(self) -> ModelRequested | None:
        """The model request that the log has next."""
        events = (one.event for one in self._ahead())
        return next((one for one in events if isinstance(one, ModelRequested)), None)

    async def tool_step(self, call: CallKey, number: int) -> tuple[int, bool]:
        """Where the n-th thing is that a tool does in a call, once the log has come to it.

        With it, whether this attempt fails instead. Waits for ever if neither is in the log.
        """
        place = self.calls.step(call, number)
        if place is not None and place < self.place:
            return place, False
        dispatch = self.next_dispatch(call)
        if dispatch is not None and dispatch[1].reason != "continue":
            again = dispatch[0]
            if (place is None or again < place) and not self.calls.is_claimed(self.place, again):
                return again, True
        if place is None or self.calls.is_claimed(self.place, place):
            return await asyncio.Future[tuple[int, bool]]()
        while self.place < place:
            await self._changed.wait()
        return place, False

    def next_dispatch(self, call: CallKey) -> tuple[int, ToolDispatched] | None:
        """The next attempt of a call that the log has, after the present one."""
        for place, event in self.calls.dispatches(call):
            if place >= self.place and place not in self._accepted:
                return place, event
        return None

    def _ahead(self, skipped: int = 0) -> Iterator[Fact]:
        """What the log has from here on."""
        return (self._facts[place] for place in range(self.place + skipped, len(self._facts)))

    def fact(self, place: int) -> Fact:
        return self._facts[place]

    def events(self) -> Iterator[Event]:
        """All events of the log."""
        return (fact.event for fact in self._facts)

    # -- the journal ---------------------------------------------------------------------------------

    async def record(self, *events: Event, then: Decider = decide_nothing) -> None:
        turn = self.state.turns

        def if_open(state: ChatState) -> Sequence[Event]:
            running = state.running_turn
            if running is None or running.number != turn or running.stop is not None:
                raise TurnOverError(f"turn {turn} of {self.key.app}/{self.key.chat}")
            return events

        await self.append(if_open, then=then)

    async def store(self, values: Sequence[LargeValue]) -> None:
        """The recorded events have their values."""

    def check_ownership(self) -> None:
        """Nobody else runs this chat."""

    def changed(self) -> Coroutine[Any, Any, object]:
        return self._changed.wait()

    async def interrupt_text(self) -> None:
        """What was shown is in the log."""

    async def show(self, delta: Delta) -> None:
        """Nobody watches."""

    async def expire(self, question: QuestionId, seconds: float) -> datetime:
        """The time is set and never comes by itself: the log has what expired."""
        del question, seconds
        return self._facts[-1].envelope.time

    async def announce(self, question: Question) -> None:
        """Nobody gets links of a replayed chat."""

    async def escalate(self, question: QuestionId, seconds: float) -> datetime:
        return await self.expire(question, seconds)

    async def look_up(
        self, reference: DataReference, variables: Mapping[str, Any], occasion: str
    ) -> Any:
        del variables, occasion
        return self.state.variables.get(reference.name, reference.default)

    async def resolve_variables(self, workflow: Workflow) -> None:
        """With the values that were found."""
        references = due(workflow, self.state)
        while references:
            names = {one.name for one in references}

            def found(
                state: ChatState,
                references: Sequence[DataReference] = references,
                names: set[str] = names,
            ) -> Sequence[Event]:
                if state.ended:
                    return []
                change = resolved(references, (), state)
                head = None if self.head is None else self.head.event
                if isinstance(head, VariablesChanged) and head.agent == RUNTIME:
                    known = {name: value for name, value in head.changed.items() if name in names}
                    change = change.model_copy(update={"changed": {**change.changed, **known}})
                return [change]

            await self.append(found)
            references = () if self.state.ended else unresolved(workflow, self.state)


def _identity(event: Event) -> tuple[Any, ...]:
    """What makes two events the same one, apart from their content."""
    names = ("turn", "call", "tool_call_id", "question_id", "occasion", "attempt")
    return (event.type, *(getattr(event, name, None) for name in names))
