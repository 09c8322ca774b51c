"""One row of the side-by-side table: ours and each peer, repetition by repetition, and the aim."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.table import aligned

OURS = "ours"
FLOOR = "bare AG2"
"""Stores nothing: beside every figure, and never the best peer."""

Values = Mapping[str, Sequence[float]]
"""By contender, one value of each repetition."""


@dataclass(frozen=True, slots=True)
class PeerAim:
    """How ours is to stand to a peer: `ratio` is ours divided by the peer's.

    `peer` is its name; without one, the best of the peers. `limit` is in the row's own unit.
    """

    ratio: float | None = None
    peer: str | None = None
    limit: float | None = None

    def words(self, unit: str, sign: str) -> str:
        beside = self.peer or "best peer"
        ratio = "" if self.ratio is None else f"{sign} {self.ratio:g}x {beside}"
        limit = "" if self.limit is None else f"{sign} {self.limit:g} {unit}"
        return ", ".join(part for part in (ratio, limit) if part)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One thing that was measured of ours and, where they can do it, of the peers."""

    name: str
    unit: str
    values: Values
    aim: PeerAim | None = None
    more_is_better: bool = False
    note: str = ""

    def median_of(self, contender: str) -> float | None:
        values = self.values.get(contender)
        return median(values) if values else None

    @property
    def best_peer(self) -> str | None:
        """The peer with the best median; none where no peer was measured."""
        peers = {
            name: median(values)
            for name, values in self.values.items()
            if values and name not in (OURS, FLOOR)
        }
        best = max if self.more_is_better else min
        return best(peers, key=lambda name: peers[name]) if peers else None

    @property
    def compared_with(self) -> str | None:
        """The peer of the aim, or the best one; none where it was not measured."""
        named = self.aim.peer if self.aim is not None else None
        if named is None:
            return self.best_peer
        return named if self.values.get(named) else None

    @property
    def ratio(self) -> float | None:
        """Ours divided by the peer's: of repetitions measured one after the other, their median."""
        peer = self.compared_with
        ours = self.values.get(OURS)
        if peer is None or not ours:
            return None
        others = self.values[peer]
        if len(ours) == len(others):
            return median(o / p for o, p in zip(ours, others, strict=True))
        return median(ours) / median(others)

    @property
    def met(self) -> bool | None:
        """Whether the aim was reached; none where there is no aim or nothing to compare with."""
        ours = self.median_of(OURS)
        if self.aim is None or ours is None:
            return None
        aim, ratio = self.aim, self.ratio
        if aim.ratio is not None and ratio is None:
            return None
        return (aim.limit is None or self._reaches(ours, aim.limit)) and (
            aim.ratio is None or ratio is None or self._reaches(ratio, aim.ratio)
        )

    def _reaches(self, value: float, aim: float) -> bool:
        return value >= aim if self.more_is_better else value <= aim

    @property
    def aim_words(self) -> str:
        sign = ">=" if self.more_is_better else "<="
        return "" if self.aim is None else self.aim.words(self.unit, sign)

    def record(self) -> dict[str, Any]:
        """Everything, for a file."""
        return {
            "name": self.name,
            "unit": self.unit,
            "medians": {name: self.median_of(name) for name in self.values},
            "compared_with": self.compared_with,
            "ratio": self.ratio,
            "aim": self.aim_words or None,
            "met": self.met,
            "note": self.note,
            "repetitions": {name: list(values) for name, values in self.values.items()},
        }


def table(rows: Sequence[Comparison], contenders: Sequence[str]) -> str:
    """A header and one line for each row, a column for each contender."""
    head = ("measurement", "unit", *contenders, "ratio", "aim", "met", "")
    numbers = {*range(2, 2 + len(contenders)), 2 + len(contenders)}
    return aligned([head, *(_line(row, contenders) for row in rows)], numbers)


def _line(row: Comparison, contenders: Sequence[str]) -> tuple[str, ...]:
    return (
        row.name,
        row.unit,
        *(_number(row.median_of(name)) for name in contenders),
        "" if row.ratio is None else f"{row.ratio:.2f}x",
        row.aim_words,
        {None: "", True: "yes", False: "NO"}[row.met],
        row.note,
    )


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
