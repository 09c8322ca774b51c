"""Tracks which tool call of a turn changed which context variables.

Tools run in threads beside the turn and share one dict. So the changes of a call are determined in
its own thread at the moment it ends or asks the user, not when another call's result is recorded.
"""

import threading
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

from contracts.events.turn import VariablesChanged
from services.orchestrator.agents.ag2.json_values import json_copy, jsonable
from services.orchestrator.domain.turn import Turn

_ABSENT = object()


class VariableDiff(NamedTuple):
    changed: dict[str, Any]
    removed: list[str]


class VariableTracker:
    """The changes that the calls of one turn make to the variables.

    `variables` is the dict that tools change; `logged` are the variables in the chat's state.
    """

    def __init__(self, variables: dict[str, Any], logged: Mapping[str, Any]) -> None:
        self._variables = variables
        self._logged = logged
        self._known: dict[str, Any] = json_copy(variables)
        self._attributed: dict[str, list[tuple[int, VariableDiff]]] = {}
        self._taken: dict[str, int] = {}
        self._order = count()
        self._lock = threading.Lock()

    def attribute(self, call: str) -> None:
        """In the call's own thread: attribute every change since the last time to this call."""
        with self._lock:
            diff = self._difference()
            if diff.changed or diff.removed:
                self._attributed.setdefault(call, []).append((next(self._order), diff))

    def take(self, call: str) -> VariableDiff:
        """The changes of a call that were not taken yet, without those that a newer one overwrote."""
        with self._lock:
            merged = VariableDiff({}, [])
            for order, diff in self._attributed.pop(call, []):
                merged = _merged(merged, self._without_overwritten(order, diff))
            return merged

    def take_events(self, call: str, turn: Turn) -> list[VariablesChanged]:
        """The same as an event to record; none when nothing changed."""
        changed, removed = self.take(call)
        if not changed and not removed:
            return []
        return [
            VariablesChanged(turn=turn.number, agent=turn.agent, changed=changed, removed=removed)
        ]

    def give_back(self, call: str, events: Sequence[VariablesChanged]) -> None:
        """Changes that were taken and could not be recorded: the call still has to record them."""
        with self._lock:
            for event in events:
                diff = VariableDiff(dict(event.changed), list(event.removed))
                self._attributed.setdefault(call, []).insert(0, (next(self._order), diff))

    def discard(self, events: Sequence[VariablesChanged]) -> None:
        """Changes that were taken and cannot be recorded: the variables are as the log has them."""
        with self._lock:
            for name in {name for event in events for name in (*event.changed, *event.removed)}:
                self._set(name, self._logged.get(name, _ABSENT))

    def merge_logged(self, logged: Mapping[str, Any]) -> None:
        """Take over what others have set in the log, except variables that a call has just changed.

        Only what changed in the log since the last time: a change of ours may be about to be stored.
        """
        with self._lock:
            before, self._logged = self._logged, logged
            if logged is before:
                return
            current = jsonable(self._variables)
            for name in {*logged, *before}:
                value, known = logged.get(name, _ABSENT), self._known.get(name, _ABSENT)
                changed_in_log = value != before.get(name, _ABSENT)
                if changed_in_log and value != known == current.get(name, _ABSENT):
                    self._set(name, value)

    def _set(self, name: str, value: Any) -> None:
        for variables in (self._variables, self._known):
            if value is _ABSENT:
                variables.pop(name, None)
            else:
                variables[name] = jsonable(value)

    def _difference(self) -> VariableDiff:
        now: dict[str, Any] = jsonable(self._variables)
        before, self._known = self._known, now
        changed = {k: v for k, v in now.items() if k not in before or before[k] != v}
        return VariableDiff(changed, [name for name in before if name not in now])

    def _without_overwritten(self, order: int, diff: VariableDiff) -> VariableDiff:
        current = {
            name for name in (*diff.changed, *diff.removed) if self._taken.get(name, -1) < order
        }
        self._taken.update(dict.fromkeys(current, order))
        return VariableDiff(
            {name: value for name, value in diff.changed.items() if name in current},
            [name for name in diff.removed if name in current],
        )


def _merged(first: VariableDiff, then: VariableDiff) -> VariableDiff:
    changed = {name: value for name, value in first.changed.items() if name not in then.removed}
    removed = [name for name in first.removed if name not in then.changed]
    return VariableDiff({**changed, **then.changed}, [*removed, *then.removed])
