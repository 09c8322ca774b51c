"""What a name in a manifest stands for: an agent, the person, the end, a file of the folder."""

from collections.abc import Iterable
from pathlib import Path

from contracts.ids import AgentName
from services.orchestrator.workflows.manifest import (
    plain,
)
from services.orchestrator.workflows.spec import TERMINATE, USER

_USERS = {"user", "human", "userproxy", "usertarget", "reverttouser", "reverttousertarget"}


_ENDS = {"terminate", "terminatetarget", "termination", "end"}


def resolve(name: str, agents: Iterable[str]) -> AgentName | None:
    """An agent by its name, else the person or the end in any spelling."""
    if name in agents:
        return AgentName(name)
    word = plain(name)
    return USER if word in _USERS else TERMINATE if word in _ENDS else None


def resolve_visual(name: str, agents: Iterable[str]) -> AgentName | None:
    """An agent whose name may be written as people say it: Interview Agent is InterviewAgent."""

    def said(text: str) -> str:
        return text.casefold().replace("agent", "").replace(" ", "").strip()

    exact = [one for one in agents if one == name]
    alike = exact or [one for one in agents if said(one) == said(name)]
    return AgentName(alike[0]) if alike else None


def file_of(folder: Path, file: str) -> Path | None:
    """A tool's file inside the folder or its `tools/`."""
    for base in (folder, folder / "tools"):
        try:
            path = (base / file).resolve()
            if path.is_file() and path.is_relative_to(folder.resolve()):
                return path
        except (OSError, ValueError, RuntimeError):  # too long, a null byte, a circle of links
            continue
    return None
