"""The journal of one turn: remembers the first write that failed, which ends the turn."""

from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from contracts.deltas import Delta
from contracts.events import Event
from contracts.events.business import BusinessLogged
from contracts.events.human import HumanAsked, UiToolRequested
from contracts.events.turn import (
    ConversationProcessed,
    ToolReturned,
    TurnStopRequested,
    VariablesChanged,
)
from contracts.ids import QuestionId, RunnerId
from contracts.large_values import LargeValue
from services.chassis.consumers.slots import Slot
from services.chassis.jetstream.errors import MessageTooLargeError
from services.chassis.secrets import process_redactor
from services.orchestrator.agents.ag2.json_values import map_texts
from services.orchestrator.agents.session.open_calls import OpenCalls
from services.orchestrator.agents.session.ports import Follow, Journal, follow_nothing
from services.orchestrator.domain.call_budget import BudgetUsedUpError, PlannedCall
from services.orchestrator.domain.state import ChatState
from services.orchestrator.domain.turn import Question
from services.orchestrator.runtime.chat_budget import CallBudget
from services.orchestrator.runtime.chat_log import TurnOverError
from services.orchestrator.workflows.spec import DataReference


class TurnJournal:
    """A Journal that keeps its first error, because AG2 and tools may swallow it.

    Secrets of this process's environment are removed from what tools and hooks hand over. Events
    that are too large are not kept as such: only what wanted to record them fails.

    `suspended` says that the turn stops waiting: for the user, or because it failed.
    """

    def __init__(self, journal: Journal, open_calls: OpenCalls) -> None:
        self._journal = journal
        self._open_calls = open_calls
        self.error: Exception | None = None
        self.suspended = False

    def raise_error(self) -> None:
        """Raises what a write failed with, if one did: nothing may be done on its account."""
        if self.error is not None:
            raise self.error

    def suspend(self) -> None:
        self.suspended = True
        self._open_calls.notify()  # other tools of the turn that wait stop waiting, too

    @property
    def state(self) -> ChatState:
        return self._journal.state

    @property
    def runner(self) -> RunnerId:
        return self._journal.runner

    async def record(self, *events: Event, then: Follow = follow_nothing) -> None:
        with self._keeping_error():
            await self._journal.record(*map(_without_secrets, events), then=then)

    @property
    def budget(self) -> CallBudget:
        return self._journal.budget

    @property
    def slot(self) -> Slot:
        return self._journal.slot

    async def hold_budget(self, call: PlannedCall) -> None:
        """Hold what a model call is likely to use. Raises TurnOverError where that ends the turn."""
        with self._keeping_error():
            await self._unless_used_up(self.budget.hold(call))

    async def note_streamed(self, chars: int) -> None:
        """More of an answer has come. Raises TurnOverError where the budget for it is used up."""
        if self.budget.is_limited:
            with self._keeping_error():
                await self._unless_used_up(self.budget.streamed(chars))

    async def _unless_used_up(self, held: Coroutine[Any, Any, None]) -> None:
        """Record the end of the turn where a budget ends it."""
        try:
            await held
        except BudgetUsedUpError as used_up:
            state, turn = self.state, self.state.running_turn
            if turn is not None:
                await self._journal.record(
                    used_up.exceeded(turn),
                    TurnStopRequested(
                        turn=turn.number, agent=turn.agent, user_id=state.user, by="budget"
                    ),
                )
            raise TurnOverError(str(used_up)) from used_up

    async def store(self, values: Sequence[LargeValue]) -> None:
        with self._keeping_error():
            await self._journal.store(values)

    def check_ownership(self) -> None:
        with self._keeping_error():
            self._journal.check_ownership()

    async def show(self, delta: Delta) -> None:
        await self._journal.show(delta)

    async def interrupt_text(self) -> None:
        with self._keeping_error():
            await self._journal.interrupt_text()

    async def look_up(
        self, reference: DataReference, variables: Mapping[str, Any], occasion: str
    ) -> Any:
        return await self._journal.look_up(reference, variables, occasion)

    async def expire(self, question: QuestionId, seconds: float) -> datetime:
        with self._keeping_error():
            return await self._journal.expire(question, seconds)

    async def announce(self, question: Question) -> None:
        with self._keeping_error():
            await self._journal.announce(question)

    async def escalate(self, question: QuestionId, seconds: float) -> datetime:
        with self._keeping_error():
            return await self._journal.escalate(question, seconds)

    def changed(self) -> Coroutine[Any, Any, object]:
        return self._journal.changed()

    @contextmanager
    def _keeping_error(self) -> Iterator[None]:
        try:
            yield
        except MessageTooLargeError:
            raise  # nothing was sent, and the next event may be smaller: the caller's own error
        except Exception as error:
            self.error = error
            self.suspend()  # nobody will answer a turn that cannot be stored
            raise


_OF_AUTHORS_CODE = (
    HumanAsked,
    UiToolRequested,
    BusinessLogged,
    VariablesChanged,
    ConversationProcessed,
    ToolReturned,
)
"""Events with values that tools and hooks hand over."""


def _without_secrets(event: Event) -> Event:
    """The event without the secrets of this process's environment."""
    redactor = process_redactor()
    if not isinstance(event, _OF_AUTHORS_CODE) or not redactor.is_in_json(event.model_dump_json()):
        return event
    body = map_texts(event.model_dump(mode="json"), redactor.without_known)
    return type(event).model_validate(body)
