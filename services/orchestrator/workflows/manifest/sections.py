"""The manifest of one workflow: its sections, and what is known of the files that they name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from services.orchestrator.workflows.demo import DemoScripts
from services.orchestrator.workflows.manifest.diagnostics import path_in
from services.orchestrator.workflows.manifest.losses import NOTHING_LOST, Losses
from services.orchestrator.workflows.manifest.models.agents import AgentsManifest
from services.orchestrator.workflows.manifest.models.handoffs import HandoffsManifest
from services.orchestrator.workflows.manifest.models.hooks import HooksManifest
from services.orchestrator.workflows.manifest.models.outputs import OutputsManifest
from services.orchestrator.workflows.manifest.models.tools import ToolsManifest
from services.orchestrator.workflows.manifest.models.ui import UiManifest
from services.orchestrator.workflows.manifest.models.variables import VariablesManifest
from services.orchestrator.workflows.manifest.models.workflow import WorkflowManifest


@dataclass(frozen=True, slots=True)
class Source:
    """A section as it is in the file; `raw` consists of JSON values only."""

    file: str
    raw: Any
    wrapper: tuple[str, ...] = ()
    """The keys around the section, if the file repeats the section's name as a wrapper."""
    data: bytes = b""

    def path_of(self, path: tuple[str | int, ...]) -> str:
        """A location in the section's model, as a dotted path in the file."""
        return ".".join((*self.wrapper, path_in(self.raw, path)) if path else self.wrapper)


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The files of a workflow's folder that its sections name.

    `python` are the existing files of tools and hooks: the path relative to the folder by the name
    in the manifest. `tool_names` are the names of the files in `tools/`, for suggestions.
    `missing` are the paths of variables' files that do not exist.
    """

    python: Mapping[str, PurePath] = field(default_factory=lambda: MappingProxyType({}))
    tool_names: tuple[str, ...] = ()
    missing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Sections:
    """All sections of a workflow's folder; `sources` are the files that they were read from.

    `files` are the other files of the folder that the sections name. With `lenient` they are read as
    manifests of the predecessor. `losses` are what could not be read of them.
    """

    workflow: WorkflowManifest
    agents: AgentsManifest
    tools: ToolsManifest
    handoffs: HandoffsManifest
    variables: VariablesManifest
    outputs: OutputsManifest
    ui: UiManifest
    hooks: HooksManifest
    demo: DemoScripts
    sources: Mapping[str, Source]
    files: FolderFiles = FolderFiles()
    lenient: bool = False
    losses: Losses = NOTHING_LOST
