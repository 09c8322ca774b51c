"""What a client has received is passed on once and in order, wherever its connections end."""

from itertools import accumulate
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from contracts.wire.frames import PrintData
from mozaiks_client.frames import Frame, parse
from mozaiks_client.position import Position


def text(seq: int, content: str) -> Frame:
    data = f'{{"kind":"text","agent":"Planner","role":"assistant","content":"{content}"}}'
    return parse(f'{{"type":"chat.text","data":{data},"seq":{seq}}}')


def printed(offset: int, content: str, runner: str = "r1") -> Frame:
    data = PrintData(agent="Planner", content=content, turn=1, call=0, offset=offset, runner=runner)
    return Frame(type="chat.print", data=data)


def content(frame: Frame | None) -> Any:
    return None if frame is None else getattr(frame.data, "content", None)


@given(
    sizes=st.lists(st.integers(0, 3), min_size=1, max_size=12),
    cuts=st.lists(st.integers(0, 20), max_size=8),
)
def test_no_frame_is_lost_or_doubled_however_connections_are_cut(
    sizes: list[int], cuts: list[int]
) -> None:
    log = [text(seq, f"{seq}-{n}") for seq, size in enumerate(sizes, 1) for n in range(size)]
    position, received = Position(), []
    for cut in [*cuts, None]:
        position.connected()
        on_connection = [frame for frame in log if (frame.seq or 0) > position.after]
        received += [new for frame in on_connection[:cut] if (new := position.take(frame))]
    assert received == log


def test_a_stream_that_begins_after_a_cursor_has_nothing_before_it() -> None:
    position = Position(after=2)
    assert [position.take(text(seq, "x")) is None for seq in (1, 2, 3)] == [True, True, False]


def test_frames_that_belong_to_no_event_pass() -> None:
    meta = parse('{"type": "chat_meta", "data": {"new": true}, "seq": null}')
    assert Position(after=9).take(meta) == meta


@given(
    chunks=st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=8),
    again=st.integers(0, 8),
)
def test_streamed_text_that_comes_again_is_cut_to_what_is_new(
    chunks: list[str], again: int
) -> None:
    position, whole = Position(), "".join(chunks)
    ends = [0, *accumulate(map(len, chunks))]
    heard = [content(position.take(printed(o, c))) for o, c in zip(ends, chunks, strict=False)][
        :again
    ]
    position = Position()
    for offset, chunk in list(zip(ends, chunks, strict=False))[:again]:
        position.take(printed(offset, chunk))
    position.connected()
    heard.append(content(position.take(printed(0, whole))) or "")
    assert "".join(heard) == whole


def test_another_attempt_begins_the_text_anew() -> None:
    position = Position()
    position.take(printed(0, "A pla", "r1"))
    again = position.take(printed(0, "A plan", "r2"))
    assert content(again) == "A plan"
