"""Which process runs on which cores, and which of them limits the rate."""

from benchmarks.load.placement import Load, limit, placement, sharing_ends

REST = ["nats-server", "clients"]


def test_one_orchestrator_has_a_core_of_its_own() -> None:
    assert placement([0, 1], ["orchestrator"], ["transport"], REST) == {
        "orchestrator": {0},
        "transport": {1},
        "nats-server": {1},
        "clients": {1},
    }


def test_two_orchestrators_on_two_cores_share_them_with_the_rest() -> None:
    assert placement([0, 1], ["o 1", "o 2"], ["transport"], REST) == {
        "o 1": {0},
        "o 2": {1},
        "transport": {0, 1},
        "nats-server": {0, 1},
        "clients": {0, 1},
    }


def test_transports_have_cores_of_their_own_where_one_is_left_for_the_rest() -> None:
    assert placement([0, 1, 2, 3, 4], ["o 1", "o 2"], ["t 1", "t 2"], REST) == {
        "o 1": {0},
        "o 2": {1},
        "t 1": {2},
        "t 2": {3},
        "nats-server": {4},
        "clients": {4},
    }


def test_a_process_that_uses_its_core_all_the_time_is_the_limit() -> None:
    loads = {"orchestrator": Load(30, 0.93, 0.04), "transport": Load(8, 0.2, 0.1)}
    assert limit(loads).startswith("orchestrator is saturated")


def test_a_process_that_mostly_waits_for_a_core_is_not_the_limit() -> None:
    assert limit({"orchestrator": Load(30, 0.4, 0.58)}).startswith("The cores are saturated")


def test_no_process_is_the_limit_where_all_have_time() -> None:
    loads = {"orchestrator": Load(30, 0.5, 0.1), "transport": Load(8, 0.2, 0.1)}
    assert limit(loads).startswith("No process is saturated; orchestrator comes nearest")


def test_a_full_core_carries_what_the_share_of_one_process_costs() -> None:
    assert Load(cost=20, used=0.5, waited=0).most == 50
    assert Load(cost=10, used=0.5, waited=0, of=2).most == 50


def test_sharing_ends_where_a_service_of_one_process_fills_its_core() -> None:
    loads = {
        "orchestrator": Load(30, 0.9, 0),
        "transport": Load(8, 0.2, 0),
        "persistence": Load(5, 0.1, 0),
        "metrics": Load(2, 0.1, 0),
    }
    assert "200 turns/s, where one core is full of persistence" in sharing_ends(loads)
