"""The explorer finds the shortest history to a wrong state of a state machine."""

import pytest

from tests.ownership_model.explorer import PROGRESS, Exploration, Move, explore

Steps = dict[int, tuple[int, ...]]


def exploration(steps: Steps, faults: Steps | None = None, wrong: int = -1) -> Exploration[int]:
    """Explore from 0; 9 is settled."""

    def moves(state: int) -> list[Move[int]]:
        onward = [Move(f"to {after}", after) for after in steps.get(state, ())]
        return onward + [
            Move(f"fault {after}", after, fault=True) for after in (faults or {}).get(state, ())
        ]

    return explore(0, moves, lambda state: "wrong" if state == wrong else "", lambda s: s == 9)


def test_a_machine_without_a_fault_is_explored_completely() -> None:
    assert exploration({0: (1, 2), 1: (9,), 2: (9,)}) == (frozenset({0, 1, 2, 9}), "", ())


def test_a_wrong_state_is_found_by_the_shortest_history() -> None:
    found = exploration({0: (1, 2), 1: (3,), 3: (4,), 2: (4,), 4: (9,)}, wrong=4)
    assert (found.broken, found.history) == ("wrong", ("to 2", "to 4"))


def test_a_wrong_state_behind_a_fault_is_found() -> None:
    found = exploration({0: (9,)}, {0: (5,), 5: (6,)}, wrong=6)
    assert (found.broken, found.history) == ("wrong", ("fault 5", "fault 6"))


@pytest.mark.parametrize(
    ("steps", "faults"),
    [
        pytest.param({0: (1, 9)}, {}, id="it ends too early"),
        pytest.param({0: (1, 9), 1: (2,), 2: (1, 9)}, {}, id="it may turn in a circle"),
        pytest.param({0: (1, 9)}, {1: (9,)}, id="only a fault leads on"),
    ],
)
def test_a_state_from_which_nothing_settles_is_found(steps: Steps, faults: Steps) -> None:
    assert exploration(steps, faults).broken == PROGRESS
