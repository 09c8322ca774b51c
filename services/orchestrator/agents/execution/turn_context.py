"""What the open turn of one agent needs: its AG2 agent, conversation, prompt, functions and hooks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ag2 import Agent as Ag2Agent

from contracts.events.turn import SELECTOR, ToolEffect
from contracts.ids import ChatKey
from services.orchestrator.agents.ag2.conversation import Conversation, history_of
from services.orchestrator.agents.execution.agent_set import AgentSet
from services.orchestrator.agents.execution.hooks import NO_HOOKS, Hooks
from services.orchestrator.agents.session.ports import Follow, follow_nothing
from services.orchestrator.agents.session.text_stream import OutputPolicy
from services.orchestrator.agents.tools.function_tools import Function
from services.orchestrator.domain.agent_conversation import (
    selector_prompt,
    selector_question,
    system_prompt,
)
from services.orchestrator.domain.state import ChatState
from services.orchestrator.domain.turn import Turn
from services.orchestrator.workflows.spec import Agent, Tool, Workflow


@dataclass(frozen=True, slots=True)
class TurnContext:
    """`history` is the conversation before the open turn, as this agent remembers it.

    `ending` is what follows from a state in which the turn has its last response.
    """

    key: ChatKey
    agent: Agent
    ag2_agent: Ag2Agent
    history: Callable[[ChatState], Conversation]
    prompt: Callable[[ChatState], str]
    functions: Mapping[Tool, Function]
    hooks: Hooks
    call_limit: int
    ending: Follow = follow_nothing

    @property
    def output_policy(self) -> OutputPolicy:
        agent, hooks = self.agent, self.hooks
        return OutputPolicy(
            hides=agent.hides,
            may_become_hidden=agent.may_hide,
            edit=partial(hooks.edited_output, agent.name) if hooks.edit_output else None,
        )

    @property
    def early_dispatch(self) -> Mapping[str, ToolEffect]:
        """The functions whose calls are dispatched with the response that asks for them.

        Those that begin at once, and that may be repeated where nobody knows whether they began.
        """
        return {
            tool.name: tool.effects.effect
            for tool in self.agent.tools
            if tool.effects.in_doubt == "repeat"
            and tool.approval is None
            and tool.limits.max_concurrent is None
        }


def build_turn_context(
    workflow: Workflow,
    agent_set: AgentSet,
    turn: Turn,
    key: ChatKey,
    call_limit: int,
    derived: dict[object, Any],
) -> TurnContext:
    """The context of the agent whose turn is open; `derived` is that of the chat's `FoldedChat`."""
    ag2_agent = agent_set.agents[turn.agent]
    history = history_of(derived, turn.agent, workflow.initial_message)
    if turn.agent == SELECTOR:
        return TurnContext(
            key=key,
            agent=Agent(SELECTOR, ""),
            ag2_agent=ag2_agent,
            history=lambda state: history.with_message(state, selector_question(workflow, state)),
            prompt=lambda _: selector_prompt(workflow),
            functions={},
            hooks=NO_HOOKS,
            call_limit=call_limit,
        )
    agent = workflow.agents[turn.agent]
    return TurnContext(
        key=key,
        agent=agent,
        ag2_agent=ag2_agent,
        history=history.before_turn,
        prompt=partial(system_prompt, agent),
        functions=agent_set.functions,
        hooks=agent_set.hooks.get(turn.agent, NO_HOOKS),
        call_limit=call_limit,
    )
