"""Visit every state of a state machine, and find the shortest history to one that breaks a rule."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S")

PROGRESS = "without further faults every history ends settled"


class Move(NamedTuple, Generic[S]):
    """The next state and the step to it; a `fault` may happen, and progress must not depend on it."""

    name: str
    state: S
    fault: bool = False


class Exploration(NamedTuple, Generic[S]):
    """`broken` is the rule that the shortest `history` breaks; both are empty where all rules hold."""

    visited: frozenset[S]
    broken: str
    history: tuple[str, ...]


def explore(
    start: S,
    moves: Callable[[S], Iterable[Move[S]]],
    violation: Callable[[S], str],
    is_settled: Callable[[S], bool],
) -> Exploration[S]:
    """Visit breadth first, up to the first state that breaks a rule; then check PROGRESS."""
    came: dict[S, tuple[S, str] | None] = {start: None}
    onward: dict[S, list[S]] = {}  # the next states of each without a fault
    todo = deque([start])
    while todo:
        state = todo.popleft()
        if broken := violation(state):
            return Exploration(frozenset(came), broken, _history(state, came))
        onward[state] = []
        for name, after, fault in moves(state):
            if not fault:
                onward[state].append(after)
            if after not in came:
                came[after] = (state, name)
                todo.append(after)
    for state in _unsettled(onward, is_settled):
        return Exploration(frozenset(came), PROGRESS, _history(state, came))
    return Exploration(frozenset(came), "", ())


def _unsettled(onward: Mapping[S, list[S]], is_settled: Callable[[S], bool]) -> Iterable[S]:
    """The states from which a history without faults can stop unsettled, or continue for ever.

    Settled ends are taken away, then what leads to nothing but them, and so on; these are left.
    """
    before: dict[S, list[S]] = {state: [] for state in onward}
    for state, following in onward.items():
        for after in following:
            before[after].append(state)
    left = {state: len(following) for state, following in onward.items()}
    ends = [state for state, count in left.items() if count == 0 and is_settled(state)]
    while ends:
        state = ends.pop()
        del left[state]
        for earlier in before[state]:
            left[earlier] -= 1
            if left[earlier] == 0:
                ends.append(earlier)
    return left


def _history(state: S, came: Mapping[S, tuple[S, str] | None]) -> tuple[str, ...]:
    names: list[str] = []
    while (step := came[state]) is not None:
        state, name = step
        names.append(name)
    return tuple(reversed(names))
