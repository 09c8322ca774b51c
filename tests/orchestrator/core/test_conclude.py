"""What the outcome of a turn makes true, how a chat fails, and what it still waits for from us."""

from dataclasses import replace

import pytest

from contracts.events.chat import ChatCancelled, ChatCompleted, ChatFailed
from contracts.events.turn import SpeakerSelected, TurnCompleted, TurnFailed, VariablesChanged
from services.orchestrator.decisions import GIVEN_UP, conclude, fail
from services.orchestrator.state import RunTurn, pending
from services.orchestrator.turns import Broke, Outcome, Spoke, Waits
from services.orchestrator.workflows.expressions import parse
from services.orchestrator.workflows.spec import TERMINATE, Rule, TextTrigger
from tests.story import (
    ANA,
    EDITOR,
    NEWSROOM,
    STARTED,
    WRITER,
    Story,
    answered,
    asked,
    calls,
    done,
    given,
    listens,
    returns,
    say,
    says,
    speaks,
    start,
)

WRITING = given(STARTED, speaks())
BROKE = Broke("CALL_LIMIT", "too many calls")


def test_a_turn_that_spoke_is_completed_and_followed() -> None:
    assert WRITING.when(Spoke("A draft.", None)) == [
        TurnCompleted(turn=1, agent=WRITER, text="A draft."),
        SpeakerSelected(turn=2, agent=EDITOR, by="after_work"),
    ]


def test_the_last_turn_completes_the_chat() -> None:
    editing = given(STARTED, speaks(), done(), speaks(EDITOR, 2, "after_work"))
    assert editing.when(Spoke("A text.", None))[-1] == ChatCompleted(reason="terminate", turns=2)


def test_a_turn_that_waits_makes_nothing_true() -> None:
    assert WRITING.when(Waits()) == []


def test_a_turn_that_broke_fails_the_chat_and_is_to_blame() -> None:
    assert WRITING.when(BROKE) == [
        TurnFailed(turn=1, agent=WRITER, code="CALL_LIMIT", message="too many calls"),
        ChatFailed(code="CALL_LIMIT", message="too many calls"),
    ]


@pytest.mark.parametrize("outcome", [Spoke("late", None), BROKE, Waits()])
@pytest.mark.parametrize(
    "over",
    [
        WRITING.then(ChatCancelled(user_id=ANA)),
        given(STARTED),
        given(),
    ],
    ids=["cancelled", "nobody speaks", "never began"],
)
def test_an_outcome_that_comes_too_late_changes_nothing(outcome: Outcome, over: Story) -> None:
    assert over.when(outcome) == []


def test_a_turn_whose_workflow_is_gone_ends_with_the_chat() -> None:
    completed, failed = conclude(Spoke("A draft.", None), WRITING.state, None)
    assert isinstance(completed, TurnCompleted)
    assert isinstance(failed, ChatFailed)


def test_a_failure_in_the_persons_turn_blames_no_agent() -> None:
    listening = given(STARTED, speaks(), done(), listens(2)).state
    assert [event.type for event in fail(GIVEN_UP, listening)] == ["chat.failed"]


@pytest.mark.parametrize(
    "story",
    [given(), WRITING.then(ChatCancelled(user_id=ANA))],
    ids=["never began", "cancelled"],
)
def test_only_a_chat_that_goes_on_can_fail(story: Story) -> None:
    assert fail(GIVEN_UP, story.state) == []


def test_a_chat_fails_once() -> None:
    assert fail(BROKE, WRITING.then(*fail(BROKE, WRITING.state)).state) == []


PENDING = {
    "a turn just begun": WRITING,
    "a model call in flight": WRITING.then(says("")),
    "a tool at work": WRITING.then(calls("work")),
    "one asks, one works": WRITING.then(calls("ask", "work"), asked()),
    "the question is answered": WRITING.then(calls("ask"), asked(), answered()),
    "a tool returned": WRITING.then(calls("ask"), asked(), answered(), returns()),
    "two asked, one is answered": WRITING.then(
        calls("ask", "ask"), asked(1), asked(2), answered("red", 2)
    ),
    "a message was thrown in": WRITING.then(calls("work"), say("Hi")),
}
QUIET = {
    "never began": given(),
    "it is the person's turn": given(STARTED, speaks(), done(), listens(2)),
    "a question waits": WRITING.then(calls("ask"), asked()),
    "both questions wait": WRITING.then(calls("ask", "ask"), asked(1), asked(2)),
    "one returned, one asks": WRITING.then(calls("ask", "work"), asked(), returns(2)),
    "a second question of one call waits": WRITING.then(
        calls("ask"), asked(), answered(), asked(1, 1)
    ),
    "a message was thrown in while a question waits": WRITING.then(
        calls("ask"), asked(), say("Hi")
    ),
    "cancelled": WRITING.then(ChatCancelled(user_id=ANA)),
    "completed": WRITING.then(done(), ChatCompleted(reason="terminate", turns=1)),
}


@pytest.mark.parametrize("story", PENDING.values(), ids=PENDING.keys())
def test_the_agents_turn_is_ours_to_run_when(story: Story) -> None:
    assert pending(story.state) == RunTurn(1)


@pytest.mark.parametrize("story", QUIET.values(), ids=QUIET.keys())
def test_nothing_is_ours_to_do_when(story: Story) -> None:
    assert pending(story.state) is None


def test_a_started_chat_is_pending_at_once() -> None:
    assert pending(given().under(NEWSROOM).then(start()).state) == RunTurn(1)


SAYS_SO = {
    "equals": (TextTrigger("said", WRITER, equals="DONE"), ["DONE", " DONE\n"], ["done", "DONE."]),
    "contains": (TextTrigger("said", WRITER, contains="DONE"), ["It is DONE."], ["It is done."]),
    "a regex": (TextTrigger("said", WRITER, regex="^no \\d+"), ["no 12"], ["number 12"]),
    "another's words": (TextTrigger("said", EDITOR, equals="DONE"), [], ["DONE"]),
}


@pytest.mark.parametrize(("trigger", "met", "missed"), SAYS_SO.values(), ids=SAYS_SO.keys())
def test_an_agents_words_set_a_variable_before_its_turn_ends(
    trigger: TextTrigger, met: list[str], missed: list[str]
) -> None:
    story = WRITING.under(replace(NEWSROOM, triggers=(trigger,)))
    for text in met:
        changed, completed, *_ = story.when(Spoke(text, None))
        assert changed == VariablesChanged(turn=1, agent=WRITER, changed={"said": True})
        assert isinstance(completed, TurnCompleted)
    for text in missed:
        assert isinstance(story.when(Spoke(text, None))[0], TurnCompleted)


def test_what_an_agents_words_set_decides_who_follows() -> None:
    rule = Rule(TERMINATE, parse("${phase} == 'over'"))
    writer = replace(NEWSROOM.agents[WRITER], after_work_if=(rule,))
    workflow = replace(
        NEWSROOM,
        agents={**NEWSROOM.agents, WRITER: writer},
        triggers=(TextTrigger("phase", WRITER, "over", contains="DONE"),),
    )
    story = WRITING.under(workflow)
    assert story.when(Spoke("DONE", None))[-1].type == "chat.completed"
    assert story.when(Spoke("Not yet", None))[-1].type == "turn.speaker_selected"
