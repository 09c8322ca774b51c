"""A chat as a timeline, and two chats side by side: of the golden logs of the first release."""

from datetime import timedelta
from pathlib import Path

import pytest

from contracts.chat_comparison import compare, turns_of
from contracts.codec import Fact
from contracts.event_log import read_event
from contracts.events import Event
from contracts.events.turn import ModelWait, ToolReturned, TurnFailed
from contracts.timeline import TimelineEntry, timeline_of
from tests.logs import BEGAN, decisions, stored
from tests.transport.story import (
    DONE,
    KEY,
    PLANNER,
    REQUESTED,
    RESPONDED,
    SELECTED,
    STARTED,
    USED,
    user_message,
)

CHATS = Path("tests/golden_logs/releases/0.1/chats")
NAMES = sorted(one.name for one in CHATS.iterdir())


def facts(name: str) -> list[Fact]:
    lines = (CHATS / name / "events.jsonl").read_bytes().splitlines()
    return [fact for line in lines if (fact := read_event(line).fact) is not None]


def of_kind(entries: list[TimelineEntry], kind: str) -> list[TimelineEntry]:
    return [one for one in entries if one.kind == kind]


@pytest.mark.parametrize("name", NAMES)
def test_entries_begin_in_order_and_those_of_a_chat_that_has_ended_are_over(name: str) -> None:
    entries = timeline_of(facts(name))
    assert [one.seq for one in entries] == sorted(one.seq for one in entries)
    assert entries[0].kind == "start"
    if of_kind(entries, "end"):
        assert all(one.ended_at is not None for one in entries)


def test_model_calls_have_model_tokens_and_outcome() -> None:
    calls = of_kind(timeline_of(facts("helpdesk")), "model_call")
    assert {one.name for one in calls} == {"demo-model"}
    assert {one.outcome for one in calls} == {"stop", "tool_calls"}
    assert all(one.prompt_tokens for one in calls)


def test_tools_and_questions_say_how_they_ended_and_nothing_that_was_said() -> None:
    entries = timeline_of(facts("refused"))
    tools = {one.name: one.outcome for one in of_kind(entries, "tool_call")}
    assert tools["charge"] == "refused"
    assert tools["engrave"] == "error"
    questions = of_kind(entries, "question")
    assert [one.name for one in questions] == [
        "question",
        "approval of charge",
        "approval of charge",
    ]
    assert {one.outcome for one in questions} == {"answered by ana"}
    assert "shelf" not in str(entries)


def test_waits_for_a_provider_are_below_their_model_call_whether_it_was_answered_or_not() -> None:
    waits = [
        ModelWait(
            code="MODEL_RATE_LIMITED", seconds=2, until=BEGAN + timedelta(seconds=5), attempt=2
        ),
        ModelWait(code="MODEL_FAILED", seconds=4, until=BEGAN + timedelta(seconds=9), attempt=3),
    ]
    failed = TurnFailed(turn=1, agent=PLANNER, code="MODEL_FAILED", message="no", waits=waits)
    chat: list[Event] = [STARTED, SELECTED, REQUESTED, user_message("Are you there?")]
    answered: list[Event] = [RESPONDED, USED.model_copy(update={"waits": waits}), DONE]
    for ending in (answered, [failed]):
        entries = timeline_of(
            one.fact for one in stored(decisions([*chat, ending], KEY)) if one.fact is not None
        )
        kinds = [one.kind for one in entries]
        assert kinds == ["start", "turn", "model_call", *["provider_wait"] * 2, "message"]
        assert {one.seq for one in entries[2:5]} == {3}
        shown = [(one.name, one.attempt, one.ended_at) for one in of_kind(entries, "provider_wait")]
        assert shown == [(one.code, one.attempt, one.until) for one in waits]
        assert of_kind(entries, "provider_wait")[0].started_at == BEGAN + timedelta(seconds=3)
        assert all(one.ended_at for one in entries)


def test_a_stopped_turn_ends_with_its_model_call() -> None:
    entries = timeline_of(facts("stopped"))
    assert of_kind(entries, "turn")[0].outcome == "stopped by stop"
    assert of_kind(entries, "model_call")[0].outcome == "stopped by stop"
    assert [one.name for one in of_kind(entries, "stop")] == ["stop", "cancel"]


def test_a_takeover_is_an_entry() -> None:
    assert of_kind(timeline_of(facts("killed")), "takeover")


def test_a_chat_does_not_differ_from_itself() -> None:
    chat = facts("helpdesk")
    found = compare(chat, chat)
    assert found.first_difference is None
    assert found.shared_events == len(chat)
    assert [pair.left for pair in found.pairs] == turns_of(chat)


def test_the_first_turn_that_differs_is_named_with_what_differs() -> None:
    chat = facts("helpdesk")
    other = [_with_refusal(fact) for fact in chat]
    found = compare(chat, other)
    assert found.first_difference == 4
    pair = found.pairs[4]
    assert pair.differs_in == ["tools"]
    assert pair.left is not None
    assert pair.right is not None
    assert (pair.left.tools, pair.right.tools) == (
        ["find_invoice({}) → ok"],
        ["find_invoice({}) → refused"],
    )


def _with_refusal(fact: Fact) -> Fact:
    event = fact.event
    if isinstance(event, ToolReturned) and event.name == "find_invoice":
        event = event.model_copy(update={"status": "refused"})
    return Fact(fact.envelope, event)


def test_turns_that_one_chat_does_not_have_differ() -> None:
    chat = facts("helpdesk")
    found = compare(chat, chat[:8])
    assert found.shared_events == 8
    assert found.pairs[-1].right is None
    assert found.first_difference is not None


def test_what_was_rewound_does_not_count_also_of_a_turn_that_is_left() -> None:
    chat = facts("retried")
    turns = turns_of(chat)
    assert [one.turn for one in turns] == [0, 1, 2, 3]
    assert turns[1].outcome is None, "the failure of the turn was rewound"
    assert turns[3].messages == [], "the messages that were sent at this place were rewound"
    edited = turns_of(chat[:-1])
    assert [one.messages for one in edited[3:]] == [["and a lamp"], [], []]
