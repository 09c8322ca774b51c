"""Copy a workflow of the predecessor into a folder of workflows, rewritten for this product."""

import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any

from services.orchestrator.workflows.code.bundle import MAX_BYTES
from services.orchestrator.workflows.code.imported_packages import imported_packages, own_modules
from services.orchestrator.workflows.manifest.diagnostics import Problem, errors
from services.orchestrator.workflows.manifest.section_reader import SectionReader
from services.orchestrator.workflows.manifest.sections import Sections, Source
from services.orchestrator.workflows.migration.manifest_edits import converted
from services.orchestrator.workflows.migration.python_edits import (
    Rewritten,
    Surroundings,
    declared_functions,
    names_referred_to,
    rewritten,
)
from services.orchestrator.workflows.scaffold import NAME

MAX_FILES = 5_000
_LEFT_OUT = ("__pycache__", "node_modules")

Check = Callable[[Path], Sequence[Problem]]
"""The problems of a workflow's folder, as the orchestrator has them."""


class ImportRefusedError(Exception):
    """Why nothing was imported: a line per reason."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("\n".join(reasons))


class InvalidManifestsError(ImportRefusedError):
    """The manifests have errors that the predecessor had, too."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What was imported into `folder`, a line per item.

    `changed` is what was rewritten, `left_out` what the predecessor ignored or skipped, `decisions` what
    the author has to decide.
    """

    folder: Path
    files: int
    changed: tuple[str, ...]
    left_out: tuple[str, ...]
    decisions: tuple[str, ...]


def import_workflow(source: Path, root: Path, name: str | None, check: Check) -> ImportReport:
    """Import the workflow in the folder `source` as the folder `name` below `root`.

    Nothing is overwritten, and `source` stays as it is. Raises ImportRefusedError and OSError.
    """
    source = source.resolve()
    target = _target(source, root, name)
    files = _files_of(source)
    code = {path: data for path, data in files.items() if path.endswith(".py")}
    reader = SectionReader(source, imported_packages(code), strictness="lenient")
    sections = reader.read()
    if found := errors(reader.problems):
        raise InvalidManifestsError(*(one.line for one in found))
    changes, decisions = _Notes(), _Notes()
    imported = {
        **files,
        **_manifests(sections, name, changes, decisions),
        **_python_files(code, sections, source.name, target.name, changes, decisions),
    }
    for old in _renamed_files(sections):
        imported.pop(old)
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".import-", dir=root) as directory:
        draft = Path(directory) / target.name
        _write(draft, imported)
        remaining = check(draft)
        if errors(remaining):
            _state_lenient(draft)
            message = "errors remain, so the first section states `strictness: lenient`: remove it in the end"
            decisions.add(message)
        decisions.lines += [one.line for one in remaining]
        _move(draft, target)
    left_out = [one.line for one in reader.problems if one.path]
    decisions.lines += [one.line for one in reader.left_out]
    kept = [line for line in left_out if line not in decisions.lines]
    return ImportReport(
        target,
        len(imported),
        tuple(dict.fromkeys(changes.lines)),
        tuple(dict.fromkeys(kept)),
        tuple(dict.fromkeys(decisions.lines)),
    )


@dataclass(slots=True)
class _Notes:
    lines: list[str]

    def __init__(self) -> None:
        self.lines = []

    def add(self, *lines: str) -> None:
        self.lines += lines


def _target(source: Path, root: Path, name: str | None) -> Path:
    if not source.is_dir():
        raise ImportRefusedError(f"{source}: there is no such folder")
    chosen = source.name if name is None else name
    if not NAME.fullmatch(chosen):
        raise ImportRefusedError(
            f"{chosen}: a workflow name starts with a letter, followed by A-Z a-z 0-9 _ -, at most 64 "
            "characters: choose one with --name"
        )
    taken = [one.name for one in root.iterdir()] if root.is_dir() else []
    for one in taken:
        if one.casefold() == chosen.casefold():
            raise ImportRefusedError(
                f"{root / one} already exists: choose another name with --name"
            )
    if source.is_relative_to(root.resolve() / chosen) or root.resolve().is_relative_to(source):
        raise ImportRefusedError(f"{root}: is within the folder that is imported")
    return root / chosen


def _files_of(source: Path) -> dict[str, bytes]:
    """The regular files of a folder by their relative paths; links are not followed."""
    files: dict[str, bytes] = {}
    size = 0
    for path in _walked(source):
        if not stat.S_ISREG(path.lstat().st_mode):
            continue
        size += path.lstat().st_size
        if size > MAX_BYTES or len(files) >= MAX_FILES:
            limits = f"{MAX_BYTES} bytes or {MAX_FILES} files"
            raise ImportRefusedError(
                f"{source}: has more than {limits}: it is no workflow's folder"
            )
        files[path.relative_to(source).as_posix()] = path.read_bytes()
    return files


def _walked(source: Path) -> Iterator[Path]:
    for directory, subdirectories, names in os.walk(source):
        subdirectories[:] = sorted(
            one for one in subdirectories if one not in _LEFT_OUT and not one.startswith(".")
        )
        for name in sorted(names):
            if not name.startswith(".") and not name.endswith(".pyc"):
                yield Path(directory, name)


# -- manifests -------------------------------------------------------------------------------------


def _new_name(source: Source, section: str) -> str:
    """The first section gets the name by which this product's own workflows are recognised."""
    return f"workflow{PurePath(source.file).suffix}" if section == "workflow" else source.file


def _renamed_files(sections: Sections) -> list[str]:
    return [
        source.file
        for section, source in sections.sources.items()
        if _new_name(source, section) != source.file
    ]


def _manifests(
    sections: Sections, name: str | None, changes: _Notes, decisions: _Notes
) -> dict[str, bytes]:
    written: dict[str, bytes] = {}
    for section, source in sections.sources.items():
        value: Any = source.raw
        if section == "workflow" and name is not None:
            value = {**value, "workflow_name": name}
        for key in reversed(source.wrapper):
            value = {key: value}
        text = source.data.decode("utf-8-sig")
        is_json = source.file.casefold().endswith(".json")
        edited, is_kept = converted(text, is_json=is_json, value=value)
        if not is_kept and "#" in text and not is_json:
            decisions.add(f"{source.file}: its comments are lost: copy those that are still needed")
        new = _new_name(source, section)
        if new != source.file:
            changes.add(f"{source.file}: is renamed to {new}")
        if edited != text:
            changes.add(f"{new}: what is left out is removed, old words are replaced")
        written[new] = edited.encode()
    return written


def _state_lenient(folder: Path) -> None:
    (first,) = folder.glob("workflow.*")
    text = first.read_text()
    is_json = first.suffix.casefold() == ".json"
    reader = SectionReader(folder, ())
    reader.read()
    source = reader.sources["workflow"]
    value: Any = {"strictness": "lenient", **source.raw}
    for key in reversed(source.wrapper):
        value = {key: value}
    first.write_text(converted(text, is_json=is_json, value=value)[0])


# -- code ------------------------------------------------------------------------------------------


def _python_files(
    code: Mapping[str, bytes],
    sections: Sections,
    old: str,
    new: str,
    changes: _Notes,
    decisions: _Notes,
) -> dict[str, bytes]:
    tools: dict[str, list[str]] = {}
    for one in (*sections.tools.tools, *sections.tools.lifecycle_tools):
        tools.setdefault(one.file, []).append(one.function)
    texts = {path: _decoded(data) for path, data in code.items()}
    called = {
        path: frozenset().union(
            *(names_referred_to(text) for other, text in texts.items() if other != path and text)
        )
        for path in texts
    }
    around = Surroundings(old, new, own=own_modules(code), installed=_is_installed)
    written: dict[str, bytes] = {}
    for path, text in texts.items():
        if text is None:
            decisions.add(f"{path}: is no UTF-8 text, and is copied as it is")
            continue
        own = replace(around, tools=declared_functions(tools, path), called=called[path])
        found = _rewritten(path, text, own, decisions)
        changes.add(*(f"{path}:{line}" for line in found.changes))
        decisions.add(*(f"{path}:{line}" for line in found.decisions))
        written[path] = found.text.encode()
    return written


def _rewritten(path: str, text: str, around: Surroundings, decisions: _Notes) -> Rewritten:
    try:
        return rewritten(text, around)
    except (SyntaxError, ValueError, RecursionError) as broken:
        decisions.add(f"{path}: is no valid Python and is copied as it is: {broken}")
        return Rewritten(text)


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _is_installed(name: str) -> bool:
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None


# -- files -----------------------------------------------------------------------------------------


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for path, data in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def _move(draft: Path, target: Path) -> None:
    """A rename refuses a folder that somebody else has created meanwhile, unless it is empty."""
    try:
        draft.rename(target)
    except OSError as error:
        raise ImportRefusedError(f"{target}: {error.strerror or error}") from error
