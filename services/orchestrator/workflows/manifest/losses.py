"""What could not be read of a manifest, so that nothing is reported that merely follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

EVERYTHING = "*"
"""Stands for all names of a kind: the list of them could not be read."""


@dataclass(frozen=True, slots=True)
class Losses:
    """What could not be read of a workflow.

    `names` are the names of entries by kind (EVERYTHING: any), `paths` the places, as `file: path`,
    about which nothing further can be known.
    """

    names: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    paths: frozenset[str] = frozenset()

    def __or__(self, other: "Losses") -> "Losses":
        kinds = {*self.names, *other.names}
        names = {
            kind: self.names.get(kind, frozenset()) | other.names.get(kind, frozenset())
            for kind in kinds
        }
        return Losses(names, self.paths | other.paths)

    def has(self, kind: str, name: str) -> bool:
        """Whether something of this kind and name may be in what could not be read."""
        lost = self.names.get(kind, frozenset())
        return name in lost or EVERYTHING in lost

    def covers(self, file: str, path: str) -> bool:
        """Whether a place is within what could not be read."""
        parts = path.split(".")
        prefixes = (".".join(parts[: end + 1]) for end in range(len(parts)))
        return any(f"{file}: {prefix}" in self.paths for prefix in prefixes)


NOTHING_LOST = Losses()
