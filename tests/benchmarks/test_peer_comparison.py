"""The side-by-side table: medians, the best peer, ratios and aims."""

from benchmarks.__main__ import acknowledgement
from benchmarks.peers.comparison import FLOOR, OURS, Comparison, PeerAim, Values, table
from benchmarks.peers.rows.long_chats import first_requests
from benchmarks.table import aligned

RATES: Values = {
    OURS: [30.0, 20.0, 25.0],
    "LangGraph": [20.0, 10.0, 12.5],
    "DBOS": [5.0, 5.0, 5.0],
    FLOOR: [90.0, 90.0, 90.0],
}


def rate(aim: PeerAim | None = None, values: Values = RATES) -> Comparison:
    return Comparison("turns", "turns/s", values, aim, more_is_better=True)


def cost(aim: PeerAim | None = None, values: Values = RATES) -> Comparison:
    return Comparison("CPU", "ms", values, aim)


def test_the_best_peer_is_never_the_one_that_stores_nothing() -> None:
    assert rate().best_peer == "LangGraph"
    assert cost().best_peer == "DBOS"


def test_the_ratio_is_the_median_of_repetitions_measured_one_after_the_other() -> None:
    assert rate().ratio == 2.0
    unpaired = {OURS: [30.0, 20.0, 25.0], "LangGraph": [10.0]}
    assert rate(values=unpaired).ratio == 2.5


def test_a_rate_reaches_its_aim_from_above_and_a_cost_from_below() -> None:
    assert rate(PeerAim(2.0)).met is True
    assert rate(PeerAim(2.1)).met is False
    assert cost(PeerAim(2.0, "LangGraph")).met is True
    assert cost(PeerAim(1.9, "LangGraph")).met is False


def test_a_limit_is_in_the_unit_of_its_row() -> None:
    assert cost(PeerAim(limit=25.0)).met is True
    assert cost(PeerAim(limit=24.0)).met is False
    assert rate(PeerAim(limit=25.0)).met is True


def test_both_ratio_and_limit_must_be_reached() -> None:
    assert cost(PeerAim(2.0, "LangGraph", limit=24.0)).met is False


def test_nothing_is_met_or_missed_where_the_peer_was_not_measured() -> None:
    row = cost(PeerAim(1.0, "Agno"))
    assert row.compared_with is None
    assert row.ratio is None
    assert row.met is None


def test_a_peer_that_cannot_do_it_has_an_empty_cell() -> None:
    rows = table(
        [rate(PeerAim(1.3), {OURS: [26.0], "LangGraph": [10.0]})], [OURS, "LangGraph", "DBOS"]
    )
    head, line = rows.splitlines()
    assert head.split()[:5] == ["measurement", "unit", OURS, "LangGraph", "DBOS"]
    assert line.split() == [
        "turns",
        "turns/s",
        "26.0",
        "10.0",
        "2.60x",
        ">=",
        "1.3x",
        "best",
        "peer",
        "yes",
    ]


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert aligned([("a", "1"), ("bcd", "234")], {1}) == "a      1\nbcd  234"


def test_an_acknowledgement_says_when_it_is_synced_to_disk() -> None:
    assert "is synced to disk (sync_interval: always)" in acknowledgement("always")
    assert "synced to disk later (sync_interval: 10s)" in acknowledgement("10s")
    assert "default of 2m" in acknowledgement(None)


def test_each_user_message_has_the_first_model_request_after_it() -> None:
    assert first_requests([1.0, 2.0], [0.5, 1.25, 1.5, 2.5, 2.75]) == [250.0, 500.0]
