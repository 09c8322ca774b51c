"""Tools that are called before and after a chat, where no turn is open and no user can be asked."""

from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any

from contracts.deltas import Delta
from contracts.events import Event
from contracts.events.turn import RUNTIME, ToolDispatched
from contracts.ids import QuestionId, RunnerId
from contracts.large_values import LargeValue
from services.chassis.consumers.slots import Slot
from services.orchestrator.agents.ag2.json_values import json_copy
from services.orchestrator.agents.execution.tool_invocation import invoke_tool
from services.orchestrator.agents.session.ports import (
    Follow,
    QuestionNotAllowedError,
    follow_nothing,
)
from services.orchestrator.agents.session.recorder import TurnRecorder
from services.orchestrator.agents.tools.function_tools import Function
from services.orchestrator.domain.state import ChatState, LifecycleOccasion
from services.orchestrator.domain.turn import Question, Turn
from services.orchestrator.domain.turn_steps import Done, Outcome, lifecycle_calls
from services.orchestrator.runtime.chat_budget import CallBudget
from services.orchestrator.runtime.chat_journal import ChatJournal
from services.orchestrator.runtime.chat_log import TurnOverError
from services.orchestrator.workflows.spec import DataReference, Tool, Workflow


class _LifecycleJournal:
    """The Journal of one tool call before or after a chat."""

    def __init__(self, chat: ChatJournal, tool_call: str) -> None:
        self._chat = chat
        self._tool_call = tool_call

    @property
    def state(self) -> ChatState:
        return self._chat.state

    @property
    def runner(self) -> RunnerId:
        return self._chat.runner

    @property
    def budget(self) -> CallBudget:
        return self._chat.budget

    @property
    def slot(self) -> Slot:
        return self._chat.slot

    async def record(self, *events: Event, then: Follow = follow_nothing) -> None:
        def unless_recorded(state: ChatState) -> Sequence[Event]:
            if self._tool_call not in state.lifecycle_results:
                return events
            if any(isinstance(event, ToolDispatched) for event in events):
                raise TurnOverError(f"{self._tool_call} has returned in another run")
            return ()

        await self._chat.append(unless_recorded, then=then)

    async def store(self, values: Sequence[LargeValue]) -> None:
        await self._chat.store(values)

    def check_ownership(self) -> None:
        self._chat.check_ownership()

    async def show(self, delta: Delta) -> None:
        """Nothing is shown: deltas belong to a turn."""

    async def interrupt_text(self) -> None:
        """No model is called, so there is no text."""

    async def look_up(
        self, reference: DataReference, variables: Mapping[str, Any], occasion: str
    ) -> Any:
        return await self._chat.look_up(reference, variables, occasion)

    async def expire(self, question: QuestionId, seconds: float) -> datetime:
        raise QuestionNotAllowedError(question, seconds)

    async def announce(self, question: Question) -> None:
        raise QuestionNotAllowedError(question)

    async def escalate(self, question: QuestionId, seconds: float) -> datetime:
        raise QuestionNotAllowedError(question, seconds)

    def changed(self) -> Coroutine[Any, Any, object]:
        return self._chat.changed()


async def run_lifecycle_tool(
    occasion: LifecycleOccasion,
    workflow: Workflow,
    functions: Mapping[Tool, Function],
    chat: ChatJournal,
) -> Outcome:
    """Call the next of the tools before or after a chat. Raises what the chat raises."""
    step = lifecycle_calls(occasion, chat.state, workflow)[0]
    journal = _LifecycleJournal(chat, step.call.tool_call_id)
    variables = json_copy(chat.state.variables)
    recorder = TurnRecorder(chat.key, Turn(0, RUNTIME, "initial"), variables, journal)
    await invoke_tool(step, functions, recorder)
    return Done()
