"""Find the files of a workflow's folder that its manifest names: tools, hooks, variables' files."""

import contextlib
from pathlib import Path, PurePath

from services.orchestrator.workflows.manifest.models.hooks import HooksManifest
from services.orchestrator.workflows.manifest.models.tools import ToolsManifest
from services.orchestrator.workflows.manifest.models.variables import FileSource, VariablesManifest
from services.orchestrator.workflows.manifest.sections import FolderFiles


def find_files(
    folder: Path, tools: ToolsManifest, hooks: HooksManifest, variables: VariablesManifest
) -> FolderFiles:
    """What is known of these files without reading them."""
    names = {one.file for one in (*tools.tools, *tools.lifecycle_tools)}
    names |= {hook.filename for hook in hooks.hooks}
    python = {name: path for name in names if (path := _find(folder, name)) is not None}
    sources = [variable.source for variable in variables.definitions]
    paths = {source.path for source in sources if isinstance(source, FileSource)}
    return FolderFiles(
        python=python,
        tool_names=tuple(sorted(path.name for path in folder.glob("tools/*.py"))),
        missing=frozenset(path for path in paths if _is_missing(folder / path)),
    )


def _find(folder: Path, file: str) -> PurePath | None:
    """The path of a file in the folder or its `tools/`, relative to the folder; None if there is none."""
    for base in (folder, folder / "tools"):
        try:
            path = (base / file).resolve()
            if path.is_file() and path.is_relative_to(home := folder.resolve()):
                return PurePath(path.relative_to(home))
        except (OSError, ValueError, RuntimeError):  # too long, a null byte, a cycle of links
            continue
    return None


def _is_missing(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # reported when the file is read
        return not path.is_file()
    return False
