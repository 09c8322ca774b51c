"""The archive's lines become the log's messages again, and damage is found."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.ids import AppId, ChatKey, Seq, StreamSeq
from services.persistence.domain.archive import decisions, read_chain
from services.persistence.store.interface import ArchivedEvent, ArchiveRecord
from tests import logs
from tests.persistence.story import KEY, archived_events, decisions_of, hello, interview

LINES = [
    ArchiveRecord(one.envelope.seq, one.position, one.data)
    for one in archived_events(decisions_of(interview()))
]


def test_undamaged_records_are_a_chain_to_the_end() -> None:
    found = read_chain(KEY, LINES)
    assert (len(found.events), found.damage) == (18, "")
    assert found.head == decisions_of(interview())[-1].head


DAMAGE: dict[str, tuple[Callable[[list[ArchiveRecord]], list[ArchiveRecord]], int, str]] = {
    "missing": (lambda lines: lines[:6] + lines[7:], 6, "event 7 is missing"),
    "first missing": (lambda lines: lines[1:], 0, "event 1 is missing"),
    "cut bytes": (
        lambda lines: [*lines[:6], lines[6]._replace(data=lines[6].data[:-1]), *lines[7:]],
        6,
        "event 7: no event envelope",
    ),
    "altered, and still an event": (
        lambda lines: [
            *lines[:6],
            lines[6]._replace(data=lines[6].data.replace(b"Water", b"water")),
            *lines[7:],
        ],
        7,
        "event 8: previous is not the digest of event 7",
    ),
    "another event's bytes": (
        lambda lines: [*lines[:6], lines[6]._replace(data=lines[5].data), *lines[7:]],
        6,
        "event 7: is event 6 of another place",
    ),
    "nothing in it": (lambda lines: [lines[0]._replace(data=b"")], 0, "event 1: no event envelope"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_ends_the_chain_and_is_named(kind: str) -> None:
    damage, whole, said = DAMAGE[kind]
    found = read_chain(KEY, damage(LINES))
    assert len(found.events) == whole
    assert found.damage.startswith(said)


def test_another_chats_events_are_no_part_of_a_chain() -> None:
    assert read_chain(ChatKey(AppId("other"), KEY.chat), LINES).damage.endswith("of another place")


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_events_are_grouped_into_the_messages_that_held_them(sizes: list[int]) -> None:
    history = hello() * 4
    groups = [history[sum(sizes[:n]) : sum(sizes[: n + 1])] for n in range(len(sizes))]
    wanted = logs.decisions(groups, KEY)
    events = [
        ArchivedEvent(one, StreamSeq(place * 10))
        for place, decision in enumerate(wanted, 1)
        for one in decision.events
    ]
    found = decisions(events)
    assert [one.data for one in found] == [one.data for one in wanted]
    assert [one.headers for one in found] == [one.headers for one in wanted]
    assert found[0].first.seq == Seq(1)
