"""A peer is gone once nobody has subscribed for it to consecutive probes over the grace."""

import pytest

from services.chassis.consumers.peers import (
    FORGIVE_SECONDS,
    GRACE_SECONDS,
    MAX_GRACE_SECONDS,
    SILENT_SECONDS,
    PeerTable,
)

LATER = 1.01 * GRACE_SECONDS


def table_of(own: str, *others: str, now: float = 0.0) -> PeerTable:
    table = PeerTable(own)
    for other in others:
        table.heard(other, now)
    return table


def lose(table: PeerTable, process: str, now: float) -> float:
    """Two probes that nobody receives; the time after the second, by which the process is gone."""
    assert not table.absent(process, 1, now, now)
    later = now + 1.01 * table.grace(now)
    assert table.absent(process, 2, later, later)
    return later


def test_a_process_is_no_peer_of_itself() -> None:
    assert table_of("a", "a").members == frozenset()


@pytest.mark.parametrize(
    ("own", "probed"), [("a", ["b", "c"]), ("b", ["c", "d"]), ("c", ["a", "d"]), ("d", ["a", "b"])]
)
def test_each_process_probes_the_next_two_in_the_order_of_ids(own: str, probed: list[str]) -> None:
    assert table_of(own, *"abcd").targets(0) == probed


def test_of_two_processes_each_probes_the_other() -> None:
    assert table_of("a", "b").targets(0) == ["b"]
    assert table_of("b", "a").targets(0) == ["a"]
    assert table_of("a").targets(0) == []


def test_a_peer_without_a_subscriber_for_the_grace_is_gone() -> None:
    table = table_of("a", "b")
    assert not table.absent("b", 1, 0, 0)
    assert table.is_suspicious
    assert not table.absent("b", 2, GRACE_SECONDS / 2, GRACE_SECONDS / 2)
    assert table.absent("b", 3, LATER, LATER)
    assert table.members == frozenset()
    assert not table.absent("b", 4, 9, 9)


def test_only_consecutive_probes_count() -> None:
    table = table_of("a", "b")
    assert not table.absent("b", 1, 0, 0)
    assert not table.absent("b", 3, LATER, LATER)
    assert not table.absent("b", 4, LATER + 0.1, LATER + 0.1)
    table.drop_unconfirmed(5)
    assert not table.is_suspicious
    assert not table.absent("b", 6, 3 * LATER, 3 * LATER)
    assert table.members == {"b"}


def test_the_grace_lies_between_an_answer_and_the_sending_of_a_later_probe() -> None:
    """A process that was itself blocked sees several old answers at once."""
    table = table_of("a", "b")
    assert not table.absent("b", 1, 0, 10)
    assert not table.absent("b", 2, LATER, 10)
    assert table.members == {"b"}


def test_after_an_outage_of_its_own_a_process_counts_from_anew() -> None:
    table = table_of("a", "b")
    assert not table.absent("b", 1, 0, 0)
    table.reset()
    assert not table.absent("b", 2, LATER, LATER)


def test_a_peer_that_comes_back_doubles_the_grace_for_a_while() -> None:
    table, now = table_of("a", "b"), 0.0
    graces = []
    for _ in range(5):
        now = lose(table, "b", now)
        table.heard("b", now)
        graces.append(table.grace(now))
    assert graces == [0.6, 1.2, 2.4, MAX_GRACE_SECONDS, MAX_GRACE_SECONDS]
    assert table.grace(now + FORGIVE_SECONDS + 1) == GRACE_SECONDS


def test_a_peer_that_is_silent_is_forgotten_without_being_gone() -> None:
    table = table_of("a", "b", "c")
    table.heard("c", SILENT_SECONDS)
    assert table.targets(SILENT_SECONDS + 1) == ["c"]
    table.heard("b", SILENT_SECONDS + 2)
    assert table.grace(SILENT_SECONDS + 2) == GRACE_SECONDS


def test_whoever_does_not_answer_is_probed_too() -> None:
    table = table_of("a", "b", "c", "d")
    table.suspect(frozenset({"d", "stranger"}))
    assert table.targets(0) == ["b", "c", "d"]
    table.suspect(frozenset())
    assert table.targets(0) == ["b", "c"]
