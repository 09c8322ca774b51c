"""Everything an author wrote, and what is wrong with it, in the words of the files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.orchestrator.workflows.demo import DemoScripts
from services.orchestrator.workflows.diagnosis import Path as Place
from services.orchestrator.workflows.diagnosis import Problem, Severity, nearest
from services.orchestrator.workflows.manifest import (
    AgentsManifest,
    HandoffsManifest,
    HooksManifest,
    OutputsManifest,
    PageManifest,
    ToolsManifest,
    VariablesManifest,
    WorkflowManifest,
)
from services.orchestrator.workflows.reading import Source


@dataclass(frozen=True, slots=True)
class Sections:
    """Everything an author wrote; `sources` says in which file."""

    head: WorkflowManifest
    agents: AgentsManifest
    tools: ToolsManifest
    handoffs: HandoffsManifest
    variables: VariablesManifest
    outputs: OutputsManifest
    page: PageManifest
    hooks: HooksManifest
    demo: DemoScripts
    sources: Mapping[str, Source]


@dataclass(slots=True)
class Report:
    """Problems, collected in the words of the files."""

    sources: Mapping[str, Source]
    problems: list[Problem] = field(default_factory=list)

    def add(
        self,
        section: str,
        place: Place,
        what: str,
        *,
        found: str = "",
        accepted: Iterable[str] = (),
        hint: str = "",
        severity: Severity = "error",
    ) -> None:
        source = self.sources.get(section) or Source(f"{section}.json", None)
        self.problems.append(
            Problem(source.file, source.where(place), what, found, tuple(accepted), hint, severity)
        )

    def unknown(self, section: str, place: Place, kind: str, name: str, known: list[str]) -> None:
        likely = nearest(name, known)
        self.add(section, place, f"there is no {kind} {name}", accepted=known, hint=likely)
