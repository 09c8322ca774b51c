"""The folder `_shared` beside the workflows: code that the tool files of several workflows import."""

from collections.abc import Iterable, Mapping

from services.orchestrator.workflows.code.imported_packages import imported_modules

SHARED = "_shared"
"""The folder's name. In a version's bundle, its files are below this name, as if it were in the folder."""

_ROOT = "workflows"


def uses_shared(files: Mapping[str, bytes]) -> bool:
    """Whether a Python file imports `workflows._shared`, `_shared` or `.._shared`."""
    return any(
        _is_shared_module(module) for data in files.values() for module in imported_modules(data)
    )


def has_shared(files: Iterable[str]) -> bool:
    """Whether files of the shared folder are among these of a bundle."""
    return any(path.startswith(f"{SHARED}/") for path in files)


def _is_shared_module(module: str) -> bool:
    name = module.lstrip(".").removeprefix(f"{_ROOT}.")
    return name == SHARED or name.startswith(f"{SHARED}.")
