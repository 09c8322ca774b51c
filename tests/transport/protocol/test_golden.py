"""Every event type has a golden file of its frames, and ChatUI can show all of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.events import EVENT_TYPES, Event
from contracts.wire.frames import FRAMES
from services.transport.protocol import event_to_frames
from services.transport.protocol.event_to_frames import Viewer
from services.transport.protocol.frame_encoding import encode
from tests.transport.chat_ui import IGNORED, SHOWN, Page, holes
from tests.transport.story import sealed, stored_event, view_after

GOLDEN = Path(__file__).parents[1] / "golden"
CURSOR, CHAT_UI = Viewer(), Viewer(has_cursor=False)

Json = dict[str, Any]


def golden(kind: str) -> Json:
    read: Json = json.loads((GOLDEN / f"{kind}.json").read_text())
    return read


def event(told: Json) -> Event:
    return EVENT_TYPES[told["type"]].model_validate(told["body"])


def frames(told: Json, viewer: Viewer, *, history: bool = False) -> list[Json]:
    """The encoded frames of a golden event."""
    facts = sealed(*map(event, [*told["before"], told["event"]]))
    view = view_after(facts)
    last = stored_event(facts[-1])
    frames = (event_to_frames.map_history if history else event_to_frames.map_event)(
        viewer, last, view
    )
    return [json.loads(encode(frame)) for frame in frames]


def test_every_event_type_has_a_golden_file() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == set(EVENT_TYPES)


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_the_frames_of_an_event_equal_its_golden_file(kind: str) -> None:
    told = golden(kind)
    assert told["event"]["type"] == kind
    assert frames(told, CURSOR) == told["cursor"]
    assert frames(told, CHAT_UI) == told["chat_ui"]


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_a_replay_has_the_same_frames_with_an_index_instead_of_seq(kind: str) -> None:
    told = golden(kind)
    assert frames(told, CHAT_UI, history=True) == [replayed(frame) for frame in told["chat_ui"]]


def replayed(frame: Json) -> Json:
    mark = {"replay": True, "index": frame["seq"]}
    left = {name: value for name, value in frame.items() if name != "seq"}
    return {**left, **mark, "data": {**frame["data"], **mark}}


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_no_frame_lacks_a_field_that_chat_ui_reads(kind: str) -> None:
    page, told = Page(), golden(kind)
    for frame in told["chat_ui"]:
        page.show(frame)
    for frame in told["cursor"]:
        assert holes(frame) == []


def test_a_missing_field_is_detected() -> None:
    (frame,) = golden("turn.speaker_selected")["chat_ui"]
    whole = holes(frame)
    torn = {**frame, "data": {}, "selected_speaker": None, "agent": None}
    assert (whole, holes(torn)) == ([], ["agent", "selected_speaker"])


def test_chat_ui_handles_every_frame_type() -> None:
    types = {data.frame_type for data in FRAMES}
    cases = {kind.removeprefix("chat.") for kind in types if kind.startswith("chat.")}
    only_for_tails = {"history"}  # ChatUI does not ask for a tail
    assert cases - set(SHOWN) - IGNORED == only_for_tails
    assert {"text", "mode_changed", "navigate", "attachment_uploaded"} <= cases
