"""The tool by which the agents collect ideas."""

from typing import Any


def keep_idea(idea: str, context_variables: dict[str, Any]) -> str:
    board = [*context_variables.get("board", []), idea]
    context_variables["board"] = board
    return f"Pinned as number {len(board)}."
