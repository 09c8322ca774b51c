"""Every type of event has a file that says how it looks, and ChatUI can show all of it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from contracts.events import EVENT_TYPES, Event
from services import transport
from services.transport import feed
from services.transport.chatview import begin, see
from services.transport.feed import Seen, Viewer
from services.transport.frames import encode
from tests.transport.chat_ui import IGNORED, SHOWN, Page, holes
from tests.transport.story import sealed

GOLDEN = Path(__file__).parent / "golden"
CURSOR, CHAT_UI = Viewer(), Viewer(has_cursor=False)

Json = dict[str, Any]


def golden(kind: str) -> Json:
    read: Json = json.loads((GOLDEN / f"{kind}.json").read_text())
    return read


def event(told: Json) -> Event:
    return EVENT_TYPES[told["type"]].model_validate(told["body"])


def frames(told: Json, viewer: Viewer, *, past: bool = False) -> list[Json]:
    """The frames of a golden event, as they leave."""
    facts = sealed(*map(event, [*told["before"], told["event"]]))
    view = begin(facts[0])
    assert view is not None
    for fact in facts[1:]:
        view = see(view, fact)
    last = Seen(facts[-1].envelope, facts[-1].event)
    shown = (feed.of_history if past else feed.of_event)(viewer, last, view)
    return [json.loads(encode(frame)) for frame in shown]


def test_every_type_of_event_has_its_file() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == set(EVENT_TYPES)


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_an_event_looks_as_its_file_says(kind: str) -> None:
    told = golden(kind)
    assert told["event"]["type"] == kind
    assert frames(told, CURSOR) == told["cursor"]
    assert frames(told, CHAT_UI) == told["chat_ui"]


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_a_replay_shows_the_same_with_an_index_in_the_place_of_its_seq(kind: str) -> None:
    told = golden(kind)
    assert frames(told, CHAT_UI, past=True) == [replayed(frame) for frame in told["chat_ui"]]


def replayed(frame: Json) -> Json:
    mark = {"replay": True, "index": frame["seq"]}
    left = {name: value for name, value in frame.items() if name != "seq"}
    return {**left, **mark, "data": {**frame["data"], **mark}}


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_chat_ui_shows_no_hole_in_any_frame(kind: str) -> None:
    page, told = Page(), golden(kind)
    for frame in told["chat_ui"]:
        page.show(frame)
    for frame in told["cursor"]:
        assert holes(frame) == []


def test_a_hole_is_seen() -> None:
    (frame,) = golden("turn.speaker_selected")["chat_ui"]
    whole = holes(frame)
    torn = {**frame, "data": {}, "selected_speaker": None, "agent": None}
    assert (whole, holes(torn)) == ([], ["agent", "selected_speaker"])


def spoken() -> set[str]:
    """Every type of frame that the transport's own text names."""
    inbound = {"inbound.py"}
    modules = [one for one in Path(transport.__path__[0]).glob("*.py") if one.name not in inbound]
    named = re.compile(r'"((?:chat\.|ack\.|artifact\.)[a-z_.]+|chat_meta)"')
    return {kind for module in modules for kind in named.findall(module.read_text())}


def test_chat_ui_has_a_case_for_every_frame_that_it_would_look_at() -> None:
    cases = {kind.removeprefix("chat.") for kind in spoken() if kind.startswith("chat.")}
    assert cases - set(SHOWN) - IGNORED == set()
    assert {"text", "mode_changed", "navigate", "attachment_uploaded"} <= cases
