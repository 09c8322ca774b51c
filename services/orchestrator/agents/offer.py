"""What this process can run: the workflows it loaded, their casts, and their public cards."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from contracts.catalogue import WorkflowCard
from contracts.ids import WorkflowName
from services.orchestrator.agents.build import Cast, build_cast
from services.orchestrator.agents.models import Models
from services.orchestrator.agents.performing import call_around, part_of, take_turn
from services.orchestrator.chatlog import ChatLog
from services.orchestrator.decisions import CallAround, Effect, RunTurn
from services.orchestrator.runner import Performer
from services.orchestrator.turns import Outcome
from services.orchestrator.workflows.builtin import is_general, with_builtin
from services.orchestrator.workflows.cards import outputs, tools
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
    casts: Mapping[WorkflowName, Cast]
    cards: tuple[WorkflowCard, ...]
    warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By folder, what was accepted without having the effect that its author may expect."""


def build_offer(root: Path, models: Models, environment: Mapping[str, str] = NOTHING) -> Offer:
    """Load every workflow below a folder, and our own. One that does not load becomes a card with its problems."""
    workflows: dict[WorkflowName, Workflow] = {}
    casts: dict[WorkflowName, Cast] = {}
    broken: list[Broken] = []
    folders = with_builtin(load_all(root, environment), environment)
    for found in folders:
        match found:
            case Broken():
                broken.append(found)
            case Loaded(workflow=workflow):
                try:
                    casts[workflow.name] = build_cast(found, models, environment)
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
    return Offer(workflows, casts, tuple(cards.values()), told)


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
        tools=tools(workflow),
        outputs=outputs(workflow),
    )


def build_performer(offer: Offer, call_limit: int) -> Performer:
    """Hands what a chat waits for to those who play in its workflow."""

    async def perform(effect: Effect, workflow: Workflow, chat: ChatLog) -> Outcome:
        cast = offer.casts[workflow.name]
        match effect:
            case CallAround(occasion):
                return await call_around(occasion, workflow, cast.functions, chat)
            case RunTurn():
                turn = chat.state.open
                assert turn is not None  # noqa: S101  `pending` asked for it
                return await take_turn(part_of(workflow, cast, turn, chat.key, call_limit), chat)

    return perform
