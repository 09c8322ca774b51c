"""The folders of workflows that a command is about, and their completion in a shell."""

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from services.orchestrator.cli.exit_codes import USAGE, fail

ROOT = Path(os.environ.get("WORKFLOWS_PATH", "workflows"))
"""The folder of all workflows."""
DEFAULT = "WORKFLOWS_PATH, else workflows"
_STEMS = ("workflow", "orchestrator")


def complete(incomplete: str) -> list[str]:
    """The names of workflows that begin so."""
    return [name for name in names(ROOT) if name.startswith(incomplete)]


def names(root: Path) -> list[str]:
    """The folders with a workflow, by name."""
    found = (path.parent for stem in _STEMS for path in root.glob(f"[!._]*/{stem}.*"))
    return sorted({folder.name for folder in found})


def existing(given: Path) -> Path:
    """The folder that was given, as a path or as the name of a workflow. Ends with USAGE else."""
    if given.is_dir():
        return given
    named = ROOT / given
    if not named.is_dir():
        _fail_unknown(given)
    return named


def _fail_unknown(given: Path) -> NoReturn:
    near = get_close_matches(str(given), names(ROOT), n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    fail(f"{given}: there is no such folder, and no workflow of that name in {ROOT}{hint}", USAGE)


Folder = Annotated[
    Path,
    typer.Argument(
        help="A workflow's name or folder, or the folder of all workflows.",
        autocompletion=complete,
        show_default=DEFAULT,
    ),
]
OneWorkflow = Annotated[
    Path, typer.Argument(help="A workflow's name or folder.", autocompletion=complete)
]
