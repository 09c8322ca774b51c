import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.event_streams import (
    NAMES,
    ONE_STREAM,
    ORIGIN_KEY,
    ORIGIN_LAST_KEY,
    SPREADS,
    EventStreams,
    first_slot,
    metadata_of,
    origin_in,
    slot_of,
    spread_over,
    streams_in,
)
from contracts.ids import AppId, ChatId, ChatKey, StreamSeq
from contracts.subjects import ALL_SLOTS, EVENTS, event, slot

COUNTS = st.sampled_from(SPREADS)


@given(COUNTS)
def test_every_slot_has_one_stream_and_every_stream_as_many_slots(count: int) -> None:
    streams = spread_over(count)
    held = [one for name in streams.names for one in streams.slots(name)]
    assert held == list(ALL_SLOTS)
    assert {len(streams.slots(name)) for name in streams.names} == {len(ALL_SLOTS) // count}
    assert all(streams.slots(name)[0] == f"{first_slot(name):02}" for name in streams.names)


def test_four_streams_are_called_by_their_first_slots() -> None:
    assert spread_over(4).names == ("EVENTS", "EVENTS_16", "EVENTS_32", "EVENTS_48")
    assert spread_over(4).subjects("EVENTS_48")[:2] == ["mozaiks.evt.48.>", "mozaiks.evt.49.>"]
    assert spread_over(16).names == NAMES


def test_one_stream_catches_every_event() -> None:
    assert spread_over(1) == ONE_STREAM
    assert ONE_STREAM.subjects(EVENTS) == ["mozaiks.evt.>"]


@given(COUNTS, st.integers(0, 9), st.integers(0, 999))
def test_the_event_of_a_chat_is_held_by_the_stream_of_its_slot(
    count: int, app: int, chat: int
) -> None:
    key, streams = ChatKey(AppId(f"app.{app}"), ChatId(f"chat {chat}")), spread_over(count)
    subject = event(key, "runtime")
    assert slot_of(subject) == slot(key)
    assert [name for name in streams.names if streams.holds(name, subject)] == [
        streams.holder(slot(key))
    ]


@pytest.mark.parametrize("subject", ["", "mozaiks", "mozaiks.evt.foreign", "mozaiks.evt.99.a.b"])
def test_what_has_no_slot_is_taken_for_the_first_stream(subject: str) -> None:
    assert spread_over(4).holder(slot_of(subject)) == EVENTS


@pytest.mark.parametrize("count", [0, 3, 5, 32, 64])
def test_other_numbers_of_streams_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"not {count}"):
        spread_over(count)


@given(COUNTS, COUNTS)
def test_moves_lead_to_the_wanted_streams_and_keep_those_that_there_are(
    one: int, other: int
) -> None:
    found, wanted = spread_over(min(one, other)), spread_over(max(one, other))
    moves = found.moves_to(wanted)
    assert set(found.names) | {move.target for move in moves} == set(wanted.names)
    assert all(found.holder(slot) == move.origin for move in moves for slot in move.slots)


@given(COUNTS, st.integers(0, 16))
def test_slots_are_held_by_their_old_stream_until_a_mirror_of_it_takes_over(
    count: int, taken_over: int
) -> None:
    targets = spread_over(count).names[1:]
    mirrors = frozenset(targets[taken_over:])
    streams = EventStreams(spread_over(count).names, frozenset(targets), mirrors)
    for slot_, target in ((slot_, spread_over(count).holder(slot_)) for slot_ in ALL_SLOTS):
        assert streams.holder(slot_) == (EVENTS if target in mirrors else target)
        assert set(streams.holders(slot_)) == {EVENTS, target}
    assert set(streams.active) == set(streams.names) - mirrors


@given(COUNTS)
def test_streams_are_read_from_the_metadata_that_was_written_of_them(count: int) -> None:
    streams = spread_over(count)
    assert streams_in(metadata_of(streams)) == streams
    targets = frozenset(streams.names[1:])
    moving = EventStreams(streams.names, targets, targets)
    assert streams_in(metadata_of(moving)) == moving
    assert moving.settled == ONE_STREAM.names


@given(COUNTS)
def test_whoever_reads_one_stream_takes_it_for_all(count: int) -> None:
    streams = spread_over(count)
    assert {streams.followed([EVENTS]).holder(one) for one in ALL_SLOTS} == {EVENTS}
    whole = streams.followed(streams.names)
    assert all(whole.holder(one) == streams.holder(one) for one in ALL_SLOTS)


def test_metadata_that_somebody_else_wrote_names_no_other_streams() -> None:
    assert streams_in({"mozaiks-event-streams": "EVENTS_16,COMMANDS,EVENTS_99"}).names == (
        "EVENTS",
        "EVENTS_16",
    )
    assert origin_in({ORIGIN_KEY: "EVENTS", ORIGIN_LAST_KEY: "many"}) is None


@pytest.mark.parametrize(("read", "mark"), [(3, 3), (7, 7), (9, 7)])
def test_a_reader_goes_on_in_a_new_stream_after_what_it_has_read_of_the_old_one(
    read: int, mark: int
) -> None:
    origin = origin_in({ORIGIN_KEY: "EVENTS", ORIGIN_LAST_KEY: "7"})
    assert origin is not None
    assert origin.mark_of(StreamSeq(read)) == mark
