"""Edited copies of workflows, for authors: kept in memory, and started like any workflow."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from contracts.ids import WorkflowName
from contracts.inspection import MAX_DRAFT_BYTES
from services.orchestrator.agents.registry.workflow_version import WorkflowVersion
from services.orchestrator.workflows.code.bundle import FileBundle
from services.orchestrator.workflows.spec import Agent, ModelChoice, Workflow

EDITABLE = frozenset({"workflow", "orchestrator", "agents", "handoffs", "demo"})
"""The sections that a draft may change. Tools, variables and hooks name code, programs and variables of
the environment, which only who may write to the folder chooses."""
MOST_DRAFTS = 32


@dataclass(frozen=True, slots=True)
class Edits:
    """What a draft changes: manifests by the names of their files, initial values, the model of all agents."""

    files: Mapping[str, str]
    variables: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    model: str | None = None

    @property
    def digest(self) -> str:
        text = repr((sorted(self.files.items()), sorted(self.variables.items()), self.model))
        return sha256(text.encode()).hexdigest()[:8]


class Drafts:
    """The newest drafts, by their names."""

    def __init__(self) -> None:
        self._versions: OrderedDict[WorkflowName, WorkflowVersion] = OrderedDict()

    def find(self, name: WorkflowName) -> WorkflowVersion | None:
        return self._versions.get(name)

    def add(self, name: WorkflowName, version: WorkflowVersion) -> list[WorkflowName]:
        """Keep a draft; returns the names of those that are kept no longer."""
        self._versions[name] = version
        self._versions.move_to_end(name)
        gone = [*self._versions][: max(len(self._versions) - MOST_DRAFTS, 0)]
        for one in gone:
            del self._versions[one]
        return gone


def editable_files(base: WorkflowVersion) -> dict[str, str]:
    """The manifests that a draft may change, by the names of their files."""
    return {
        path: data.decode(errors="replace")
        for path, data in base.loaded.manifests.files.items()
        if PurePosixPath(path).stem.casefold() in EDITABLE
    }


def edited(base: WorkflowVersion, edits: Edits) -> FileBundle:
    """The manifests of a draft."""
    files = {path: text.encode() for path, text in edits.files.items()}
    return replace(base.loaded.manifests, files={**base.loaded.manifests.files, **files})


def problems_of_edits(base: WorkflowVersion, edits: Edits) -> list[str]:
    """Why a draft is not even read."""
    known = editable_files(base)
    found = [
        f"{path}: is no manifest that a draft may change (accepted: {', '.join(sorted(known))})"
        for path in edits.files
        if path not in known
    ]
    found += [
        f"variables: {name} is no variable of the workflow"
        for name in edits.variables
        if name not in base.workflow.variables
    ]
    size = sum(len(text.encode()) for text in edits.files.values())
    if size > MAX_DRAFT_BYTES:
        found.append(f"files: are larger than {MAX_DRAFT_BYTES} bytes together")
    return found


def problems_of_draft(base: Workflow, draft: Workflow) -> Iterator[str]:
    """What of a draft would send the keys of this process somewhere else."""
    accepted = {_address(agent.model) for agent in base.agents.values()} | {_address(ModelChoice())}
    for agent in draft.agents.values():
        if _address(agent.model) not in accepted:
            yield f"agents: {agent.name}: base_url, api_key_env and provider stay as they are"


def _address(choice: ModelChoice) -> tuple[str | None, str | None, str | None]:
    return choice.base_url, choice.api_key_env, choice.provider


def with_edits(workflow: Workflow, name: WorkflowName, edits: Edits) -> Workflow:
    """The workflow under the draft's name, with its model and initial values."""
    agents = {key: _with_model(agent, edits.model) for key, agent in workflow.agents.items()}
    variables = MappingProxyType({**workflow.variables, **edits.variables})
    return replace(workflow, name=name, agents=MappingProxyType(agents), variables=variables)


def _with_model(agent: Agent, model: str | None) -> Agent:
    return agent if model is None else replace(agent, model=replace(agent.model, model=model))


def draft_name(base: WorkflowName, edits: Edits) -> WorkflowName:
    """The same for the same edits."""
    return WorkflowName(f"{base}-draft-{edits.digest}")
