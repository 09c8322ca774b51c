"""Read all sections of a workflow's folder: what is valid of them, and every problem."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel

from services.orchestrator.workflows.demo import DemoScripts
from services.orchestrator.workflows.manifest.diagnostics import Problem, keys_in
from services.orchestrator.workflows.manifest.files import find_files
from services.orchestrator.workflows.manifest.losses import NOTHING_LOST, Losses
from services.orchestrator.workflows.manifest.models.agents import AgentManifest, AgentsManifest
from services.orchestrator.workflows.manifest.models.handoffs import HandoffsManifest
from services.orchestrator.workflows.manifest.models.hooks import HooksManifest
from services.orchestrator.workflows.manifest.models.outputs import OutputsManifest
from services.orchestrator.workflows.manifest.models.tools import ToolsManifest
from services.orchestrator.workflows.manifest.models.ui import UiManifest
from services.orchestrator.workflows.manifest.models.variables import VariablesManifest
from services.orchestrator.workflows.manifest.models.workflow import WorkflowManifest
from services.orchestrator.workflows.manifest.predecessor.meaning import as_meant
from services.orchestrator.workflows.manifest.predecessor.recognition import (
    Strictness,
    strictness_of,
)
from services.orchestrator.workflows.manifest.predecessor.skipped_parts import skipped
from services.orchestrator.workflows.manifest.reader import (
    SUFFIXES,
    UnreadableError,
    read,
    section_files,
)
from services.orchestrator.workflows.manifest.sections import Sections, Source
from services.orchestrator.workflows.manifest.validation import (
    lost_section,
    validate_section,
    without,
)

WORKFLOW_STEMS = ("workflow", "orchestrator")
SECTION_MODELS: Mapping[str, type[BaseModel]] = MappingProxyType(
    {
        "workflow": WorkflowManifest,
        "agents": AgentsManifest,
        "tools": ToolsManifest,
        "handoffs": HandoffsManifest,
        "context_variables": VariablesManifest,
        "structured_outputs": OutputsManifest,
        "ui_config": UiManifest,
        "hooks": HooksManifest,
        "demo": DemoScripts,
    }
)
"""The model of each section, by the stem of its file."""
SECTION_STEMS = ("orchestrator", *SECTION_MODELS)
_REQUIRED = ("workflow", "agents")
_LIST_KEYS = {"agents": "agents", "tools": "tools", "hooks": "hooks", "handoffs": "handoff_rules"}

M = TypeVar("M", bound=BaseModel)


@dataclass(slots=True)
class SectionReader:
    """Reads the sections of one folder; `problems` are those that were found in their files."""

    folder: Path
    imported: Collection[str]
    """The packages that the folder's Python files import."""
    strictness: Strictness | None = None
    """How the sections are read, whatever they are; None: as they are recognised or state it."""
    problems: list[Problem] = field(default_factory=list)
    left_out: list[Problem] = field(default_factory=list)
    """Those of the problems that say which entries were skipped."""
    sources: dict[str, Source] = field(default_factory=dict)
    _losses: Losses = NOTHING_LOST

    def read(self) -> Sections:
        """What is valid of the sections, with placeholders for those that are required."""
        for name in SECTION_MODELS:
            if (source := self._read_section(name)) is not None:
                self.sources[name] = source
        is_lenient = self._is_lenient()
        if is_lenient:
            self._read_as_meant()
        sections = self._valid_sections(lenient=is_lenient)
        return self._without_skipped(sections) if is_lenient else sections

    def _is_lenient(self) -> bool:
        stated = self.strictness or self._stated()
        return strictness_of(self.sources, self.imported, stated) == "lenient"

    def _read_section(self, name: str) -> Source | None:
        stems = WORKFLOW_STEMS if name == "workflow" else (name,)
        files = section_files(self.folder, stems)
        if not files:
            if name in _REQUIRED:
                accepted = [f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES]
                self._lose(name, Problem(accepted[0], "", "is missing", accepted=tuple(accepted)))
            return None
        if len(files) > 1:
            listed = " and ".join(path.name for path in files)
            self._lose(name, Problem(files[0].name, "", f"exists twice: {listed}"))
            return None
        try:
            source = _without_wrapper(read(files[0], self.folder), name)
        except UnreadableError as unreadable:
            self._lose(name, unreadable.problem)
            return None
        raw = source.raw
        if isinstance(raw, dict):
            raw = {key: value for key, value in raw.items() if key != "$schema"}  # for editors
        if name == "workflow" and isinstance(raw, dict):
            raw = {"workflow_name": self.folder.name, **raw}
        return replace(source, raw=raw)

    def _lose(self, name: str, problem: Problem) -> None:
        self.problems.append(problem)
        self._losses |= lost_section(name)

    def _stated(self) -> Strictness | None:
        first = self.sources.get("workflow")
        raw = {} if first is None else first.raw
        stated = raw.get("strictness") if isinstance(raw, dict) else None
        return stated if stated in ("lenient", "strict") else None

    def _read_as_meant(self) -> None:
        first = self.sources["workflow"].file if "workflow" in self.sources else "orchestrator.json"
        message = (
            "is read leniently, as a manifest of the predecessor: `mozaiks import` converts it, and "
            "`strictness: strict` reports what has no effect as errors"
        )
        self.problems.append(Problem(first, "", message, severity="warning"))
        for name, source in self.sources.items():
            self.sources[name], found = as_meant(name, source)
            self.problems += found

    def _valid_sections(self, *, lenient: bool) -> Sections:
        def valid(name: str, model: type[M], absent: M) -> M:
            return self._validated(name, model, lenient=lenient) or absent

        sections = Sections(
            workflow=valid("workflow", WorkflowManifest, WorkflowManifest(workflow_name="unread")),
            agents=valid(
                "agents", AgentsManifest, AgentsManifest(agents=[AgentManifest(name="unread")])
            ),
            tools=valid("tools", ToolsManifest, ToolsManifest()),
            handoffs=valid("handoffs", HandoffsManifest, HandoffsManifest()),
            variables=valid("context_variables", VariablesManifest, VariablesManifest()),
            outputs=valid("structured_outputs", OutputsManifest, OutputsManifest()),
            ui=valid("ui_config", UiManifest, UiManifest()),
            hooks=valid("hooks", HooksManifest, HooksManifest()),
            demo=valid("demo", DemoScripts, DemoScripts()),
            sources=self.sources,
            lenient=lenient,
        )
        files = find_files(self.folder, sections.tools, sections.hooks, sections.variables)
        return replace(sections, files=files, losses=self._losses)

    def _validated(self, name: str, model: type[M], *, lenient: bool) -> M | None:
        if (source := self.sources.get(name)) is None:
            return None
        valid = validate_section(name, source, model, ignores_keys=lenient)
        self.sources[name] = valid.source
        self.problems += valid.problems
        self._losses |= valid.losses
        return valid.value

    def _without_skipped(self, sections: Sections) -> Sections:
        removed: dict[str, set[tuple[str | int, ...]]] = {}
        for one in skipped(sections):
            source = self.sources[one.section]
            path = source.path_of(one.location)
            self.left_out.append(Problem(source.file, path, one.message, severity="warning"))
            removed.setdefault(one.section, set()).add(keys_in(source.raw, one.location))
        self.problems += self.left_out
        for name, keys in removed.items():
            source = self.sources[name]
            self.sources[name] = replace(source, raw=without(source.raw, keys))
        return self._valid_sections(lenient=True) if removed else sections


def _without_wrapper(source: Source, name: str) -> Source:
    """The section without a wrapper: a file may repeat the section's name as its only key."""
    names = WORKFLOW_STEMS if name == "workflow" else (name,)
    match source.raw:
        case dict() as raw if len(raw) == 1 and (key := next(iter(raw))) in names:
            inner = raw[key]
        case _:
            return source
    if not isinstance(inner, dict) or (
        name in _LIST_KEYS and not _is_section(inner, _LIST_KEYS[name])
    ):
        return source
    return replace(source, raw=inner, wrapper=(key,))


def _is_section(inner: dict[str, Any], root: str) -> bool:
    """Whether a wrapped value is a section, and not an entry that has the section's name."""
    entries = inner.get(root)
    return isinstance(entries, list) or (
        isinstance(entries, dict) and all(isinstance(entry, dict) for entry in entries.values())
    )
