"""Read the workflows' folders: each is a workflow, or a list of what is wrong with it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from os.path import normpath
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from contracts.ids import WorkflowName
from contracts.subjects import InvalidIdError, token
from services.orchestrator.workflows.building import build_workflow
from services.orchestrator.workflows.checks import check
from services.orchestrator.workflows.checks.report import Sections
from services.orchestrator.workflows.demo import DemoScripts
from services.orchestrator.workflows.diagnosis import (
    Problem,
    errors,
    from_validation,
    nearest,
    warnings,
)
from services.orchestrator.workflows.functions import ToolCode, tool_code
from services.orchestrator.workflows.manifest import (
    AgentManifest,
    AgentsManifest,
    FileSource,
    HandoffsManifest,
    HooksManifest,
    OutputsManifest,
    PageManifest,
    ToolsManifest,
    VariablesManifest,
    WorkflowManifest,
)
from services.orchestrator.workflows.reading import (
    SUFFIXES,
    Source,
    UnreadableError,
    files_of,
    read,
)
from services.orchestrator.workflows.spec import (
    Version,
    Workflow,
)
from services.orchestrator.workflows.values import NoValueError, value_of
from services.orchestrator.workflows.versions import MAX_BYTES, Parcel, code_of, too_large

NOTHING: Mapping[str, str] = MappingProxyType({})
_HEADS = ("workflow", "orchestrator")
MODELS: Mapping[str, type[BaseModel]] = {
    "workflow": WorkflowManifest,
    "agents": AgentsManifest,
    "tools": ToolsManifest,
    "handoffs": HandoffsManifest,
    "context_variables": VariablesManifest,
    "structured_outputs": OutputsManifest,
    "ui_config": PageManifest,
    "hooks": HooksManifest,
    "demo": DemoScripts,
}
"""The model of each section, by the stem of its file."""
_STEMS = ("orchestrator", *MODELS)
_NEEDED = ("workflow", "agents")
_ROOTS = {"agents": "agents", "tools": "tools", "hooks": "hooks", "handoffs": "handoff_rules"}

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Loaded:
    folder: str
    workflow: Workflow
    demo: DemoScripts
    diagnosis: tuple[Problem, ...] = ()
    """Warnings: what is accepted without having the effect that its author may expect."""
    manifests: Parcel = field(default_factory=Parcel)
    """Every file that was read to know all this."""
    code: ToolCode = field(default_factory=lambda: tool_code(Path(), Parcel()))


@dataclass(frozen=True, slots=True)
class Broken:
    """A folder that is no workflow: one line per error, `file: where: what`."""

    name: WorkflowName
    problems: tuple[str, ...]
    diagnosis: tuple[Problem, ...] = ()
    """The same, and the warnings, with all that an author may want to know."""
    folder: str = ""


class ManifestError(Exception):
    """What is wrong with a workflow's folder, every problem found at that point."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def load_all(root: Path, environment: Mapping[str, str] = NOTHING) -> list[Loaded | Broken]:
    """Every folder below `root` that is meant as a workflow, by name. A bad one spoils no other."""
    if not root.is_dir():
        return []
    found = [tried(folder, environment) for folder in sorted(root.iterdir())]
    return list(_apart(one for one in found if one is not None))


def tried(folder: Path, environment: Mapping[str, str]) -> Loaded | Broken | None:
    """None where the folder is not meant as a workflow."""
    try:
        return load(folder, environment) if is_meant(folder) else None
    except OSError as trouble:  # a folder that may not be read
        what = trouble.strerror or type(trouble).__name__
        return broken(folder.name, [Problem(folder.name, "", what)])


def is_meant(folder: Path) -> bool:
    """Whether a folder has a workflow's first section, or agents that lack one."""
    if folder.name.startswith("."):
        return False
    return bool(files_of(folder, _HEADS) or files_of(folder, ("agents",)))


def load(
    folder: Path, environment: Mapping[str, str] = NOTHING, home: Path | None = None
) -> Loaded | Broken:
    """`home` is where the folder lies, or lay, that this one is a copy of."""
    if folder.is_symlink() and not _stays(folder, folder.parent):
        elsewhere = Problem(folder.name, "", "is a link to a folder outside the workflows' folder")
        return broken(folder.name, [elsewhere])
    return _Reading(folder, home or folder.resolve(), environment).result()


def broken(folder: str, problems: Iterable[Problem]) -> Broken:
    listed = (*errors(problems := list(problems)), *warnings(problems))
    return Broken(shown_name(folder), tuple(one.line for one in errors(listed)), listed, folder)


def shown_name(folder: str) -> WorkflowName:
    """A folder's name, cut where it is too long for the name of a workflow."""
    try:
        token(folder)
    except InvalidIdError:
        return WorkflowName(f"{folder.encode(errors='replace').decode()[:16]}…")
    return WorkflowName(folder)


def _apart(found: Iterable[Loaded | Broken]) -> Iterable[Loaded | Broken]:
    """Two workflows of one name, also where only the case differs, cannot both be called."""
    first: dict[str, Loaded] = {}
    for one in found:
        if isinstance(one, Broken):
            yield one
            continue
        name = str(one.workflow.name)
        taken = first.setdefault(name.casefold(), one)
        if taken is one:
            yield one
        else:
            yield clash(one, taken)


def clash(one: Loaded, taken: Loaded) -> Broken:
    what = f"another folder has a workflow of this name: {taken.folder} ({taken.workflow.name})"
    problem = Problem("workflow.json", "workflow_name", what, found=str(one.workflow.name))
    return broken(one.folder, [problem, *one.diagnosis])


def _stays(path: Path, within: Path) -> bool:
    try:
        return path.resolve().is_relative_to(within.resolve())
    except (OSError, RuntimeError):  # a circle of links
        return False


@dataclass(slots=True)
class _Reading:
    """One folder, read as far as it goes."""

    folder: Path
    home: Path
    environment: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)
    sources: dict[str, Source] = field(default_factory=dict)

    def result(self) -> Loaded | Broken:
        sections = self._sections()
        values: Mapping[str, Any] = {}
        if sections is not None:
            self.problems += check(sections, self.folder)
            values = self._values(sections.variables)
            self._strangers(sections.variables)
        code = self._code()
        if sections is None or errors(self.problems):
            return broken(self.folder.name, self.problems)
        manifests = self._manifests(sections.variables)
        if manifests.size + code.size > MAX_BYTES:
            return broken(self.folder.name, [*self.problems, too_large(self.folder)])
        version = Version(manifests.digest, code.digest)
        return Loaded(
            folder=self.folder.name,
            workflow=build_workflow(self.folder, self.home, sections, values, version),
            demo=sections.demo,
            diagnosis=warnings(self.problems),
            manifests=manifests,
            code=tool_code(self.home, code),
        )

    def _code(self) -> Parcel:
        try:
            return code_of(self.folder)
        except UnreadableError as unreadable:
            self.problems.append(unreadable.problem)
            return Parcel()

    def _manifests(self, variables: VariablesManifest) -> Parcel:
        files = {source.file: source.data for source in self.sources.values()}
        for path in _read_by(variables):
            if (file := self.folder / path).is_file():
                files[normpath(path)] = file.read_bytes()
        return Parcel(self.folder.name, files)

    def _sections(self) -> Sections | None:
        """None where the agents cannot be read: what the others say of them cannot be checked."""
        head = self._section("workflow", WorkflowManifest)
        agents = self._section("agents", AgentsManifest)
        sections = Sections(
            head=head or WorkflowManifest(workflow_name="unread"),
            agents=agents or AgentsManifest(agents=[AgentManifest(name="unread")]),
            tools=self._section("tools", ToolsManifest) or ToolsManifest(),
            handoffs=self._section("handoffs", HandoffsManifest) or HandoffsManifest(),
            variables=self._section("context_variables", VariablesManifest) or VariablesManifest(),
            outputs=self._section("structured_outputs", OutputsManifest) or OutputsManifest(),
            page=self._section("ui_config", PageManifest) or PageManifest(),
            hooks=self._section("hooks", HooksManifest) or HooksManifest(),
            demo=self._section("demo", DemoScripts) or DemoScripts(),
            sources=self.sources,
        )
        return None if agents is None else sections

    def _section(self, name: str, model: type[M]) -> M | None:
        stems = _HEADS if name == "workflow" else (name,)
        files = files_of(self.folder, stems)
        if not files:
            if name not in _NEEDED:
                return None
            accepted = [f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES]
            self.problems.append(Problem(accepted[0], "", "is missing", accepted=tuple(accepted)))
            return None
        if len(files) > 1:
            listed = " and ".join(path.name for path in files)
            self.problems.append(Problem(files[0].name, "", f"is there twice: {listed}"))
            return None
        return self._file(name, files[0], model)

    def _file(self, name: str, path: Path, model: type[M]) -> M | None:
        try:
            source = self.sources[name] = _unwrapped(read(path, self.folder), name)
        except UnreadableError as unreadable:
            self.problems.append(unreadable.problem)
            return None
        raw = source.raw
        if isinstance(raw, dict):
            raw = {key: value for key, value in raw.items() if key != "$schema"}  # for editors
        if name == "workflow" and isinstance(raw, dict):
            raw = {"workflow_name": self.folder.name, **raw}
        try:
            return model.model_validate(raw)
        except ValidationError as invalid:
            self.problems += from_validation(invalid, source.file, model, source.where)
            return None

    def _values(self, variables: VariablesManifest) -> Mapping[str, Any]:
        values = {}
        for number, variable in enumerate(variables.definitions):
            try:
                values[variable.name] = value_of(variable, self.folder, self.environment)
            except NoValueError as trouble:
                source = self.sources["context_variables"]
                where = source.where(("definitions", number, "source"))
                self.problems.append(Problem(source.file, where, str(trouble)))
        return values

    def _strangers(self, variables: VariablesManifest) -> None:
        """Files that look like sections and are none: a misspelt one would be missed in silence."""
        read_elsewhere = _read_by(variables)
        for path in sorted(self.folder.iterdir()):
            if path.name == "_pack":
                self._warn(path, "is accepted, but not executed by this release")
            elif path.suffix not in SUFFIXES or path.stem in _STEMS or path.name in read_elsewhere:
                continue
            else:
                what = "is no section of a workflow, and not read"
                self._warn(path, what, nearest(path.stem, _STEMS))

    def _warn(self, path: Path, what: str, hint: str = "") -> None:
        self.problems.append(Problem(path.name, "", what, hint=hint, severity="warning"))


def _read_by(variables: VariablesManifest) -> set[str]:
    """The files that give variables their values."""
    sources = [variable.source for variable in variables.definitions]
    return {source.path for source in sources if isinstance(source, FileSource)}


def _unwrapped(source: Source, name: str) -> Source:
    """A section may be repeated as a wrapper inside its own file."""
    names = _HEADS if name == "workflow" else (name,)
    match source.raw:
        case dict() as raw if len(raw) == 1 and (key := next(iter(raw))) in names:
            inner = raw[key]
        case _:
            return source
    if not isinstance(inner, dict) or (name in _ROOTS and not _is_section(inner, _ROOTS[name])):
        return source
    return replace(source, raw=inner, within=(key,))


def _is_section(inner: dict[str, Any], root: str) -> bool:
    """A map of agents has no agent called agents: unless its values are all entries."""
    held = inner.get(root)
    return isinstance(held, list) or (
        isinstance(held, dict) and all(isinstance(entry, dict) for entry in held.values())
    )
