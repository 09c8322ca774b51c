"""The packages that the Python files of a workflow's folder import from elsewhere."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath


def imported_packages(files: Mapping[str, bytes]) -> frozenset[str]:
    """The first names of absolute imports, without the folder's own modules.

    Files with syntax errors are left out: they are reported where they are loaded.
    """
    imported = {
        name.partition(".")[0]
        for data in files.values()
        for name in imported_modules(data)
        if not name.startswith(".")
    }
    return frozenset(imported) - own_modules(files)


def own_modules(files: Iterable[str]) -> frozenset[str]:
    """The first names by which files of a workflow's folder import each other."""
    return frozenset(name for path in files for name in _module_names(path))


def imported_modules(data: bytes) -> Iterator[str]:
    """The full names of what a file imports: modules, and names in them; relative ones with their dots."""
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(names=names):
                module = "." * node.level + (node.module or "")
                dot = "." if node.module else ""
                yield from (f"{module}{dot}{alias.name}" for alias in names)
            case _:
                pass


def _module_names(path: str) -> Iterator[str]:
    parts = PurePosixPath(path).with_suffix("").parts
    yield parts[0]
    if parts[0] == "tools" and len(parts) > 1:
        yield parts[1]
