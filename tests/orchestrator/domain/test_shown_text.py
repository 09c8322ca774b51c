"""Text that was shown and has no response: which of it is not in the log yet, in which pieces."""

import json

from hypothesis import given as with_values
from hypothesis import strategies as st

from contracts.deltas import TextStreamed
from contracts.events.turn import ModelRequested, TextInterrupted
from contracts.ids import RunnerId
from contracts.streamed_text import CallId
from services.orchestrator.domain.shown_text import (
    MAX_PIECE_CHARS,
    ShownText,
    chunks_of_call,
    interruptions,
)
from services.orchestrator.domain.turn import Turn
from tests.story import STARTED, WRITER, given, says, speaks

FIRST, SECOND = RunnerId("a:1:1"), RunnerId("a:1:1.1")


def requested(call: int = 0) -> ModelRequested:
    return ModelRequested(turn=1, call=call, agent=WRITER, prompt=[], digest="d")


def chunk(text: str, offset: int, runner: RunnerId = FIRST, call: int = 0) -> TextStreamed:
    return TextStreamed(turn=1, call=call, agent=WRITER, runner=runner, offset=offset, text=text)


def turn(*more: TextInterrupted) -> Turn:
    opened = given(STARTED, speaks(), requested(), *more).state.open_turn
    assert opened is not None
    return opened


def texts(events: list[TextInterrupted]) -> dict[RunnerId, str]:
    found: dict[RunnerId, str] = {}
    for one in events:
        assert len(found.get(one.runner, "")) == one.offset
        found[one.runner] = found.get(one.runner, "") + one.text
    return found


@with_values(st.lists(st.text(min_size=1), min_size=1), st.integers(0, 3))
def test_what_is_kept_is_what_was_streamed_however_it_was_read_back(
    words: list[str], doubled: int
) -> None:
    whole, chunks = "", []
    for word in words:
        chunks.append(chunk(word, len(whole)))
        whole += word
    stored = [*chunks, *chunks[:doubled]]
    shown = ShownText()
    for one in chunks_of_call(CallId(1, 0), stored):
        shown.add(one)
    assert texts(interruptions(turn(), shown.of(1, 0), "runner_lost")) == {FIRST: whole}


def test_text_after_a_missing_chunk_was_not_shown() -> None:
    (found,) = chunks_of_call(CallId(1, 0), [chunk("Rain", 0), chunk("falls", 5)])
    assert found.text == "Rain"


def test_each_attempt_is_kept_and_text_of_other_calls_is_not() -> None:
    stored = [chunk("Never", 0), chunk("At", 0, SECOND), chunk("Other", 0, call=1)]
    assert [(one.runner, one.text) for one in chunks_of_call(CallId(1, 0), stored)] == [
        (FIRST, "Never"),
        (SECOND, "At"),
    ]


def test_what_is_in_the_log_is_not_kept_again() -> None:
    kept = TextInterrupted(
        turn=1, call=0, agent=WRITER, runner=FIRST, text="Rai", reason="runner_lost"
    )
    (rest,) = interruptions(turn(kept), {FIRST: "Rain"}, "stopped")
    assert (rest.offset, rest.text) == (3, "n")
    assert interruptions(turn(kept), {FIRST: "Rai"}, "stopped") == []


def test_a_call_with_a_response_keeps_nothing() -> None:
    opened = given(STARTED, speaks(), requested(), says("Rain.")).state.open_turn
    assert opened is not None
    assert interruptions(opened, {FIRST: "Rain."}, "stopped") == []


def test_each_piece_of_a_large_text_fits_into_a_message() -> None:
    text = "\x01" * (3 * MAX_PIECE_CHARS + 1)
    pieces = interruptions(turn(), {FIRST: text}, "stopped")
    assert texts(pieces) == {FIRST: text}
    assert all(len(json.dumps(one.text)) < 500_000 for one in pieces)


def test_only_the_newest_call_is_remembered() -> None:
    shown = ShownText()
    for one in (chunk("Rain", 0), chunk("Snow", 0, call=1)):
        shown.add(one)
    assert (shown.of(1, 0), shown.of(1, 1)) == ({}, {FIRST: "Snow"})
