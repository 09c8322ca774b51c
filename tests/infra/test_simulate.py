"""The model of scaling: what docs/scaling.md shows is what it computes, and it fits a measured load."""

from dataclasses import replace
from pathlib import Path

import pytest

from infra.simulate import (
    VOLUMES,
    Assumptions,
    breaks_first,
    check,
    demand,
    deployment,
    figures,
    load,
    loads_of_the_smallest,
    spread,
    table,
)

MEASURED, USUAL = load(), Assumptions()
PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"


@pytest.mark.parametrize("shown", [figures(MEASURED, USUAL), *table(MEASURED, USUAL).split("\n\n")])
def test_the_page_shows_the_tables_of_the_simulation(shown: str) -> None:
    assert shown in PAGE.read_text(), "paste the output of python -m infra.simulate"


@pytest.mark.parametrize("what", check(MEASURED))
def test_the_model_fits_a_load_that_it_was_not_taken_from(what: str) -> None:
    modelled, measured = check(MEASURED)[what]
    assert modelled == pytest.approx(measured, rel=0.35)


@pytest.mark.parametrize("chats", VOLUMES)
def test_ten_times_the_chats_need_ten_times_as_much(chats: float) -> None:
    one, ten = demand(chats, MEASURED, USUAL), demand(10 * chats, MEASURED, USUAL)
    assert ten.turns_per_second == pytest.approx(10 * one.turns_per_second)
    assert ten.sockets == pytest.approx(10 * one.sockets)
    assert ten.log_gb_per_day == pytest.approx(10 * one.log_gb_per_day)
    for name, cores in one.cores.items():
        assert ten.cores[name] == pytest.approx(10 * cores)


def test_a_deployment_carries_its_demand() -> None:
    for chats in VOLUMES:
        wanted = demand(chats, MEASURED, USUAL)
        found = deployment(wanted, MEASURED, USUAL)
        for name in ("orchestrator", "transport", "persistence"):
            assert found.processes[name] * USUAL.utilisation >= wanted.cores[name]
        room = found.processes["transport"] * USUAL.transport_ram_gb * USUAL.utilisation
        assert room >= wanted.socket_ram_gb
        assert min(found.processes.values()) >= 2


def test_nothing_breaks_at_no_load_and_the_worst_is_named_first() -> None:
    nothing = demand(1, MEASURED, USUAL)
    assert breaks_first(loads_of_the_smallest(nothing, MEASURED, USUAL)) == []
    assert breaks_first({"a": 1.5, "b": 3.0, "c": 1.0}) == ["b", "a"]


def test_a_cost_that_doubles_doubles_the_load_of_its_service_alone() -> None:
    costs = dict(MEASURED.cpu_ms_per_turn)
    dearer = replace(MEASURED, cpu_ms_per_turn=costs | {"metrics": 2 * costs["metrics"]})
    chats = VOLUMES[1]
    before = loads_of_the_smallest(demand(chats, MEASURED, USUAL), MEASURED, USUAL)
    after = loads_of_the_smallest(demand(chats, dearer, USUAL), dearer, USUAL)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"metrics"}
    assert after["metrics"] == pytest.approx(2 * before["metrics"])


def test_events_are_spread_over_as_many_streams_as_there_can_be() -> None:
    assert [spread(n) for n in (0.1, 1, 1.1, 3, 9, 100)] == [1, 1, 2, 4, 16, 16]
