"""The workflows that every product has: the general assistant, which answers where none is chosen."""

from pathlib import Path

from contracts.ids import WorkflowName

GENERAL = WorkflowName("General")


def is_general(name: WorkflowName) -> bool:
    return name.casefold() == GENERAL.casefold()


def own_folders() -> list[Path]:
    """Each is called as its workflow; a workflow of somebody's own takes the place of ours."""
    return [Path(__file__).parent / GENERAL]
