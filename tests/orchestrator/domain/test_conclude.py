"""The events that the outcome of a turn appends, how a chat fails, and what is pending."""

from dataclasses import replace

import pytest

from contracts.events.chat import ChatCancelled, ChatCompleted, ChatFailed
from contracts.events.turn import SpeakerSelected, TurnCompleted, TurnFailed, VariablesChanged
from services.orchestrator.domain.chat_failures import GIVEN_UP, fail
from services.orchestrator.domain.decisions import conclude
from services.orchestrator.domain.state import RunTurn, pending
from services.orchestrator.domain.turn_steps import Completed, Failed, Outcome, Suspended
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
FAILED = Failed("CALL_LIMIT", "too many calls")


def test_a_completed_turn_is_followed_by_the_next_speaker() -> None:
    assert WRITING.when(Completed("A draft.", None)) == [
        TurnCompleted(turn=1, agent=WRITER, text="A draft."),
        SpeakerSelected(turn=2, agent=EDITOR, by="after_work"),
    ]


def test_the_last_turn_completes_the_chat() -> None:
    editing = given(STARTED, speaks(), done(), speaks(EDITOR, 2, "after_work"))
    assert editing.when(Completed("A text.", None))[-1] == ChatCompleted(
        reason="terminate", turns=2
    )


def test_a_suspended_turn_appends_nothing() -> None:
    assert WRITING.when(Suspended()) == []


def test_a_failed_turn_fails_the_chat() -> None:
    assert WRITING.when(FAILED) == [
        TurnFailed(turn=1, agent=WRITER, code="CALL_LIMIT", message="too many calls"),
        ChatFailed(code="CALL_LIMIT", message="too many calls"),
    ]


@pytest.mark.parametrize("outcome", [Completed("late", None), FAILED, Suspended()])
@pytest.mark.parametrize(
    "over",
    [
        WRITING.then(ChatCancelled(user_id=ANA)),
        given(STARTED),
        given(),
    ],
    ids=["cancelled", "no open turn", "not started"],
)
def test_an_outcome_that_comes_too_late_changes_nothing(outcome: Outcome, over: Story) -> None:
    assert over.when(outcome) == []


def test_a_turn_ends_and_the_chat_fails_if_the_workflow_is_not_available() -> None:
    completed, failed = conclude(Completed("A draft.", None), WRITING.state, None)
    assert isinstance(completed, TurnCompleted)
    assert isinstance(failed, ChatFailed)


def test_a_failure_in_the_users_turn_fails_no_turn() -> None:
    listening = given(STARTED, speaks(), done(), listens(2)).state
    assert [event.type for event in fail(GIVEN_UP, listening)] == ["chat.failed"]


@pytest.mark.parametrize(
    "story",
    [given(), WRITING.then(ChatCancelled(user_id=ANA))],
    ids=["not started", "cancelled"],
)
def test_only_a_running_chat_can_fail(story: Story) -> None:
    assert fail(GIVEN_UP, story.state) == []


def test_a_chat_fails_once() -> None:
    assert fail(FAILED, WRITING.then(*fail(FAILED, WRITING.state)).state) == []


PENDING = {
    "a turn just begun": WRITING,
    "a model call in flight": WRITING.then(says("")),
    "a tool is running": WRITING.then(calls("work")),
    "one tool asks, one runs": WRITING.then(calls("ask", "work"), asked()),
    "the question is answered": WRITING.then(calls("ask"), asked(), answered()),
    "a tool returned": WRITING.then(calls("ask"), asked(), answered(), returns()),
    "two asked, one is answered": WRITING.then(
        calls("ask", "ask"), asked(1), asked(2), answered("red", 2)
    ),
    "a message was sent during the turn": WRITING.then(calls("work"), say("Hi")),
}
QUIET = {
    "not started": given(),
    "it is the user's turn": given(STARTED, speaks(), done(), listens(2)),
    "a question waits": WRITING.then(calls("ask"), asked()),
    "both questions wait": WRITING.then(calls("ask", "ask"), asked(1), asked(2)),
    "one returned, one asks": WRITING.then(calls("ask", "work"), asked(), returns(2)),
    "a second question of one call waits": WRITING.then(
        calls("ask"), asked(), answered(), asked(1, 1)
    ),
    "a message was sent during the turn while a question waits": WRITING.then(
        calls("ask"), asked(), say("Hi")
    ),
    "cancelled": WRITING.then(ChatCancelled(user_id=ANA)),
    "completed": WRITING.then(done(), ChatCompleted(reason="terminate", turns=1)),
}


@pytest.mark.parametrize("story", PENDING.values(), ids=PENDING.keys())
def test_the_agents_turn_is_pending_when(story: Story) -> None:
    assert pending(story.state) == RunTurn(1)


@pytest.mark.parametrize("story", QUIET.values(), ids=QUIET.keys())
def test_nothing_is_pending_when(story: Story) -> None:
    assert pending(story.state) is None


def test_a_started_chat_is_pending_at_once() -> None:
    assert pending(given().under(NEWSROOM).then(start()).state) == RunTurn(1)


TEXT_TRIGGERS = {
    "equals": (TextTrigger("said", WRITER, equals="DONE"), ["DONE", " DONE\n"], ["done", "DONE."]),
    "contains": (TextTrigger("said", WRITER, contains="DONE"), ["It is DONE."], ["It is done."]),
    "a regex": (TextTrigger("said", WRITER, regex="^no \\d+"), ["no 12"], ["number 12"]),
    "a reply of another agent": (TextTrigger("said", EDITOR, equals="DONE"), [], ["DONE"]),
}


@pytest.mark.parametrize(
    ("trigger", "matching", "other"), TEXT_TRIGGERS.values(), ids=TEXT_TRIGGERS.keys()
)
def test_a_reply_of_an_agent_sets_a_variable_before_the_turn_is_completed(
    trigger: TextTrigger, matching: list[str], other: list[str]
) -> None:
    story = WRITING.under(replace(NEWSROOM, triggers=(trigger,)))
    for text in matching:
        changed, completed, *_ = story.when(Completed(text, None))
        assert changed == VariablesChanged(turn=1, agent=WRITER, changed={"said": True})
        assert isinstance(completed, TurnCompleted)
    for text in other:
        assert isinstance(story.when(Completed(text, None))[0], TurnCompleted)


def test_a_variable_that_a_reply_sets_decides_who_follows() -> None:
    rule = Rule(TERMINATE, parse("${phase} == 'over'"))
    writer = replace(NEWSROOM.agents[WRITER], after_work_if=(rule,))
    workflow = replace(
        NEWSROOM,
        agents={**NEWSROOM.agents, WRITER: writer},
        triggers=(TextTrigger("phase", WRITER, "over", contains="DONE"),),
    )
    story = WRITING.under(workflow)
    assert story.when(Completed("DONE", None))[-1].type == "chat.completed"
    assert story.when(Completed("Not yet", None))[-1].type == "turn.speaker_selected"
