from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.live import TextStreamed
from services.transport.speech import Call, MissedTextError, Speech, hear, heard_of, unheard
from tests.transport.story import chunk

FIRST = Call(1, 0)


def heard(*chunks: TextStreamed) -> Speech | None:
    speech: Speech | None = None
    for one in chunks:
        speech = hear(speech, one)
    return speech


def text(speech: Speech | None) -> str:
    return "" if speech is None else speech.text


def test_chunks_add_up_and_a_repeated_one_changes_nothing() -> None:
    speech = heard(chunk(0, "Once "), chunk(5, "upon"), chunk(0, "Once "), chunk(5, "upon"))
    assert text(speech) == "Once upon"


def test_an_overlapping_chunk_adds_only_its_end() -> None:
    assert text(heard(chunk(0, "Once "), chunk(3, "e upon"))) == "Once upon"


def test_a_hole_is_noticed() -> None:
    with pytest.raises(MissedTextError):
        heard(chunk(0, "Once "), chunk(9, "a time"))
    with pytest.raises(MissedTextError):
        heard(chunk(5, "upon"))


def test_another_runner_begins_again_and_the_first_is_heard_no_more() -> None:
    speech = heard(chunk(0, "Once "), chunk(0, "Twice", "r2"), chunk(5, "upon"))
    assert text(speech) == "Twice"


def test_a_later_call_replaces_an_earlier_one() -> None:
    assert text(heard(chunk(0, "Once "), chunk(0, "Then", call=1), chunk(5, "upon"))) == "Then"


def test_what_was_streamed_of_one_call_is_found_among_all() -> None:
    chunks = [chunk(0, "Once "), chunk(0, "Then", call=1), chunk(5, "upon"), chunk(30, "lost")]
    assert text(heard_of(FIRST, chunks)) == "Once upon"


def test_a_restart_is_told_from_the_start() -> None:
    told = unheard(heard(chunk(0, "Once upon")), heard(chunk(0, "Once"), chunk(0, "T", "r2")))
    assert told is not None
    assert (told.offset, told.text, told.runner) == (0, "T", "r2")


@given(st.text(max_size=60), st.lists(st.integers(0, 60)), st.integers(0, 60))
def test_whoever_joins_anywhere_hears_all_and_nothing_twice(
    words: str, cuts: list[int], joined: int
) -> None:
    places = sorted({0, len(words), *(cut for cut in cuts if cut < len(words))})
    chunks = [chunk(a, words[a:b]) for a, b in pairwise(places)] or [chunk(0, "")]
    shown, before = "", None
    for number, _ in enumerate(chunks[joined % len(chunks) :], start=joined % len(chunks)):
        now = heard(*chunks[: number + 1])
        told = unheard(before, now)
        if told is not None:
            assert told.offset == len(shown)
            shown, before = shown + told.text, now
    assert shown == words
