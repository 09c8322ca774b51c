"""A table of Prometheus series that are folded from events: of bounded size, and saved as rows."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

OTHER = "other"
"""The value of every label of what comes after the last series that fits."""
MOST_SERIES = 2_000
"""Label sets of one family."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: a counter, or a histogram where it has bucket bounds."""

    name: str
    meaning: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()

    @property
    def overflow(self) -> tuple[str, ...]:
        return (OTHER,) * len(self.labels)


class Sample(NamedTuple):
    """What an event adds to a series: to a counter its value, to a histogram one observation of it."""

    family: Family
    labels: tuple[str, ...]
    value: float = 1.0


Row = tuple[str, tuple[str, ...], list[float]]
"""The name of a family, the labels of a series, its numbers."""


class SeriesTable:
    """The series of some families. The same samples in the same order make the same table."""

    def __init__(self, families: Sequence[Family], most_series: int = MOST_SERIES) -> None:
        self._families = {family.name: family for family in families}
        self._most_series = most_series
        self._series: dict[str, dict[tuple[str, ...], list[float]]] = {}
        self.clear()

    def clear(self) -> None:
        self._series = {name: {} for name in self._families}

    def add(self, samples: Iterable[Sample]) -> None:
        for family, labels, value in samples:
            numbers = self._numbers(family, labels)
            if family.bounds:
                numbers[sum(bound < value for bound in family.bounds)] += 1
            numbers[-1] += value

    def _numbers(self, family: Family, labels: tuple[str, ...]) -> list[float]:
        """Of a counter its value; of a histogram the number in each bucket, then the sum."""
        known = self._series[family.name]
        if labels not in known and len(known) >= self._most_series:
            labels = family.overflow
        if labels not in known:
            known[labels] = [0.0] * (len(family.bounds) + 2 if family.bounds else 1)
        return known[labels]

    def rows(self) -> list[Row]:
        return [
            (name, labels, numbers)
            for name, series in self._series.items()
            for labels, numbers in series.items()
        ]

    def load(self, rows: Iterable[Row]) -> None:
        """Replace the series; those of families, or with bounds, that this release lacks are left out."""
        self.clear()
        for name, labels, numbers in rows:
            family = self._families.get(name)
            if family is None or len(labels) != len(family.labels):
                continue
            if len(numbers) == (len(family.bounds) + 2 if family.bounds else 1):
                self._series[name][labels] = numbers

    def collect(self) -> Iterator[Metric]:
        for name, series in self._series.items():
            family = self._families[name]
            if family.bounds:
                yield _histogram(family, series)
            else:
                counter = CounterMetricFamily(name, family.meaning, labels=family.labels)
                for labels, (value,) in series.items():
                    counter.add_metric(labels, value)
                yield counter


def _histogram(family: Family, series: dict[tuple[str, ...], list[float]]) -> Metric:
    metric = HistogramMetricFamily(family.name, family.meaning, labels=family.labels)
    for labels, (*counts, total) in series.items():
        metric.add_metric(labels, cumulative(family.bounds, counts), sum_value=total)
    return metric


def cumulative(bounds: Sequence[float], counts: Sequence[float]) -> list[tuple[str, float]]:
    """The buckets as Prometheus reads them: each with what is in those below it."""
    reached = 0.0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        reached += count
        buckets.append((bound, reached))
    return buckets
