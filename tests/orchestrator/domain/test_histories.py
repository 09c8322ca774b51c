"""Recorded chats (see tests/orchestrator/record_histories.py) are read as they were recorded."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from contracts.codec import Fact, decode, encode, open_event
from contracts.transcript import transcript
from services.orchestrator.domain.evolution import replay
from services.orchestrator.domain.state import RunTurn, pending

FILES = sorted((Path(__file__).parents[1] / "histories").glob("*.json"))


class History(NamedTuple):
    facts: list[Fact]
    known: dict[str, Any]


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def history(request: pytest.FixtureRequest) -> History:
    told = json.loads(request.param.read_text())
    envelopes = [decode(json.dumps(one).encode()) for one in told["envelopes"]]
    return History([Fact(one, open_event(one)) for one in envelopes], told["known"])


def test_recorded_histories_exist() -> None:
    assert len(FILES) >= 2


def test_a_recorded_chat_has_its_recorded_transcript(history: History) -> None:
    state = replay(history.facts)
    known = history.known
    messages = transcript(fact.event for fact in history.facts)
    assert [message.to_ag2() for message in messages] == known["messages"]
    assert dict(state.variables) == known["variables"]
    assert state.ended == known["ended"]
    assert (state.turns, state.agent_turns) == (known["turns"], known["agent_turns"])


def test_after_each_event_the_same_turn_is_pending(history: History) -> None:
    for cut, turn in enumerate(history.known["pending"], 1):
        effect = pending(replay(history.facts[:cut]))
        assert effect == (None if turn is None else RunTurn(turn)), f"after event {cut}"


def test_a_recorded_chat_can_be_folded_in_two_parts(history: History) -> None:
    whole = replay(history.facts)
    for cut in range(len(history.facts)):
        assert replay(history.facts[cut:], replay(history.facts[:cut])) == whole


def test_a_recorded_envelope_is_encoded_as_it_was_stored(history: History) -> None:
    for fact in history.facts:
        assert decode(encode(fact.envelope)) == fact.envelope


def test_seq_is_contiguous_from_one(history: History) -> None:
    assert [f.envelope.seq for f in history.facts] == list(range(1, len(history.facts) + 1))
