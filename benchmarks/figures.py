"""What a measurement says: ours beside its floor, repetition by repetition, and the aim."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Aim:
    """At most `ratio` times the cost of the floor, and at most `limit` in the figure's own unit."""

    ratio: float | None = None
    limit: float | None = None

    def words(self, unit: str) -> str:
        ratio = "" if self.ratio is None else f"<= {self.ratio:g}x"
        limit = "" if self.limit is None else f"<= {self.limit:g} {unit}"
        return ", ".join(part for part in (ratio, limit) if part)


@dataclass(frozen=True, slots=True)
class Figure:
    """`ours[n]` and `floor[n]` were measured one after the other; no floor where there is none."""

    name: str
    unit: str
    ours: Sequence[float]
    floor: Sequence[float] = ()
    aim: Aim | None = None
    more_is_better: bool = False
    note: str = ""

    @property
    def median_ours(self) -> float:
        return median(self.ours)

    @property
    def median_floor(self) -> float | None:
        return median(self.floor) if self.floor else None

    @property
    def ratio(self) -> float | None:
        """The cost in floors, the median over the pairs: above 1 is dearer, for rates too."""
        if not self.floor:
            return None
        pairs = zip(self.ours, self.floor, strict=True)
        return median(f / o if self.more_is_better else o / f for o, f in pairs)

    @property
    def met(self) -> bool | None:
        """Whether the aim was reached; none where there is no aim."""
        if self.aim is None:
            return None
        aim, ratio = self.aim, self.ratio
        near = aim.ratio is None or (ratio is not None and ratio <= aim.ratio)
        return near and (aim.limit is None or self.median_ours <= aim.limit)

    def record(self) -> dict[str, Any]:
        """Everything, for a file."""
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": self.median_ours,
            "floor": self.median_floor,
            "ratio": self.ratio,
            "aim": None if self.aim is None else self.aim.words(self.unit),
            "met": self.met,
            "note": self.note,
            "repetitions": {"ours": list(self.ours), "floor": list(self.floor)},
        }


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]
