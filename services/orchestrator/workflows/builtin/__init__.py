"""Built-in workflows: the general assistant, which is used if a user chooses no workflow."""

from pathlib import Path

from contracts.catalogue import GENERAL


def builtin_folders() -> list[Path]:
    """The folders of the built-in workflows; another workflow of the same name replaces one."""
    return [Path(__file__).parent / GENERAL]
