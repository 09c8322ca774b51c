"""The reader of Server-Sent Events."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.agents.models.wire.sse import SseDecoder, SseEvent

STREAM = (
    ": keep-alive\n\n"
    'id: 7\ndata: {"a": "😀"}\n\n'
    "event: error\r\ndata:first\r\ndata: second\r\n\r\n"
    "retry: 3\rdata: é\r\r"
    "\n\n:\n"
    "data: [DONE]"
).encode()
EVENTS = [
    SseEvent("", '{"a": "😀"}'.encode()),
    SseEvent("error", b"first\nsecond"),
    SseEvent("", "é".encode()),
    SseEvent("", b"[DONE]"),
]


def decoded(*pieces: bytes) -> list[SseEvent]:
    decoder = SseDecoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return [*events, *decoder.finish()]


def pieces_at(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(st.lists(st.integers(0, len(STREAM))))
def test_a_stream_is_read_the_same_however_it_is_cut(cuts: list[int]) -> None:
    assert decoded(*pieces_at(STREAM, cuts)) == EVENTS


def test_a_stream_is_read_byte_by_byte() -> None:
    assert decoded(*(bytes([byte]) for byte in STREAM)) == EVENTS


@given(
    st.lists(st.lists(st.binary().filter(lambda line: not set(line) & {10, 13}), min_size=1)),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.data(),
)
def test_every_event_is_read_back(
    events: list[list[bytes]], end: bytes, data: st.DataObject
) -> None:
    written = b"".join(
        b"".join(b"data: %s%s" % (line, end) for line in lines) + end for lines in events
    )
    cuts = data.draw(st.lists(st.integers(0, len(written))))
    read = decoded(*pieces_at(written, cuts))
    assert read == [SseEvent("", b"\n".join(lines)) for lines in events]


def test_an_event_is_read_as_soon_as_it_is_complete() -> None:
    for end in (b"\n\n", b"\r\n\r\n", b"\r\r"):
        assert SseDecoder().feed(b"data: now" + end) == [SseEvent("", b"now")]


@pytest.mark.parametrize("text", [b'{"error": 1}', b'{\n  "error":\n  1\n}\n', b"<html>\n</html>"])
def test_a_document_that_is_no_event_stream_is_kept(text: bytes) -> None:
    decoder = SseDecoder()
    assert [*decoder.feed(text[:3]), *decoder.feed(text[3:]), *decoder.finish()] == []
    assert decoder.other == text.strip()


def test_the_name_of_an_event_is_not_that_of_the_next() -> None:
    assert decoded(b"event: ping\n\ndata: a\n\n") == [SseEvent("", b"a")]
