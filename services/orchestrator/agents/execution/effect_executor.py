"""Executes the effect that a chat waits for: a turn of an agent, or tools before or after the chat."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from contracts.events import Event
from contracts.ids import ChatKey
from services.orchestrator.agents.execution.agent_set import AgentSetSource
from services.orchestrator.agents.execution.lifecycle_tools import run_lifecycle_tool
from services.orchestrator.agents.execution.turn_context import TurnContext, build_turn_context
from services.orchestrator.agents.execution.turn_executor import end_turn, execute_turn, open_turn
from services.orchestrator.domain.evolution import applied
from services.orchestrator.domain.external_variables import due
from services.orchestrator.domain.state import (
    ChatState,
    Effect,
    RunLifecycleTools,
    RunTurn,
    StopTurn,
    pending,
)
from services.orchestrator.domain.turn import Turn
from services.orchestrator.domain.turn_steps import Done, Outcome
from services.orchestrator.runtime.chat_journal import ChatJournal
from services.orchestrator.workflows.spec import Workflow


class AgentExecutor:
    """Executes effects of chats with the agents that `source` has for their workflows."""

    def __init__(self, source: AgentSetSource, call_limit: int) -> None:
        """`call_limit` is the number of model calls that one turn may make."""
        self._source = source
        self._call_limit = call_limit

    async def __call__(self, effect: Effect, workflow: Workflow, journal: ChatJournal) -> Outcome:
        """The outcome of an effect (see `EffectExecutor`)."""
        match effect:
            case RunLifecycleTools(occasion):
                functions = self._source.agent_set_of(workflow).functions
                return await run_lifecycle_tool(occasion, workflow, functions, journal)
            case StopTurn():
                return Done()  # ended by the runner
            case RunTurn():
                if due(workflow, journal.state):
                    await journal.resolve_variables(workflow)
                turn = journal.state.open_turn
                if turn is None or turn.number != effect.turn:
                    return Done()  # it ended while variables were looked up
                context = self._context(workflow, turn, journal.key, journal.derived)

                def ending(state: ChatState) -> Sequence[Event]:
                    ended = end_turn(context, workflow, state)
                    if not ended:
                        return ()
                    state = applied(state, ended, cause="")
                    opened = self.open_turn(state, workflow, journal.key, journal.derived)
                    return [*ended, *opened]

                return await execute_turn(replace(context, ending=ending), journal)

    def open_turn(
        self, state: ChatState, workflow: Workflow, key: ChatKey, derived: dict[object, Any]
    ) -> Sequence[Event]:
        """How the open turn begins (see `TurnOpener`)."""
        turn = state.open_turn
        if turn is None or pending(state) != RunTurn(turn.number) or due(workflow, state):
            return ()
        return open_turn(self._context(workflow, turn, key, derived), state)

    def _context(
        self, workflow: Workflow, turn: Turn, key: ChatKey, derived: dict[object, Any]
    ) -> TurnContext:
        agent_set = self._source.agent_set_of(workflow)
        return build_turn_context(workflow, agent_set, turn, key, self._call_limit, derived)
