import json
from pathlib import Path

import pytest

import contracts
from contracts.codec import decode, open_event
from contracts.events import EVENT_TYPES
from contracts.events.parts import Tokens
from contracts.events.turn import UsageRecorded
from contracts.upcasts import STEPS, upcast

EXAMPLES = Path(contracts.__path__[0]) / "examples"


def test_each_older_version_has_its_step_and_no_step_leads_nowhere() -> None:
    wanted = {
        (kind, version) for kind, body in EVENT_TYPES.items() for version in range(1, body.version)
    }
    assert set(STEPS) == wanted


def test_usage_of_the_first_version_opens_as_the_second() -> None:
    stored = decode((EXAMPLES / "turn.usage_recorded.v1.json").read_bytes())
    assert stored.version == 1
    opened = open_event(stored)
    assert isinstance(opened, UsageRecorded)
    assert opened.tokens == Tokens(prompt=212, completion=31, total=243)
    assert (opened.agent, opened.duration) == ("Interviewer", 0.84)


def test_counts_that_the_first_version_lacked_stay_unknown() -> None:
    first = {"turn": 1, "call": 0, "agent": "Interviewer", "duration": 0.5}
    body = upcast("turn.usage_recorded", 1, first, current=2)
    assert UsageRecorded.model_validate(body).tokens == Tokens()


def test_a_step_leaves_the_stored_body_as_it_was() -> None:
    stored = json.loads((EXAMPLES / "turn.usage_recorded.v1.json").read_text())["body"]
    before = json.dumps(stored)
    upcast("turn.usage_recorded", 1, stored, current=2)
    assert json.dumps(stored) == before


def test_a_current_body_passes_unchanged() -> None:
    body = {"reason": "terminate", "turns": 1}
    assert upcast("chat.completed", 1, body, current=1) is body


def test_a_missing_step_is_an_error() -> None:
    with pytest.raises(KeyError):
        upcast("chat.completed", 1, {}, current=2)
