"""Token counts as providers report them: bounded, and the largest of several reports."""

from collections.abc import Mapping
from typing import Any

MAX_TOKENS = 1_000_000_000
"""No model reads or writes that much in one call: a larger number is an error of the provider."""


def token_count(value: Any) -> int | None:
    """The count; none for what is no sensible one."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and 0 <= value <= MAX_TOKENS else None


class LargestCounts:
    """The largest of each count: some providers repeat their counts, and end with zeros."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, report: Any) -> None:
        """Add a provider's report; whatever is no count is left out."""
        if not isinstance(report, Mapping):
            return
        for name, value in report.items():
            count = token_count(value)
            if count is not None:
                self._counts[name] = max(count, self._counts.get(name, 0))

    def get(self, name: str) -> int | None:
        return self._counts.get(name)

    def total(self, *names: str) -> int | None:
        """The sum of those that are known; none when none of them is."""
        known = [self._counts[name] for name in names if name in self._counts]
        return sum(known) if known else None
