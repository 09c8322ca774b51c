"""Load workflows from folders: each is a workflow, or a list of problems."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os.path import normpath
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any

from contracts.ids import WorkflowName
from contracts.subjects import InvalidIdError, token
from services.orchestrator.workflows.building.build import build_workflow
from services.orchestrator.workflows.building.variables import VariableValueError, initial_value
from services.orchestrator.workflows.checks import check
from services.orchestrator.workflows.checks.dead_ends import check_dead_ends
from services.orchestrator.workflows.checks.report import Report
from services.orchestrator.workflows.code.bundle import (
    MAX_BYTES,
    FileBundle,
    read_python_files,
    too_large,
    with_shared,
)
from services.orchestrator.workflows.code.imported_packages import imported_packages
from services.orchestrator.workflows.code.loader import ToolCode, tool_code
from services.orchestrator.workflows.code.shared import SHARED, has_shared, uses_shared
from services.orchestrator.workflows.code.variable_reads import variable_reads
from services.orchestrator.workflows.demo import DemoScripts
from services.orchestrator.workflows.manifest.diagnostics import (
    Problem,
    closest_name,
    errors,
    warnings,
)
from services.orchestrator.workflows.manifest.models.variables import FileSource, VariablesManifest
from services.orchestrator.workflows.manifest.reader import (
    SUFFIXES,
    UnreadableError,
    section_files,
)
from services.orchestrator.workflows.manifest.section_reader import (
    SECTION_STEMS,
    WORKFLOW_STEMS,
    SectionReader,
)
from services.orchestrator.workflows.manifest.sections import Source
from services.orchestrator.workflows.spec import Hook, Tool, Version, Workflow

NO_ENVIRONMENT: Mapping[str, str] = MappingProxyType({})
_MISPLACED = "is beside the workflows, not in one: move it, or choose another name"
_NO_SHARED = "is imported, but there is no such folder beside the workflow"
_ASKING_CALLS = (b".ask(", b"use_ui_tool(", b".input(")


@dataclass(frozen=True, slots=True)
class LoadedWorkflow:
    """A workflow that can run, with everything that was read to build it."""

    folder: str
    workflow: Workflow
    demo: DemoScripts
    diagnostics: tuple[Problem, ...] = ()
    """Warnings: what is accepted but has no effect."""
    manifests: FileBundle = field(default_factory=FileBundle)
    """Every manifest file that was read."""
    lenient: bool = False
    """Whether it was read as a workflow of the predecessor."""
    code: ToolCode = field(default_factory=lambda: tool_code(Path(), FileBundle()))

    def file_of(self, section: str) -> str:
        """The name of the file that a section was read from; its usual name if there is none."""
        stems = WORKFLOW_STEMS if section == "workflow" else (section,)
        names = (PurePath(name) for name in self.manifests.files)
        return next((one.name for one in names if one.stem.casefold() in stems), f"{section}.json")


@dataclass(frozen=True, slots=True)
class BrokenWorkflow:
    """A folder without a valid workflow; `problems` has a line per error, `file: path: message`."""

    name: WorkflowName
    problems: tuple[str, ...]
    diagnostics: tuple[Problem, ...] = ()
    """The errors and warnings in full."""
    folder: str = ""


class ManifestError(Exception):
    """A workflow's folder has problems; all that were found so far.

    `unloadable` are the tools and hooks whose functions do not load, each with its problem.
    """

    def __init__(
        self, *problems: str, unloadable: Mapping[Tool | Hook, str] = MappingProxyType({})
    ) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
        self.unloadable = unloadable


def load_all(
    root: Path, environment: Mapping[str, str] = NO_ENVIRONMENT
) -> list[LoadedWorkflow | BrokenWorkflow]:
    """All workflow folders below `root`, by folder name. A broken one does not affect the others."""
    if not root.is_dir():
        return []
    loaded = [load_if_workflow(folder, environment) for folder in sorted(root.iterdir())]
    return list(_reject_duplicate_names(one for one in loaded if one is not None))


def load_if_workflow(
    folder: Path, environment: Mapping[str, str]
) -> LoadedWorkflow | BrokenWorkflow | None:
    """None if the folder is not a workflow folder."""
    try:
        return load(folder, environment) if is_workflow_folder(folder) else None
    except OSError as error:  # a folder that may not be read
        message = error.strerror or type(error).__name__
        return broken_workflow(folder.name, [Problem(folder.name, "", message)])


def is_workflow_folder(folder: Path) -> bool:
    """Whether a folder has a workflow section or an agents section, and may be a workflow's."""
    if folder.name.startswith(".") or folder.name == SHARED:
        return False
    return bool(section_files(folder, WORKFLOW_STEMS) or section_files(folder, ("agents",)))


def load(
    folder: Path, environment: Mapping[str, str] = NO_ENVIRONMENT, home: Path | None = None
) -> LoadedWorkflow | BrokenWorkflow:
    """Load one folder; `home` is the original folder if this one is a copy."""
    if folder.is_symlink() and not _is_within(folder, folder.parent):
        outside = Problem(folder.name, "", "is a link to a folder outside the workflows' folder")
        return broken_workflow(folder.name, [outside])
    is_copy = home is not None
    return _FolderLoader(folder, home or folder.resolve(), environment, is_copy).result()


def broken_workflow(folder: str, problems: Iterable[Problem]) -> BrokenWorkflow:
    """The folder with its problems, errors first."""
    listed = (*errors(problems := list(problems)), *warnings(problems))
    return BrokenWorkflow(
        display_name(folder), tuple(one.line for one in errors(listed)), listed, folder
    )


def display_name(folder: str) -> WorkflowName:
    """A folder's name, shortened if it is not valid as the name of a workflow."""
    try:
        token(folder)
    except InvalidIdError:
        return WorkflowName(f"{folder.encode(errors='replace').decode()[:16]}…")
    return WorkflowName(folder)


def _reject_duplicate_names(
    workflows: Iterable[LoadedWorkflow | BrokenWorkflow],
) -> Iterable[LoadedWorkflow | BrokenWorkflow]:
    """Replace all but the first workflow of a name, regardless of case, by a broken one."""
    first: dict[str, LoadedWorkflow] = {}
    for one in workflows:
        if isinstance(one, BrokenWorkflow):
            yield one
            continue
        name = str(one.workflow.name)
        taken = first.setdefault(name.casefold(), one)
        if taken is one:
            yield one
        else:
            yield duplicate_name(one, taken)


def duplicate_name(one: LoadedWorkflow, taken: LoadedWorkflow) -> BrokenWorkflow:
    """A workflow whose name another folder has already."""
    message = f"another folder has a workflow of this name: {taken.folder} ({taken.workflow.name})"
    problem = Problem("workflow.json", "workflow_name", message, found=str(one.workflow.name))
    return broken_workflow(one.folder, [problem, *one.diagnostics])


def _is_within(path: Path, within: Path) -> bool:
    try:
        return path.resolve().is_relative_to(within.resolve())
    except (OSError, RuntimeError):  # a cycle of links
        return False


@dataclass(slots=True)
class _FolderLoader:
    """Reads one folder and collects its problems."""

    folder: Path
    home: Path
    environment: Mapping[str, str]
    is_copy: bool
    """Whether the folder was written from a version's bundles, which have the shared files in it."""
    problems: list[Problem] = field(default_factory=list)
    sources: dict[str, Source] = field(default_factory=dict)

    def result(self) -> LoadedWorkflow | BrokenWorkflow:
        code = self._code()
        reader = SectionReader(self.folder, imported_packages(code.files))
        sections = reader.read()
        self.problems += reader.problems
        self.sources = dict(sections.sources)
        self.problems += check(sections)
        values = self._values(sections.variables)
        self._warn_of_unread_files(sections.variables)
        self._warn_of_trusted_variables(sections.variables, code)
        if errors(self.problems):
            return broken_workflow(self.folder.name, self.problems)
        manifests = self._manifests(sections.variables)
        if manifests.size + code.size > MAX_BYTES:
            return broken_workflow(self.folder.name, [*self.problems, too_large(self.folder)])
        version = Version(manifests.digest, code.digest)
        workflow = build_workflow(self.home, sections, values, version)
        report = Report(self.sources)
        check_dead_ends(report, workflow, sections.demo, code_asks=_asks(code))
        self.problems += report.problems
        return LoadedWorkflow(
            folder=self.folder.name,
            workflow=workflow,
            demo=sections.demo,
            diagnostics=warnings(self.problems),
            manifests=manifests,
            lenient=sections.lenient,
            code=tool_code(self.home, code),
        )

    def _code(self) -> FileBundle:
        try:
            return self._own_and_shared_code()
        except UnreadableError as unreadable:
            self.problems.append(unreadable.problem)
            return FileBundle()

    def _own_and_shared_code(self) -> FileBundle:
        """The folder's Python files, and those of the shared folder if any of them imports it.

        Raises UnreadableError.
        """
        own = read_python_files(self.folder)
        if has_shared(own.files) and not self.is_copy:
            raise UnreadableError(Problem(SHARED, "", _MISPLACED))
        if not uses_shared(own.files) or has_shared(own.files):
            return own
        shared = self.folder.parent / SHARED
        if not shared.is_dir() or not _is_within(shared, self.folder.parent):
            raise UnreadableError(Problem(SHARED, "", _NO_SHARED))
        return with_shared(own, read_python_files(shared))

    def _manifests(self, variables: VariablesManifest) -> FileBundle:
        files = {source.file: source.data for source in self.sources.values()}
        for path in _variable_files(variables):
            if (file := self.folder / path).is_file():
                files[normpath(path)] = file.read_bytes()
        return FileBundle(self.folder.name, files)

    def _values(self, variables: VariablesManifest) -> Mapping[str, Any]:
        values = {}
        for number, variable in enumerate(variables.definitions):
            try:
                values[variable.name] = initial_value(variable, self.folder, self.environment)
            except VariableValueError as error:
                source = self.sources["context_variables"]
                path = source.path_of(("definitions", number, "source"))
                self.problems.append(Problem(source.file, path, str(error)))
        return values

    def _warn_of_unread_files(self, variables: VariablesManifest) -> None:
        """Warn of files that are no section: the name of one may be misspelt."""
        variable_files = _variable_files(variables)
        for path in sorted(self.folder.iterdir()):
            if path.name == "_pack":
                self._warn(path, "is accepted, but not executed by this release")
            elif (
                path.suffix.casefold() not in SUFFIXES
                or path.stem.casefold() in SECTION_STEMS
                or path.name in variable_files
            ):
                continue
            else:
                message = "is not a section of a workflow and is not read"
                self._warn(path, message, closest_name(path.stem, SECTION_STEMS))

    def _warn_of_trusted_variables(self, variables: VariablesManifest, code: FileBundle) -> None:
        """Warn of code that reads what users may set: a price, for one, must not come from there."""
        settable = {one.name for one in variables.definitions if one.settable_by is not None}
        for file, source in sorted(code.files.items()) if settable else ():
            for name, line in variable_reads(source):
                if name in settable:
                    message = f"reads {name}, which users may set to any value: check it"
                    problem = Problem(file, f"line {line}", message, severity="warning")
                    self.problems.append(problem)

    def _warn(self, path: Path, message: str, hint: str = "") -> None:
        self.problems.append(Problem(path.name, "", message, hint=hint, severity="warning"))


def _asks(code: FileBundle) -> bool:
    """Whether some tool seems to ask the user by its code."""
    return any(call in source for source in code.files.values() for call in _ASKING_CALLS)


def _variable_files(variables: VariablesManifest) -> set[str]:
    """The paths of the files that variables are read from."""
    sources = [variable.source for variable in variables.definitions]
    return {source.path for source in sources if isinstance(source, FileSource)}
