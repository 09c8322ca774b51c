"""Context variables while a turn's tools change them: each change is kept with the call that made it.

Tools run in threads beside the turn, on one dict. So what a call has changed is looked up in its own
thread the moment it ends or asks, not whenever another call's result happens to be kept.
"""

import threading
from collections.abc import Mapping
from itertools import count
from typing import Any, NamedTuple

from services.orchestrator.agents import codec

_GONE = object()


class Difference(NamedTuple):
    changed: dict[str, Any]
    removed: list[str]


class Changes:
    """What the calls of one turn make of the variables."""

    def __init__(self, variables: dict[str, Any], logged: Mapping[str, Any]) -> None:
        self._variables = variables
        self._logged = logged
        self._known: dict[str, Any] = codec.jsonable(variables)
        self._settled: dict[str, list[tuple[int, Difference]]] = {}
        self._kept: dict[str, int] = {}
        self._order = count()
        self._lock = threading.Lock()

    def settle(self, call: str) -> None:
        """In the call's own thread: what is different by now is its doing."""
        with self._lock:
            found = self._difference()
            if found.changed or found.removed:
                self._settled.setdefault(call, []).append((next(self._order), found))

    def take(self, call: str) -> Difference:
        """What a call has changed and nobody has taken yet, without what was changed since and kept."""
        with self._lock:
            together = Difference({}, [])
            for order, found in self._settled.pop(call, []):
                together = _after(together, self._still(order, found))
            return together

    def take_in(self, logged: Mapping[str, Any]) -> None:
        """Learn what others have set in the log meanwhile; what a call has just changed stays as it is.

        Only what has moved in the log since the last time: a change of ours may be on its way there.
        """
        with self._lock:
            before, self._logged = self._logged, logged
            if logged is before:
                return
            here = codec.jsonable(self._variables)
            for name in {*logged, *before}:
                told, known = logged.get(name, _GONE), self._known.get(name, _GONE)
                if told != before.get(name, _GONE) and told != known == here.get(name, _GONE):
                    self._learn(name, told)

    def _learn(self, name: str, value: Any) -> None:
        for known in (self._variables, self._known):
            if value is _GONE:
                known.pop(name, None)
            else:
                known[name] = codec.jsonable(value)

    def _difference(self) -> Difference:
        now: dict[str, Any] = codec.jsonable(self._variables)
        before, self._known = self._known, now
        changed = {k: v for k, v in now.items() if k not in before or before[k] != v}
        return Difference(changed, [name for name in before if name not in now])

    def _still(self, order: int, found: Difference) -> Difference:
        standing = {
            name for name in (*found.changed, *found.removed) if self._kept.get(name, -1) < order
        }
        self._kept.update(dict.fromkeys(standing, order))
        return Difference(
            {name: value for name, value in found.changed.items() if name in standing},
            [name for name in found.removed if name in standing],
        )


def _after(first: Difference, then: Difference) -> Difference:
    kept = {name: value for name, value in first.changed.items() if name not in then.removed}
    gone = [name for name in first.removed if name not in then.changed]
    return Difference({**kept, **then.changed}, [*gone, *then.removed])
