from collections import Counter
from itertools import pairwise

import pytest

from tests.chaos.schedule import KINDS, TAKES_A_NODE, TAKES_MONGODB, plan


def test_a_schedule_is_a_function_of_its_seed() -> None:
    assert plan(7, 200, 300) == plan(7, 200, 300)
    assert plan(7, 200, 300) != plan(8, 200, 300)


def test_a_schedule_has_all_its_faults_in_time_and_in_order() -> None:
    planned = plan(1, 500, 600)
    assert [fault.number for fault in planned] == list(range(1, 501))
    assert all(0 <= one.at <= other.at <= 600 for one, other in pairwise(planned))


def test_every_kind_of_fault_happens_in_a_long_run() -> None:
    assert set(Counter(fault.kind for fault in plan(3, 1000, 1200))) == set(KINDS)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("alone", [TAKES_A_NODE, TAKES_MONGODB])
def test_faults_of_a_node_or_of_mongodb_never_overlap(seed: int, alone: frozenset[str]) -> None:
    planned = [fault for fault in plan(seed, 800, 900) if fault.kind in alone]
    assert len(planned) > 20
    assert all(one.at + one.seconds < other.at for one, other in pairwise(planned))


def test_faults_overlap() -> None:
    planned = plan(5, 300, 200)
    assert any(one.at + one.seconds > other.at for one, other in pairwise(planned))


def test_only_the_requested_kinds_of_faults_happen() -> None:
    planned = plan(2, 40, 60, kinds=("kill service", "viewer storm"))
    assert {fault.kind for fault in planned} == {"kill service", "viewer storm"}
