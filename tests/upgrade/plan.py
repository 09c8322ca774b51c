"""In which order processes are replaced by those of another release: a pure function."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Release = Literal["old", "new"]
READERS_FIRST = ("persistence", "metrics", "orchestrator", "transport")
"""Who writes to others comes after them: orchestrators know each command that a transport sends."""
REPLICAS = 2


@dataclass(frozen=True, slots=True)
class Replacement:
    """One process of a service is replaced by one of another release, which is started first."""

    service: str
    replica: int
    to: Release


def upgrade(to: Release = "new", services: Sequence[str] = READERS_FIRST) -> list[Replacement]:
    """Every process, one after the other; back to the old release in the opposite order."""
    order = services if to == "new" else services[::-1]
    return [Replacement(name, replica, to) for name in order for replica in range(1, REPLICAS + 1)]
