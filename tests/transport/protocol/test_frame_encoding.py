import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from contracts import frozen
from contracts.ids import Seq
from services.transport.protocol import frame_encoding
from services.transport.protocol.frame_encoding import Frame, encode, with_time

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
FRAME = frame_encoding.error("no", "NOT_ALLOWED")


def test_a_frame_without_a_time_gets_one_which_it_keeps() -> None:
    frame = frame_encoding.error("no", "NOT_ALLOWED")
    timed = with_time(frame, lambda: NOON)
    assert timed.time == NOON
    assert with_time(frame, datetime.now) is timed
    assert with_time(timed, datetime.now) is timed
    assert frame.time is None


@pytest.mark.parametrize(
    "copy", [dataclasses.replace, frozen.replace], ids=["dataclasses", "frozen"]
)
def test_a_changed_copy_of_an_encoded_frame_is_encoded_anew(copy: Callable[..., Frame]) -> None:
    first = encode(FRAME)
    assert encode(FRAME) is first
    assert '"seq":7' in encode(copy(FRAME, seq=Seq(7)))
    assert encode(FRAME) is first
