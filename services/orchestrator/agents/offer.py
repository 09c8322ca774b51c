"""What is on offer: of each workflow's folder the newest version that loads, and its public card."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from contracts.catalogue import WorkflowCard
from contracts.ids import WorkflowName
from services.orchestrator.agents.build import Cast, build_cast
from services.orchestrator.agents.models import Models
from services.orchestrator.agents.performing import call_around, part_of, take_turn
from services.orchestrator.chatlog import ChatLog
from services.orchestrator.references import due
from services.orchestrator.runner import Performer
from services.orchestrator.state import CallAround, Effect, RunTurn
from services.orchestrator.turns import Noted, Outcome
from services.orchestrator.workflows.builtin import is_general, own_folders
from services.orchestrator.workflows.cards import outputs, tools
from services.orchestrator.workflows.diagnosis import warnings
from services.orchestrator.workflows.loading import (
    NOTHING,
    Broken,
    Loaded,
    ManifestError,
    clash,
    shown_name,
    tried,
)
from services.orchestrator.workflows.spec import Workflow


@dataclass(frozen=True, slots=True)
class Edition:
    """One version of a workflow with its cast, ready for any number of turns."""

    loaded: Loaded
    cast: Cast

    @property
    def workflow(self) -> Workflow:
        return self.loaded.workflow

    def cast_of(self, workflow: Workflow) -> Cast:
        del workflow  # there is but one
        return self.cast


@dataclass(frozen=True, slots=True)
class Shown:
    """What became of a folder: the edition that new chats take, and what is wrong with its newest."""

    newest: Edition | Broken
    edition: Edition | None
    problems: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        newest = self.newest
        found = newest if isinstance(newest, Broken) else newest.loaded
        return tuple(problem.line for problem in warnings(found.diagnosis))


@dataclass(frozen=True, slots=True)
class Offer:
    """The editions that new chats take, and how each workflow is shown."""

    editions: Mapping[WorkflowName, Edition]
    cards: tuple[WorkflowCard, ...] = ()
    folders: Mapping[str, Shown] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def workflows(self) -> Mapping[WorkflowName, Workflow]:
        return {name: edition.workflow for name, edition in self.editions.items()}

    @property
    def warnings(self) -> Mapping[str, tuple[str, ...]]:
        """By folder, what was accepted without having the effect that its author may expect."""
        told = {folder: shown.warnings for folder, shown in self.folders.items()}
        return {folder: lines for folder, lines in told.items() if lines}

    def cast_of(self, workflow: Workflow) -> Cast:
        return self.editions[workflow.name].cast


NO_OFFER = Offer({})


def build_offer(
    root: Path,
    models: Models,
    environment: Mapping[str, str] = NOTHING,
    before: Offer = NO_OFFER,
    changed: Collection[str] | None = None,
) -> Offer:
    """Load the workflows below a folder, and our own. One that does not load becomes a card with its problems.

    What was on offer before is looked at again where it is among the changed folders, or where
    nobody says which those are; a folder that does not load any more keeps its last good edition.
    """
    if not root.is_dir():  # as when it is about to be replaced: nobody withdraws everything
        return before
    newest: dict[str, Edition | Broken] = {}
    for folder in [*sorted(root.iterdir()), *own_folders()]:
        if folder.parent != root and folder.name.casefold() in _taken(newest):
            continue
        known = before.folders.get(folder.name)
        if known is not None and changed is not None and folder.name not in changed:
            newest[folder.name] = known.newest
        elif (found := attempt(folder, models, environment)) is not None:
            newest[folder.name] = found
    folders = dict(_arranged(newest, before))
    editions = {
        shown.edition.workflow.name: shown.edition
        for shown in folders.values()
        if shown.edition is not None
    }
    return Offer(editions, _cards(folders, models), folders)


def _taken(found: Mapping[str, Edition | Broken]) -> frozenset[str]:
    """The names of folders and of their workflows, without case."""
    names = [one.workflow.name if isinstance(one, Edition) else one.name for one in found.values()]
    return frozenset(name.casefold() for name in (*found, *names))


def attempt(
    folder: Path, models: Models, environment: Mapping[str, str]
) -> Edition | Broken | None:
    """None where the folder is not meant as a workflow."""
    found = tried(folder, environment)
    return edition_of(found, models, environment) if isinstance(found, Loaded) else found


def edition_of(loaded: Loaded, models: Models, environment: Mapping[str, str]) -> Edition | Broken:
    try:
        return Edition(loaded, build_cast(loaded, models, environment))
    except ManifestError as trouble:
        name = shown_name(loaded.folder)
        return Broken(name, trouble.problems, loaded.diagnosis, loaded.folder)


def _arranged(newest: Mapping[str, Edition | Broken], before: Offer) -> Iterator[tuple[str, Shown]]:
    """Each folder shows its newest edition, else its last good one, if its name is not taken."""
    taken: dict[str, Edition] = {}
    for folder, found in newest.items():
        problems = found.problems if isinstance(found, Broken) else ()
        last = before.folders.get(folder)
        candidates = (found, last.edition if last else None)
        for edition in (one for one in candidates if isinstance(one, Edition)):
            other = taken.setdefault(edition.workflow.name.casefold(), edition)
            if other is edition:
                yield folder, Shown(found, edition, problems)
                break
            problems = problems or clash(edition.loaded, other.loaded).problems
        else:
            yield folder, Shown(found, None, problems)


def _cards(folders: Mapping[str, Shown], models: Models) -> tuple[WorkflowCard, ...]:
    """One for each folder, under its workflow's name; under its own where it has no workflow."""
    cards: dict[WorkflowName, WorkflowCard] = {}
    without = {folder: shown for folder, shown in folders.items() if shown.edition is None}
    for shown in folders.values():
        if shown.edition is not None:
            card = _card(shown.edition.workflow, models)
            told = {"problems": list(shown.problems), "warnings": list(shown.warnings)}
            cards[card.name] = card.model_copy(update=told)
    for folder, shown in without.items():
        name = shown_name(folder)
        name = name if name not in cards else WorkflowName(f"{name} (its folder)")
        cards[name] = WorkflowCard(
            name=name, problems=list(shown.problems), warnings=list(shown.warnings)
        )
    return tuple(cards.values())


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
        version=workflow.version.shown if workflow.version else "",
    )


class Company(Protocol):
    """Who plays what."""

    def cast_of(self, workflow: Workflow, /) -> Cast: ...


def build_performer(company: Company, call_limit: int) -> Performer:
    """Hands what a chat waits for to those who play in its workflow."""

    async def perform(effect: Effect, workflow: Workflow, chat: ChatLog) -> Outcome:
        cast = company.cast_of(workflow)
        match effect:
            case CallAround(occasion):
                return await call_around(occasion, workflow, cast.functions, chat)
            case RunTurn():
                if due(workflow, chat.state):
                    await chat.refer(workflow)
                turn = chat.state.open
                if turn is None or turn.number != effect.turn:
                    return Noted()  # it ended while others were asked
                return await take_turn(part_of(workflow, cast, turn, chat.key, call_limit), chat)

    return perform
