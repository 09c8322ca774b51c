"""What a turn needs of its chat: the state, appending events, timers, lookups and live deltas."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from contracts.deltas import Delta
from contracts.events import Event
from contracts.ids import QuestionId, RunnerId
from contracts.large_values import LargeValue
from services.chassis.consumers.slots import Slot
from services.orchestrator.domain.state import ChatState
from services.orchestrator.domain.turn import Question
from services.orchestrator.runtime.chat_budget import CallBudget
from services.orchestrator.workflows.spec import DataReference

Follow = Callable[[ChatState], Sequence[Event]]
"""What follows from a state, to be appended together with the events that led to it."""


def follow_nothing(_: ChatState) -> Sequence[Event]:
    """A Follow for which nothing follows."""
    return ()


class Journal(Protocol):
    """The chat as its open turn uses it."""

    @property
    def state(self) -> ChatState:
        """The chat as it is known now."""
        ...

    @property
    def runner(self) -> RunnerId:
        """The id of the runner, which its deltas carry."""
        ...

    @property
    def budget(self) -> CallBudget:
        """The budgets that the chat's model calls are counted in."""
        ...

    @property
    def slot(self) -> Slot:
        """The slot that the turn works with; it is released while a model is awaited."""
        ...

    async def record(self, *events: Event, then: Follow = follow_nothing) -> None:
        """Append events of the turn, and what follows from them; returns once they are stored.

        Raises MessageTooLargeError, and other errors after which the turn cannot continue.
        """
        ...

    async def store(self, values: Sequence[LargeValue]) -> None:
        """Store values that an event is about to refer to. Raises as `record`."""
        ...

    def check_ownership(self) -> None:
        """Raises FencedError or SupersededError once the chat is another delivery's to run."""
        ...

    async def show(self, delta: Delta) -> None:
        """Publish a delta to those who watch the chat now; it is not stored."""
        ...

    async def interrupt_text(self) -> None:
        """Keep what was shown of the model call, which is tried again. Raises what `record` raises."""
        ...

    async def look_up(
        self, reference: DataReference, variables: Mapping[str, Any], occasion: str
    ) -> Any:
        """The current value of a variable that is stored in a database; else its default."""
        ...

    async def expire(self, question: QuestionId, seconds: float) -> datetime:
        """Set the timer of a question that is about to be asked; returns when it expires."""
        ...

    async def announce(self, question: Question) -> None:
        """Record links that answer a question that is about to be asked, for e-mail hooks."""
        ...

    async def escalate(self, question: QuestionId, seconds: float) -> datetime:
        """Set the timer of a question's escalation; returns when it escalates."""
        ...

    def changed(self) -> Coroutine[Any, Any, object]:
        """Waits for the next event of the chat after this call (not after it is awaited)."""
        ...


class QuestionNotAllowedError(RuntimeError):
    """A tool asks the user while no turn is open that could wait for the answer."""
