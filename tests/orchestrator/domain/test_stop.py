"""Stopping the answer that is running: what is appended, and what the agents remember of it."""

from dataclasses import replace

import pytest

from contracts.events import Event
from contracts.events.chat import ChatCancelled, UserMessagesConsumed, WhileRunning
from contracts.events.human import QuestionExpired
from contracts.events.parts import TextPart, text_of
from contracts.events.turn import (
    SELECTOR,
    USER,
    InterruptionReason,
    ModelRequested,
    SpeakerSelected,
    TextInterrupted,
    ToolDispatched,
    ToolEffect,
    ToolInvoked,
    ToolReturned,
    TurnStopped,
    TurnStopRequested,
)
from contracts.ids import RunnerId, Seq
from contracts.transcript import transcript
from services.orchestrator.domain.agent_conversation import conversation_for, to_ag2
from services.orchestrator.domain.state import RunTurn, StopTurn, pending
from services.orchestrator.domain.stop_decisions import (
    NOT_BEGUN,
    STOPPED_CALL,
    STOPPED_IN_DOUBT,
    stop,
)
from services.orchestrator.domain.turn_steps import Completed, Failed
from tests.story import (
    ANA,
    CANCEL,
    EDITOR,
    NEWSROOM,
    STARTED,
    WRITER,
    Story,
    asked,
    calls,
    done,
    given,
    heard,
    listens,
    reply,
    returns,
    say,
    says,
    speaks,
    stop_answer,
)


def requested(turn: int = 1, call: int = 0, text: str = "") -> ModelRequested:
    parts = [TextPart(text=text)] if text else []
    return ModelRequested(
        turn=turn, call=call, agent=WRITER, prompt=["Write."], parts=[*parts], digest="d"
    )


def interrupted(
    text: str, reason: InterruptionReason = "stopped", call: int = 0, runner: str = "r"
) -> TextInterrupted:
    return TextInterrupted(
        turn=1, call=call, agent=WRITER, runner=RunnerId(runner), text=text, reason=reason
    )


def ended(story: Story, *shown: TextInterrupted) -> list[Event]:
    return stop(story.state, story.workflow, shown)


ANSWERING = given(STARTED, heard("Write."), speaks(), requested())
STOP = TurnStopRequested(turn=1, agent=WRITER, user_id=ANA, by="stop")
STOPPED = TurnStopped(turn=1, agent=WRITER, user_id=ANA, by="stop")
USERS_TURN = SpeakerSelected(turn=2, agent=USER, by="stopped")


def test_a_stop_asks_the_runner_of_the_turn_to_end_it() -> None:
    assert ANSWERING.when(stop_answer()) == [STOP]
    assert pending(ANSWERING.state) == RunTurn(1)
    assert pending(ANSWERING.then(stop_answer()).state) == StopTurn(1)


def test_a_stopped_turn_keeps_what_was_shown_and_gives_the_user_the_turn() -> None:
    stopping = ANSWERING.then(stop_answer())
    events = ended(stopping, interrupted("Rain fa"))
    assert events == [interrupted("Rain fa"), STOPPED, USERS_TURN]
    state = stopping.then(*events).state
    assert (state.waits_for_user, state.ended, pending(state)) == (True, None, None)


@pytest.mark.parametrize(
    "idle",
    [
        given(STARTED, speaks(), done(), listens(2)),
        given(STARTED, speaks(), done(), CANCEL),
        given(),
        ANSWERING.then(stop_answer(name="first")),
        ANSWERING.then(CANCEL),
    ],
    ids=["users turn", "ended", "not started", "stopped already", "being cancelled"],
)
def test_where_no_answer_runs_a_stop_does_nothing(idle: Story) -> None:
    assert idle.when(stop_answer()) == []
    assert ended(idle) == [] or idle.state.running_turn is not None


def test_a_stop_that_is_delivered_again_does_nothing_in_a_later_turn() -> None:
    stopping = ANSWERING.then(stop_answer())
    later = stopping.then(*ended(stopping), say("More"), requested(3))
    assert later.state.running_turn is not None
    assert later.when(stop_answer()) == []


def test_a_stop_of_an_earlier_answer_does_not_end_the_answer_to_a_later_message() -> None:
    later = given(STARTED, speaks(), done(), listens(2), say("More"), requested(3))
    assert later.when(stop_answer(turn=1)) == []
    assert later.when(stop_answer(turn=3)) != []


def test_a_stop_also_ends_the_next_agents_turn_of_the_same_answer() -> None:
    handed_over = given(STARTED, heard("Write."), speaks(), done(), speaks(EDITOR, 2, "handoff"))
    assert [event.type for event in handed_over.when(stop_answer(turn=1))] == [
        "turn.stop_requested"
    ]


def dispatched(number: int, effect: ToolEffect) -> ToolDispatched:
    return ToolDispatched(
        turn=1,
        call=0,
        agent=WRITER,
        tool_call_id=f"call-{number}",
        name="tool",
        idempotency_key=f"key-{number}",
        arguments_digest="d",
        effect=effect,
        attempt=1,
    )


def test_each_tool_call_that_has_not_returned_gets_a_result_that_says_what_is_known() -> None:
    working = given(
        STARTED,
        speaks(),
        requested(),
        calls("fetch", "look", "send", "wait"),
        dispatched(1, "read"),
        dispatched(2, "read"),
        dispatched(3, "once"),
        returns(1),
    )
    *results, stopped, users_turn = ended(working.then(stop_answer()))
    assert [stopped, users_turn] == [STOPPED, USERS_TURN]
    found = {
        one.name: (one.status, text_of(one.parts), one.resolved_by)
        for one in results
        if isinstance(one, ToolReturned)
    }
    assert found == {
        "look": ("error", STOPPED_CALL, None),
        "send": ("unknown", STOPPED_IN_DOUBT, "policy"),
        "wait": ("error", NOT_BEGUN, None),
    }


def test_a_call_of_the_runtime_gets_a_result_too() -> None:
    call = ToolInvoked(
        turn=1, agent=WRITER, tool_call_id="before_agent-0", name="load", occasion="before_agent"
    )
    (result, *_) = ended(given(STARTED, speaks(), call, stop_answer()))
    assert isinstance(result, ToolReturned)
    assert (result.tool_call_id, result.occasion) == ("before_agent-0", "before_agent")


def test_a_stop_closes_the_questions_of_the_turn() -> None:
    asking = given(STARTED, speaks(), requested(), calls("ask"), asked())
    assert pending(asking.state) is None
    stopping = asking.then(stop_answer())
    assert pending(stopping.state) == StopTurn(1)
    events = ended(stopping)
    assert QuestionExpired(question_id=asked().question_id) in events
    stopped = stopping.then(*events)
    assert stopped.when(reply("red")) == []
    assert stopped.state.waits_for_user


def test_an_outcome_that_comes_after_the_stop_has_no_effect() -> None:
    stopping = ANSWERING.then(stop_answer())
    for outcome in (Completed("A text.", None), Failed("TURN_FAILED", "broken")):
        assert stopping.when(outcome) == []


def test_a_selection_can_be_stopped() -> None:
    choosing = given(STARTED, speaks(SELECTOR, by="auto"))
    events = ended(choosing.then(stop_answer()))
    assert [event.type for event in events] == ["turn.stopped", "turn.speaker_selected"]
    assert choosing.then(stop_answer(), *events).state.waits_for_user


def test_a_message_that_waits_begins_the_turn_after_a_stop() -> None:
    waiting = ANSWERING.then(say("Shorter, please"), stop_answer())
    events = ended(waiting, interrupted("Rain"))
    assert [event.type for event in events] == [
        "turn.text_interrupted",
        "turn.stopped",
        "turn.speaker_selected",
        "chat.user_messages_consumed",
    ]
    state = waiting.then(*events).state
    assert state.open_turn is not None
    assert (state.open_turn.agent, state.open_turn.by, state.waiting) == (
        WRITER,
        "user_message",
        (),
    )


# -- cancelling -----------------------------------------------------------------------------------


def test_a_cancellation_while_text_may_be_shown_is_completed_by_the_runner() -> None:
    cancelling = ANSWERING.then(CANCEL)
    assert [fact.event.type for fact in cancelling.facts][-1] == "turn.stop_requested"
    shown = interrupted("Rain", "cancelled")
    assert ended(cancelling, shown) == [shown, ChatCancelled(user_id=ANA, reason="enough")]


def test_a_cancellation_overrules_a_stop() -> None:
    both = ANSWERING.then(stop_answer(), CANCEL)
    assert ended(both)[-1] == ChatCancelled(user_id=ANA, reason="enough")


# -- what is remembered ---------------------------------------------------------------------------


def after_stop(*shown: TextInterrupted, story: Story = ANSWERING) -> Story:
    stopping = story.then(stop_answer())
    return stopping.then(*ended(stopping, *shown))


def memory(story: Story, agent: str = WRITER) -> list[tuple[str, str | None]]:
    messages = to_ag2(conversation_for(story.state, type(WRITER)(agent), None))
    return [(one["role"], one["content"]) for one in messages]


def test_the_agent_remembers_the_words_that_the_user_saw_before_the_stop() -> None:
    story = after_stop(interrupted("Rain fa")).then(say("Snow, not rain"))
    assert memory(story)[-2:] == [("assistant", "Rain fa"), ("user", "Snow, not rain")]
    assert ("user", f"[{WRITER}]: Rain fa") in memory(story, EDITOR)


def test_pieces_of_a_text_are_remembered_as_one() -> None:
    pieces = interrupted("Rain "), replace_offset(interrupted("fa"), 5)
    assert ("assistant", "Rain fa") in memory(after_stop(*pieces).then(say("More")))


def replace_offset(event: TextInterrupted, offset: int) -> TextInterrupted:
    return event.model_copy(update={"offset": offset})


@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_a_blank_text_is_not_remembered(blank: str) -> None:
    shown = [interrupted(blank)] if blank else []
    assert memory(after_stop(*shown).then(say("More"))) == [("user", "Write."), ("user", "More")]


@pytest.mark.parametrize("reason", ["retried", "runner_lost", "failed"])
def test_the_text_of_an_attempt_that_is_made_again_is_not_remembered(
    reason: InterruptionReason,
) -> None:
    story = ANSWERING.then(interrupted("Never m", reason), says("At last."), done("At last."))
    assert "Never m" not in str(memory(story.then(listens(2), say("More"))))


def test_the_transcript_has_every_text_that_was_shown_and_says_why_it_ends() -> None:
    story = ANSWERING.then(interrupted("Never m", "retried"), says("At last."))
    assert [(m.content, m.interrupted) for m in transcript(f.event for f in story.facts)] == [
        ("Write.", None),
        ("Never m", "retried"),
        ("At last.", None),
    ]
    assert story.transcript[1] == {
        "role": "assistant",
        "name": WRITER,
        "content": "Never m",
        "interrupted": "retried",
    }


# -- messages while an answer is running ----------------------------------------------------------


def under(policy: WhileRunning) -> Story:
    return ANSWERING.under(replace(NEWSROOM, while_running=policy))


def test_a_message_that_interrupts_stops_the_answer_and_begins_a_new_turn() -> None:
    story = under("interrupt").then(say("Shorter"))
    assert [fact.event.type for fact in story.facts][-2:] == [
        "chat.user_message_received",
        "turn.stop_requested",
    ]
    events = ended(story, interrupted("Rain"))
    assert events[1] == TurnStopped(turn=1, agent=WRITER, user_id=ANA, by="message")
    assert isinstance(events[-1], UserMessagesConsumed)
    assert list(events[-1].messages) == [Seq(5)]


def test_a_message_is_refused_by_name_and_sent_again_is_refused_once() -> None:
    story = under("reject").then(say("Shorter"))
    refused = story.facts[-1].event
    assert (refused.type, refused.model_dump()["reason"]) == (
        "chat.user_message_refused",
        "answer_running",
    )
    assert story.when(say("Shorter")) == []
    assert ("user", "Shorter") not in memory(story)


@pytest.mark.parametrize("policy", ["queue", "steer", "interrupt", "reject"])
def test_a_message_in_the_users_turn_never_waits(policy: WhileRunning) -> None:
    story = given(STARTED, speaks(), done(), listens(2))
    (message, *_) = story.under(replace(NEWSROOM, while_running=policy)).when(say("More"))
    assert message == heard("More")


@pytest.mark.parametrize("policy", ["queue", "steer", "interrupt", "reject"])
def test_a_message_that_follows_a_stop_is_the_next_one(policy: WhileRunning) -> None:
    stopping = under(policy).then(stop_answer())
    story = stopping.then(say("Snow"))
    assert story.state.waiting != ()
    assert ended(story)[-1].type == "chat.user_messages_consumed"


def test_a_message_enters_the_turn_after_a_tool_and_is_remembered_there_once() -> None:
    story = (
        under("steer")
        .then(calls("fetch"), say("In French"), returns(1))
        .then(
            requested(call=1, text="In French"),
            UserMessagesConsumed(turn=1, agent=WRITER, call=1, messages=[Seq(6)]),
            says("La pluie.", call=1),
            done("La pluie."),
        )
    )
    assert story.state.waiting == ()
    assert memory(story)[1:5] == [
        ("assistant", None),
        ("tool", "done"),
        ("user", "In French"),
        ("assistant", "La pluie."),
    ]
    assert [text for _, text in memory(story)].count("In French") == 1
    assert memory(story, EDITOR)[:3] == [
        ("user", "Write."),
        ("user", "In French"),
        ("user", f"[{WRITER}]: La pluie."),
    ]
