"""What a log says of the tool calls of a chat: what each did, one step after the other."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from contracts.codec import Fact
from contracts.events import Event
from contracts.events.business import BusinessLogged
from contracts.events.human import HumanAsked, UiToolRequested
from contracts.events.run import RunClaimed
from contracts.events.turn import RUNTIME, ToolDispatched, ToolReturned, VariablesChanged
from contracts.ids import ChatKey
from services.orchestrator.agents.session.dispatches import idempotency_key
from services.orchestrator.domain.turn import is_of_tool

NO_CHANGES = VariablesChanged.model_construct(turn=0, agent=RUNTIME, changed={}, removed=[])


class CallKey(NamedTuple):
    """A tool call: its turn, 0 before and after the chat, and its id."""

    turn: int
    tool_call: str


@dataclass(slots=True)
class CallPlaces:
    """Where in the log a call's events are: what the tool did itself, and its dispatches."""

    steps: list[int] = field(default_factory=list)
    dispatches: list[int] = field(default_factory=list)


class RecordedCalls:
    """The tool calls of a chat, by their idempotency keys; places are indexes of the log's events."""

    def __init__(self, facts: Sequence[Fact]) -> None:
        self._facts = facts
        self._calls: dict[CallKey, CallPlaces] = defaultdict(CallPlaces)
        self._keys: dict[str, CallKey] = {}
        self._claims = [
            place for place, one in enumerate(facts) if isinstance(one.event, RunClaimed)
        ]
        owners = self._owners_of_occasions()
        for place, fact in enumerate(facts):
            self._add(place, fact.event, owners)
        self.occasions = frozenset(owners)
        """The occasions of the business events that tools have logged."""

    def of_key(self, idempotency_key: str) -> CallKey | None:
        return self._keys.get(idempotency_key)

    def step(self, call: CallKey, number: int) -> int | None:
        """Where the n-th thing is that a tool did in a call; None if it did not come to that."""
        steps = self._calls[call].steps if call in self._calls else []
        return steps[number] if number < len(steps) else None

    def dispatches(self, call: CallKey) -> Iterator[tuple[int, ToolDispatched]]:
        """Where a call is dispatched, again and again."""
        for place in self._calls[call].dispatches if call in self._calls else ():
            event = self._facts[place].event
            if isinstance(event, ToolDispatched):
                yield place, event

    def is_claimed(self, after: int, before: int) -> bool:
        """Whether another process took the chat over between two places."""
        return any(after <= place < before for place in self._claims)

    def changes(self, place: int) -> VariablesChanged:
        """The variables that were changed with what a tool did at a place."""
        event = self._facts[place].event
        follows = self._facts[place + 1].event if place + 1 < len(self._facts) else None
        of_same = (getattr(event, "turn", None), getattr(event, "agent", None))
        if not isinstance(follows, VariablesChanged) or isinstance(event, BusinessLogged):
            return NO_CHANGES
        lifecycle = isinstance(event, ToolReturned) and event.turn == 0
        return follows if lifecycle or (follows.turn, follows.agent) == of_same else NO_CHANGES

    def _add(self, place: int, event: Event, owners: dict[str, CallKey]) -> None:
        match event:
            case ToolDispatched():
                call, envelope = _call_of(event), self._facts[place].envelope
                key = ChatKey(envelope.app_id, envelope.chat_id)
                self._keys[idempotency_key(key, call.turn, call.tool_call)] = call
                self._calls[call].dispatches.append(place)
            case HumanAsked() | UiToolRequested() if is_of_tool(event):
                self._calls[CallKey(event.turn, event.tool_call_id)].steps.append(place)
            case ToolReturned():
                self._calls[_call_of(event)].steps.append(place)
            case BusinessLogged(occasion=str(occasion)) if occasion in owners:
                self._calls[owners[occasion]].steps.append(place)
            case _:
                pass

    def _owners_of_occasions(self) -> dict[str, CallKey]:
        """The calls that business events are of: `turn:call:number` is the occasion of one."""
        calls = {_call_of(one.event) for one in self._facts if _is_call(one.event)}
        names = {f"{call.turn}:{call.tool_call}": call for call in calls}
        found: dict[str, CallKey] = {}
        for fact in self._facts:
            occasion = fact.event.occasion if isinstance(fact.event, BusinessLogged) else None
            call = names.get((occasion or "").rpartition(":")[0])
            if occasion is not None and call is not None:
                found[occasion] = call
        return found


def _is_call(event: Event) -> bool:
    return isinstance(event, ToolDispatched | ToolReturned)


def _call_of(event: Event) -> CallKey:
    assert isinstance(event, ToolDispatched | ToolReturned)  # noqa: S101  of the callers
    return CallKey(event.turn, event.tool_call_id)
