from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.deltas import TextStreamed
from contracts.streamed_text import (
    CallId,
    CallText,
    MissingTextError,
    TextPosition,
    advance,
    new_text,
    text_of_call,
)
from tests.transport.story import chunk

FIRST = CallId(1, 0)


def streamed_text(first: TextStreamed, *chunks: TextStreamed) -> CallText:
    streamed = CallText(first)
    for one in chunks:
        streamed.append(one)
    return streamed


def text(streamed: CallText | None) -> str:
    return "" if streamed is None else streamed.text


def test_chunks_are_appended_and_a_repeated_one_changes_nothing() -> None:
    streamed = streamed_text(
        chunk(0, "Once "), chunk(5, "upon"), chunk(0, "Once "), chunk(5, "upon")
    )
    assert text(streamed) == "Once upon"


def test_an_overlapping_chunk_adds_only_its_end() -> None:
    assert text(streamed_text(chunk(0, "Once "), chunk(3, "e upon"))) == "Once upon"


def test_a_gap_raises() -> None:
    with pytest.raises(MissingTextError):
        streamed_text(chunk(0, "Once "), chunk(9, "a time"))
    with pytest.raises(MissingTextError):
        streamed_text(chunk(5, "upon"))


def test_another_runner_restarts_the_text_and_the_first_is_ignored() -> None:
    streamed = streamed_text(chunk(0, "Once "), chunk(0, "Twice", "r2"), chunk(5, "upon"))
    assert text(streamed) == "Twice"


def test_a_later_call_replaces_an_earlier_one() -> None:
    assert (
        text(streamed_text(chunk(0, "Once "), chunk(0, "Then", call=1), chunk(5, "upon"))) == "Then"
    )


def test_the_text_of_one_call_is_collected_from_all_chunks() -> None:
    chunks = [chunk(0, "Once "), chunk(0, "Then", call=1), chunk(5, "upon"), chunk(30, "lost")]
    assert text(text_of_call(FIRST, chunks)) == "Once upon"


def test_a_restarted_text_is_sent_from_its_start() -> None:
    sent = streamed_text(chunk(0, "Once upon")).position
    chunk_ = streamed_text(chunk(0, "Once"), chunk(0, "T", "r2")).after(sent)
    assert chunk_ is not None
    assert (chunk_.offset, chunk_.text, chunk_.runner) == (0, "T", "r2")


@given(st.text(max_size=60), st.lists(st.integers(0, 60)), st.integers(0, 60))
def test_a_viewer_that_joins_anywhere_gets_all_text_once(
    text: str, cuts: list[int], joined: int
) -> None:
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    chunks = [chunk(a, text[a:b]) for a, b in pairwise(places)] or [chunk(0, "")]
    received = ""
    sent: TextPosition | None = None
    for number, _ in enumerate(chunks[joined % len(chunks) :], start=joined % len(chunks)):
        current = streamed_text(*chunks[: number + 1])
        chunk_ = current.after(sent)
        if chunk_ is not None:
            assert chunk_.offset == len(received)
            received, sent = received + chunk_.text, current.position
    assert received == text


@given(st.text(max_size=60), st.lists(st.integers(0, 60)), st.lists(st.integers(0, 60)))
def test_a_viewer_gets_all_text_once_however_its_chunks_overlap(
    text: str, starts: list[int], ends: list[int]
) -> None:
    cuts = sorted((min(a, b), max(a, b)) for a, b in zip(starts, ends, strict=False))
    received = ""
    sent: TextPosition | None = None
    for start, end in [(0, 0), *cuts, (0, len(text))]:
        one = chunk(start, text[start:end])
        try:
            after = advance(sent, one)
        except MissingTextError:
            continue
        if after is not sent:
            part = new_text(sent, after, one)
            assert part.offset == len(received)
            received, sent = received + part.text, after
    assert received == text


def test_a_chunk_that_is_new_as_a_whole_is_sent_as_it_is() -> None:
    before = streamed_text(chunk(0, "Once ")).position
    for one in (chunk(5, "upon"), chunk(0, "Twice", "r2"), chunk(0, "Then", call=1)):
        after = advance(before, one)
        assert new_text(before, after, one) is one
