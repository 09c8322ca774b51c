"""The workflows that new chats can start: the newest version of each folder, and its public card."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from contracts.catalogue import WorkflowCard, is_general
from contracts.ids import WorkflowName
from services.orchestrator.agents.execution.agent_set import AgentSet
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.agents.registry.workflow_version import WorkflowVersion, load_folder
from services.orchestrator.domain.workflow_graph import graph_of
from services.orchestrator.workflows.builtin import builtin_folders
from services.orchestrator.workflows.code.shared import SHARED, has_shared
from services.orchestrator.workflows.loading import (
    NO_ENVIRONMENT,
    BrokenWorkflow,
    display_name,
    duplicate_name,
)
from services.orchestrator.workflows.manifest.diagnostics import warnings
from services.orchestrator.workflows.spec import Workflow
from services.orchestrator.workflows.workflow_cards import output_models, tool_cards


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """`newest` is what the folder contains; `active` the version that new chats start, if any.

    `problems` say why the newest is not the active one.
    """

    newest: WorkflowVersion | BrokenWorkflow
    active: WorkflowVersion | None
    problems: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        newest = self.newest
        found = newest if isinstance(newest, BrokenWorkflow) else newest.loaded
        return tuple(problem.line for problem in warnings(found.diagnostics))


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The versions that new chats start, the public cards, and the status of each folder."""

    versions: Mapping[WorkflowName, WorkflowVersion]
    cards: tuple[WorkflowCard, ...] = ()
    folders: Mapping[str, FolderStatus] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def workflows(self) -> Mapping[WorkflowName, Workflow]:
        return {name: version.workflow for name, version in self.versions.items()}

    @property
    def warnings(self) -> Mapping[str, tuple[str, ...]]:
        """By folder: what is accepted without the effect that its author may expect."""
        return {
            folder: status.warnings for folder, status in self.folders.items() if status.warnings
        }

    def agent_set_of(self, workflow: Workflow) -> AgentSet:
        return self.versions[workflow.name].agent_set


EMPTY_CATALOGUE = Catalogue({})


def build_catalogue(
    root: Path,
    models: ModelFactory,
    environment: Mapping[str, str] = NO_ENVIRONMENT,
    previous: Catalogue = EMPTY_CATALOGUE,
    changed: Collection[str] | None = None,
) -> Catalogue:
    """Load the workflows in the folders below `root`, and the built-in ones.

    A folder that was loaded already is loaded again if it is among the `changed`, or if those are
    not given. A folder that does not load keeps its last good version, and its card its problems.
    """
    if not root.is_dir():  # it may be about to be replaced: nothing is withdrawn because of that
        return previous
    newest: dict[str, WorkflowVersion | BrokenWorkflow] = {}
    for folder in [*sorted(root.iterdir()), *builtin_folders()]:
        if folder.parent != root and folder.name.casefold() in _taken_names(newest):
            continue
        known = previous.folders.get(folder.name)
        if known is not None and changed is not None and not _is_affected(known, folder, changed):
            newest[folder.name] = known.newest
        elif (found := load_folder(folder, models, environment)) is not None:
            newest[folder.name] = found
    folders = dict(_folder_statuses(newest, previous))
    active = [status.active for status in folders.values() if status.active is not None]
    versions = {version.workflow.name: version for version in active}
    return Catalogue(versions, _cards(folders, models), folders)


def _is_affected(known: FolderStatus, folder: Path, changed: Collection[str]) -> bool:
    """Whether a folder changed, or the shared folder that its code imports, or failed to import."""
    if folder.name in changed:
        return True
    newest = known.newest
    return SHARED in changed and (
        isinstance(newest, BrokenWorkflow) or has_shared(newest.loaded.code.bundle.files)
    )


def _taken_names(found: Mapping[str, WorkflowVersion | BrokenWorkflow]) -> frozenset[str]:
    """The names of folders and of their workflows, in lower case."""
    names = [
        one.workflow.name if isinstance(one, WorkflowVersion) else one.name
        for one in found.values()
    ]
    return frozenset(name.casefold() for name in (*found, *names))


def _folder_statuses(
    newest: Mapping[str, WorkflowVersion | BrokenWorkflow], previous: Catalogue
) -> Iterator[tuple[str, FolderStatus]]:
    """Active is each folder's newest version or its last good one, whichever has a free name."""
    taken: dict[str, WorkflowVersion] = {}
    for folder, found in newest.items():
        problems = found.problems if isinstance(found, BrokenWorkflow) else ()
        last = previous.folders.get(folder)
        candidates = (found, last.active if last else None)
        for version in (one for one in candidates if isinstance(one, WorkflowVersion)):
            other = taken.setdefault(version.workflow.name.casefold(), version)
            if other is version:
                yield folder, FolderStatus(found, version, problems)
                break
            problems = problems or duplicate_name(version.loaded, other.loaded).problems
        else:
            yield folder, FolderStatus(found, None, problems)


def _cards(folders: Mapping[str, FolderStatus], models: ModelFactory) -> tuple[WorkflowCard, ...]:
    """One per folder, named after its workflow, or after the folder if there is no active version."""
    cards: dict[WorkflowName, WorkflowCard] = {}
    inactive = {folder: status for folder, status in folders.items() if status.active is None}
    for status in folders.values():
        if status.active is not None:
            card = card_of(status.active.workflow, models)
            findings = {"problems": list(status.problems), "warnings": list(status.warnings)}
            cards[card.name] = card.model_copy(update=findings)
    for folder, status in inactive.items():
        name = display_name(folder)
        name = name if name not in cards else WorkflowName(f"{name} (its folder)")
        cards[name] = WorkflowCard(
            name=name, problems=list(status.problems), warnings=list(status.warnings)
        )
    return tuple(cards.values())


def card_of(workflow: Workflow, models: ModelFactory) -> WorkflowCard:
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
        tools=tool_cards(workflow),
        outputs=output_models(workflow),
        settable={name: list(components) for name, components in workflow.settable.items()},
        version=workflow.version.short_form if workflow.version else "",
        graph=graph_of(workflow),
    )
