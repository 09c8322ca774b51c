"""What this process can run: the workflows it loaded, their AG2 agents, and their public cards."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ag2 import Agent as Ag2Agent

from contracts.catalogue import WorkflowCard
from contracts.events.turn import SELECTOR
from contracts.ids import AgentName, WorkflowName
from services.orchestrator.agents.build import build_agents
from services.orchestrator.agents.models import Models
from services.orchestrator.agents.turn import Task, run_turn
from services.orchestrator.chatlog import ChatLog
from services.orchestrator.decisions import Outcome
from services.orchestrator.projection import conversation, prompt, selection, selector_prompt
from services.orchestrator.runner import Performer
from services.orchestrator.state import ChatState, Turn
from services.orchestrator.workflows.builtin import is_general, with_builtin
from services.orchestrator.workflows.diagnosis import warnings
from services.orchestrator.workflows.loading import (
    NOTHING,
    Broken,
    Loaded,
    ManifestError,
    load_all,
    shown_name,
)
from services.orchestrator.workflows.spec import Workflow


@dataclass(frozen=True, slots=True)
class Offer:
    """What this process can run, and how each workflow is shown."""

    workflows: Mapping[WorkflowName, Workflow]
    agents: Mapping[WorkflowName, Mapping[AgentName, Ag2Agent]]
    cards: tuple[WorkflowCard, ...]
    warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By folder, what was accepted without having the effect that its author may expect."""


def build_offer(root: Path, models: Models, environment: Mapping[str, str] = NOTHING) -> Offer:
    """Load every workflow below a folder, and our own. One that does not load becomes a card with its problems."""
    workflows: dict[WorkflowName, Workflow] = {}
    agents: dict[WorkflowName, Mapping[AgentName, Ag2Agent]] = {}
    broken: list[Broken] = []
    folders = with_builtin(load_all(root, environment), environment)
    for found in folders:
        match found:
            case Broken():
                broken.append(found)
            case Loaded(workflow=workflow):
                try:
                    agents[workflow.name] = build_agents(found, models)
                except ManifestError as trouble:
                    broken.append(_broken(found, trouble.problems))
                else:
                    workflows[workflow.name] = workflow
    cards = {name: _card(workflow, models) for name, workflow in workflows.items()}
    for one in broken:
        name = one.name if one.name not in cards else WorkflowName(f"{one.name} (its folder)")
        cards[name] = WorkflowCard(name=name, problems=list(one.problems))
    warned = {one.folder: tuple(p.line for p in warnings(one.diagnosis)) for one in folders}
    told = {folder: lines for folder, lines in warned.items() if lines}
    return Offer(workflows, agents, tuple(cards.values()), told)


def _broken(found: Loaded, problems: tuple[str, ...]) -> Broken:
    return Broken(shown_name(found.folder), problems)


def _card(workflow: Workflow, models: Models) -> WorkflowCard:
    return WorkflowCard(
        name=workflow.name,
        description=workflow.description,
        pattern=workflow.pattern,
        startup_mode=workflow.startup_mode,
        human_in_the_loop=workflow.human_in_the_loop,
        max_turns=workflow.max_turns,
        initial_message_to_user=workflow.initial_message_to_user,
        agents=list(workflow.agents),
        visual_agents=list(workflow.visual_agents),
        model=models.name,
        demo=models.demo,
        general=is_general(workflow.name),
    )


def build_performer(offer: Offer, call_limit: int) -> Performer:
    """Hands a turn, with all that was said before it, to its AG2 agent."""

    async def perform(workflow: Workflow, state: ChatState, chat: ChatLog) -> Outcome:
        turn = state.open
        assert turn is not None  # noqa: S101  `pending` asked for it
        built = offer.agents[workflow.name][turn.agent]
        task = _selection if turn.agent == SELECTOR else _reply
        return await run_turn(built, task(workflow, state, turn, chat), chat, call_limit=call_limit)

    return perform


def _reply(workflow: Workflow, state: ChatState, turn: Turn, chat: ChatLog) -> Task:
    agent = workflow.agents[turn.agent]
    return Task(
        key=chat.key,
        turn=turn,
        before=conversation(state, turn.agent, workflow.initial_message),
        prompt=prompt(agent, state.variables),
        variables=dict(state.variables),
    )


def _selection(workflow: Workflow, state: ChatState, turn: Turn, chat: ChatLog) -> Task:
    return Task(
        key=chat.key,
        turn=turn,
        before=selection(workflow, state),
        prompt=selector_prompt(workflow),
        variables={},
    )
