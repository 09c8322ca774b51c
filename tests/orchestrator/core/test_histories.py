"""Recorded chats (see tests/orchestrator/recording.py) read as on the day they were recorded."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from contracts.codec import Fact, decode, encode, open_event
from services.orchestrator.projection import messages
from services.orchestrator.state import RunTurn, pending, replay

FILES = sorted((Path(__file__).parents[1] / "histories").glob("*.json"))


class History(NamedTuple):
    facts: list[Fact]
    known: dict[str, Any]


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def history(request: pytest.FixtureRequest) -> History:
    told = json.loads(request.param.read_text())
    envelopes = [decode(json.dumps(one).encode()) for one in told["envelopes"]]
    return History([Fact(one, open_event(one)) for one in envelopes], told["known"])


def test_there_are_histories() -> None:
    assert len(FILES) >= 2


def test_a_recorded_chat_says_what_it_said(history: History) -> None:
    state = replay(history.facts)
    known = history.known
    assert messages(state) == known["messages"]
    assert dict(state.variables) == known["variables"]
    assert state.ended == known["ended"]
    assert (state.turns, state.agent_turns) == (known["turns"], known["agent_turns"])


def test_after_each_event_the_same_turn_is_pending(history: History) -> None:
    for cut, turn in enumerate(history.known["pending"], 1):
        effect = pending(replay(history.facts[:cut]))
        assert effect == (None if turn is None else RunTurn(turn)), f"after event {cut}"


def test_a_recorded_chat_can_be_cut_anywhere(history: History) -> None:
    whole = replay(history.facts)
    for cut in range(len(history.facts)):
        assert replay(history.facts[cut:], replay(history.facts[:cut])) == whole


def test_a_recorded_envelope_is_written_as_it_was_read(history: History) -> None:
    for fact in history.facts:
        assert decode(encode(fact.envelope)) == fact.envelope


def test_seq_is_contiguous_from_one(history: History) -> None:
    assert [f.envelope.seq for f in history.facts] == list(range(1, len(history.facts) + 1))
