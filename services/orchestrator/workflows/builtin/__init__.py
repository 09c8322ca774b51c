"""The workflows that every product has: the general assistant, which answers where none is chosen."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from contracts.ids import WorkflowName
from services.orchestrator.workflows.loading import Broken, Loaded, load_all

GENERAL = WorkflowName("General")


def is_general(name: WorkflowName) -> bool:
    return name.casefold() == GENERAL.casefold()


def with_builtin(
    found: Iterable[Loaded | Broken], environment: Mapping[str, str]
) -> list[Loaded | Broken]:
    """What was found, and each workflow of our own whose name nobody else has taken."""
    listed = list(found)
    taken = {_name(one).casefold() for one in listed}
    own = load_all(Path(__file__).parent, environment)
    return [*listed, *(one for one in own if _name(one).casefold() not in taken)]


def _name(one: Loaded | Broken) -> WorkflowName:
    return one.workflow.name if isinstance(one, Loaded) else one.name
