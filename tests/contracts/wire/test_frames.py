"""The models of frames say exactly what the golden files show."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from contracts.wire.frames import FRAMES, FrameData, of_type

GOLDEN = Path(__file__).parents[2] / "transport" / "golden"
ENVELOPE = {"type", "data", "timestamp", "agent", "seq"}


def golden_frames() -> list[dict[str, Any]]:
    files = [json.loads(file.read_text()) for file in sorted(GOLDEN.glob("*.json"))]
    return [frame for one in files for frame in (*one["cursor"], *one["chat_ui"])]


def test_every_golden_frame_fits_exactly_one_model_to_the_last_member() -> None:
    for frame in golden_frames():
        (data,) = [data for data in of_type(frame["type"]) if _fits(data, frame["data"])]
        beside = set(frame) - ENVELOPE
        assert beside == set(data.promoted) & set(frame["data"])
        assert all(frame[name] == frame["data"][name] for name in beside)


def _fits(data: type[FrameData], found: dict[str, Any]) -> bool:
    try:
        return data.model_validate(found).model_dump(mode="json") == found
    except ValueError:
        return False


@pytest.mark.parametrize("data", FRAMES, ids=lambda data: data.__name__)
def test_every_model_describes_itself_and_promotes_what_it_has(data: type[FrameData]) -> None:
    assert data.__doc__
    assert set(data.promoted) <= set(data.model_fields)


def test_frames_of_one_type_are_told_apart_by_their_members() -> None:
    by_type = defaultdict(list)
    for data in FRAMES:
        by_type[data.frame_type].append(frozenset(data.model_fields))
    assert all(len(set(fields)) == len(fields) for fields in by_type.values())
