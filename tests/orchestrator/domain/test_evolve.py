"""The state after each event; folding a history in two parts gives the same state."""

from dataclasses import replace

import pytest

from contracts.events import Event
from contracts.events.budget import BudgetWarned
from contracts.events.business import BusinessLogged
from contracts.events.chat import ChatCancelled, ChatCompleted, ChatFailed
from contracts.events.turn import TurnFailed, UsageRecorded
from services.orchestrator.domain.evolution import evolve, replay
from services.orchestrator.domain.state import ChatState
from services.orchestrator.domain.turn import UserInput
from tests.story import (
    ANA,
    EDITOR,
    NEWSROOM,
    STARTED,
    WRITER,
    answered,
    asked,
    calls,
    done,
    given,
    heard,
    listens,
    returns,
    say,
    says,
    speaks,
)

LONG = given(
    STARTED,
    speaks(),
    calls("ask", "work"),
    asked(),
    heard("Hurry up"),
    returns(2),
    answered(),
    returns(1),
    says("A draft.", call=1),
    done("A draft."),
    listens(2),
    say("Better!"),
    says("A better draft.", turn=3),
    done("A better draft.", turn=3),
    speaks(EDITOR, 4, "after_work"),
    says("Fine.", turn=4, agent=EDITOR),
    done("Fine.", turn=4, agent=EDITOR),
    ChatCompleted(reason="terminate", turns=3),
)


@pytest.mark.parametrize("cut", range(len(LONG.facts) + 1))
def test_folding_a_history_in_two_parts_gives_the_same_state(cut: int) -> None:
    first, second = LONG.facts[:cut], LONG.facts[cut:]
    assert replay(second, replay(first)) == LONG.state


def test_folding_does_not_change_the_state_before() -> None:
    before = given(STARTED, speaks(), calls("ask"), asked()).state
    evolve(before, LONG.facts[-1])
    assert before == given(STARTED, speaks(), calls("ask"), asked()).state


def test_the_state_of_a_conversation() -> None:
    state = LONG.state
    assert state.ended == "completed"
    assert state.open_turn is None
    assert (state.turns, state.agent_turns) == (4, 3)
    assert state.last_speaker == EDITOR
    assert state.seq == len(LONG.facts)
    assert state.workflow == NEWSROOM.name
    said = [line.text for line in state.conversation]
    assert said == ["A draft.", "Hurry up", "Better!", "A better draft.", "Fine."]


def test_a_message_during_a_turn_is_added_at_the_end_of_the_turn() -> None:
    story = given(STARTED, speaks(), heard("Hurry up"))
    assert story.state.conversation == ()
    ended = story.then(done())
    assert ended.state.conversation[-1] == UserInput("Hurry up")


def test_events_for_other_services_change_only_the_sequence() -> None:
    before = given(STARTED, speaks())
    warned = BudgetWarned(scope="user", unit="tokens", period="day", used=8, soft=8)
    after = before.then(BusinessLogged(log_event_type="X", message="x"), warned)
    assert replace(after.state, seq=before.state.seq) == before.state


def test_the_newest_usage_is_known_by_its_number_and_its_runner() -> None:
    used = [UsageRecorded(turn=1, call=call, agent=WRITER, duration=1.0) for call in (0, 1)]
    story = given(STARTED, speaks()).then(*used)
    assert (story.state.usage.number, story.state.usage.event) == (2, used[1])
    assert story.state.usage.runner == story.facts[-1].envelope.runner


def test_a_failed_turn_is_closed() -> None:
    failed = TurnFailed(turn=1, agent=WRITER, code="X", message="x")
    state = given(STARTED, speaks(), failed).state
    assert state.open_turn is None
    assert state.ended is None


@pytest.mark.parametrize(
    ("ending", "known"),
    [
        (ChatCompleted(reason="terminate", turns=0), "completed"),
        (ChatFailed(code="X", message="x"), "failed"),
        (ChatCancelled(user_id=ANA), "cancelled"),
    ],
)
def test_a_chat_ends_in_one_of_three_ways_without_an_open_turn(
    ending: ChatCompleted | ChatFailed | ChatCancelled, known: str
) -> None:
    state = given(STARTED, speaks(), ending).state
    assert (state.ended, state.open_turn) == (known, None)


@pytest.mark.parametrize("stray", [says(""), asked(), answered(), done(), returns()])
def test_an_event_without_an_open_turn_changes_only_the_sequence(stray: Event) -> None:
    before = given(STARTED)
    after = before.then(stray)
    known = before.state
    assert replace(after.state, seq=known.seq, shown=known.shown, points=known.points) == known


def test_a_chat_without_events_has_the_initial_state() -> None:
    assert replay([]) == ChatState()
    assert not ChatState().started
