"""Which of many apps is next: weighted round robin within a limit for all and one for each. Pure."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Generic, Self, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shares:
    """How many may be in use at a time, in all and of one app.

    In one rotation an app takes as many as its weight, 1 where it has none.
    """

    limit: int
    per_app: int
    weights: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, limit: int, share: float, weights: Mapping[str, int] | None = None) -> Self:
        """`share` is the part of the limit that one app may use, at least one."""
        return cls(limit, max(1, int(limit * share)), weights or {})


class FairQueue(Generic[T]):
    """Items that wait in one lane for each app, and how many of each app are in use.

    An app whose first item is added goes to the end of the rotation. So an item at the front of its
    lane waits, while there is room, until each other app that has one has taken its weight once.
    Takes and additions cost the same however many apps and items there are.
    """

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._lanes: dict[str, deque[T]] = {}
        self._rotation: deque[str] = deque()
        """The apps that have items and are below their limit, each once."""
        self._left: dict[str, int] = {}
        """What the first app of the rotation may still take before the next."""
        self._used: Counter[str] = Counter()
        self._in_use = 0
        self._waiting = 0

    @property
    def waiting(self) -> int:
        return self._waiting

    @property
    def in_use(self) -> int:
        return self._in_use

    @property
    def is_full(self) -> bool:
        """Whether no app can take anything before something is released."""
        return self._in_use >= self._shares.limit

    def add(self, app: str, item: T, *, first: bool = False) -> None:
        """Put an item at the end of its app's lane, or at its beginning."""
        lane = self._lanes.get(app)
        if lane is None:
            lane = self._lanes[app] = deque()
            if self._may_take(app):
                self._rotation.append(app)
        if first:
            lane.appendleft(item)
        else:
            lane.append(item)
        self._waiting += 1

    def take(self) -> tuple[str, T] | None:
        """The next item and its app, which is in use until it is released; None while there is none."""
        if self.is_full or not self._rotation:
            return None
        app = self._rotation[0]
        item = self._lanes[app].popleft()
        self._waiting -= 1
        self._in_use += 1
        self._used[app] += 1
        self._left[app] = self._left.get(app, self._shares.weights.get(app, 1)) - 1
        self._turn(app)
        return app, item

    def enter(self, app: str) -> bool:
        """Whether one more of an app may be in use, which it is from then on until it is released.

        Nothing that waits is overtaken, if all that could be taken was taken.
        """
        if self.is_full or not self._may_take(app):
            return False
        self._in_use += 1
        self._used[app] += 1
        return True

    def _turn(self, app: str) -> None:
        """Keep the first app of the rotation there only while it may take more in this one."""
        if not self._lanes[app]:
            del self._lanes[app]
        elif self._may_take(app):
            if self._left[app] > 0:
                return
            self._rotation.append(app)
        self._rotation.popleft()
        del self._left[app]

    def release(self, app: str) -> None:
        """One item of an app is no longer in use."""
        was_at_limit = not self._may_take(app)
        self._in_use -= 1
        self._used[app] -= 1
        if not self._used[app]:
            del self._used[app]
        if was_at_limit and app in self._lanes:
            self._rotation.append(app)

    def drop(self, most: int) -> list[tuple[str, T]]:
        """Take out at most so many items: the newest of those apps that have most waiting."""
        lengths = [(-len(lane), app) for app, lane in self._lanes.items()]
        heapify(lengths)
        dropped: list[tuple[str, T]] = []
        while lengths and len(dropped) < most:
            negative, app = heappop(lengths)
            excess = max(1, -negative + (lengths[0][0] if lengths else 0))
            count = min(most - len(dropped), excess)
            dropped += self._dropped(app, count)
            if negative + count:
                heappush(lengths, (negative + count, app))
        return dropped

    def _dropped(self, app: str, count: int) -> list[tuple[str, T]]:
        lane = self._lanes[app]
        taken = [(app, lane.pop()) for _ in range(count)]
        self._waiting -= count
        if not lane:
            del self._lanes[app]
            if app in self._rotation:
                self._rotation.remove(app)
                self._left.pop(app, None)
        return taken

    def _may_take(self, app: str) -> bool:
        return self._used[app] < self._shares.per_app
