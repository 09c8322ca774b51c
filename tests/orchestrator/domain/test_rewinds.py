"""Retry, edit and rewind: what they append, what is as it was, and what never happens twice."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given as for_any
from hypothesis import settings
from hypothesis import strategies as st

from contracts.codec import Fact
from contracts.commands import EditMessage, RetryAnswer, RewindChat
from contracts.events import Event
from contracts.events.chat import (
    AttachmentUploaded,
    ChatCancelled,
    ChatCompleted,
    ChatFailed,
    ChatRewound,
    RewindRefused,
    UserMessageReceived,
)
from contracts.events.run import RunClaimed
from contracts.events.turn import SELECTOR, SpeakerSelected, TurnFailed, VariablesChanged
from contracts.ids import AgentName, RunnerId, Seq
from contracts.rewinds import counts
from contracts.subjects import question
from services.orchestrator.domain.chat_failures import WORKFLOW_UNAVAILABLE, fail
from services.orchestrator.domain.evolution import replay
from services.orchestrator.domain.state import ChatState, RunTurn, pending
from services.orchestrator.domain.turn import Turn, UserInput
from services.orchestrator.domain.turn_steps import Completed, Failed
from services.orchestrator.workflows.spec import USER
from tests.story import (
    ANA,
    EDITOR,
    KEY,
    NEWSROOM,
    STARTED,
    WRITER,
    Story,
    asked,
    calls,
    given,
    order,
    reply,
    returns,
    say,
    says,
    sealed,
    speaks,
    start,
)

TALK = replace(
    NEWSROOM,
    agents={WRITER: replace(NEWSROOM.agents[WRITER], after_work=AgentName(USER))},
    human_in_the_loop=True,
    after_user=WRITER,
)
"""The writer and the user, in turn."""


def retry(story: Story, name: str = "again") -> RetryAnswer:
    return RetryAnswer(**order(name), seen_seq=story.state.seq)


def edit(story: Story, message: int, text: str, name: str = "edited") -> EditMessage:
    return EditMessage(**order(name), seen_seq=story.state.seq, message=Seq(message), text=text)


def back(story: Story, to_seq: int, name: str = "back") -> RewindChat:
    return RewindChat(**order(name), seen_seq=story.state.seq, to_seq=Seq(to_seq))


def replied(story: Story, text: str) -> Story:
    """The open turn has replied and is over, with what follows."""
    turn = story.state.open_turn
    assert turn is not None
    told = says(text, turn=turn.number, call=turn.next_call, agent=turn.agent)
    story = story.then(told)
    return story._told(story.when(Completed(text, None)), "turn")


def talked(*texts: str) -> Story:
    """A chat of the user and the writer, who answers everything."""
    story = Story(workflow=TALK).then(start(texts[0]))
    story = replied(story, f"re: {texts[0]}")
    for number, text in enumerate(texts[1:]):
        story = replied(story.then(say(text, f"say-{number}")), f"re: {text}")
    return story


def lines(state: ChatState) -> list[str]:
    """What models read of the conversation."""
    return [
        entry.text
        for entry in state.conversation
        if not isinstance(entry, Turn) or entry.agent != SELECTOR
    ]


def refusal(events: Sequence[Event]) -> str:
    [refused] = events
    assert isinstance(refused, RewindRefused)
    return refused.reason


def kinds(events: Sequence[Event]) -> list[str]:
    return [event.type for event in events]


EACH: dict[str, Any] = {
    "retry": retry,
    "edit": lambda story: edit(story, 2, "x"),
    "rewind": lambda story: back(story, 6),
}


# -- retry ----------------------------------------------------------------------------------------


def test_a_retry_drops_the_last_turn_and_selects_its_agent_again() -> None:
    story = talked("Hi", "More")
    events = story.when(retry(story))
    assert kinds(events) == ["chat.rewound", "turn.speaker_selected"]
    again = story.then(retry(story))
    assert lines(again.state) == ["Hi", "re: Hi", "More"]
    assert pending(again.state) == RunTurn(5)
    assert events[-1] == SpeakerSelected(turn=5, agent=WRITER, by="user_message")


def test_a_turn_that_is_retried_twice_has_three_numbers() -> None:
    story = talked("Hi")
    first = replied(story.then(retry(story, "a")), "other")
    second = replied(first.then(retry(first, "b")), "third")
    turns = [one.number for one in second.state.conversation if isinstance(one, Turn)]
    assert lines(second.state) == ["Hi", "third"]
    assert turns == [5]
    assert second.state.agent_turns == 1


def test_a_failed_chat_waits_and_is_retried() -> None:
    story = Story(workflow=TALK).then(start("Hi"))
    failed = story._told(story.when(Failed("MODEL_REFUSED", "No quota.", "429 of Ana's key")), "x")
    assert failed.state.ended == "failed"
    assert not failed.state.has_ended
    assert pending(failed.state) is None
    again = failed.then(retry(failed))
    assert (again.state.ended, pending(again.state)) == (None, RunTurn(2))
    assert lines(again.state) == ["Hi"]


def test_the_cause_of_a_failure_has_a_detail_for_operators() -> None:
    story = Story(workflow=TALK).then(start("Hi"))
    failed = story.when(Failed("MODEL_REFUSED", "No quota.", "429 of Ana's key"))
    assert failed == [
        TurnFailed(
            turn=1,
            agent=WRITER,
            code="MODEL_REFUSED",
            message="No quota.",
            detail="429 of Ana's key",
        ),
        ChatFailed(code="MODEL_REFUSED", message="No quota."),
    ]


def test_a_failed_chat_goes_on_with_a_message() -> None:
    story = Story(workflow=TALK).then(start("Hi"))
    failed = story._told(story.when(Failed("X", "x")), "x")
    on = failed.then(say("And now?"))
    assert on.state.ended is None
    assert lines(on.state) == ["Hi", "", "And now?"]
    assert pending(on.state) == RunTurn(2)


def test_a_failed_chat_ends_where_its_workflow_says_so_and_can_still_be_retried() -> None:
    story = Story(workflow=replace(TALK, on_failure="end")).then(start("Hi"))
    failed = story._told(story.when(Failed("X", "x")), "x")
    assert failed.when(say("And now?")) == []
    assert pending(failed.then(retry(failed)).state) == RunTurn(2)


def test_messages_that_waited_for_a_turn_that_failed_are_read_by_the_next() -> None:
    story = Story(workflow=TALK).then(start("Hi"), say("wait", "queued"))
    failed = story._told(story.when(Failed("X", "x")), "x")
    assert failed.state.waiting == (4,)
    for on in (failed.then(say("more", "later")), failed.then(retry(failed))):
        assert on.state.waiting == ()
        assert "wait" in lines(on.state)


def test_a_retry_says_again_what_the_user_said_while_the_turn_was_running() -> None:
    story = Story(workflow=TALK).then(start("Hi"), say("by the way", "queued"))
    failed = story._told(story.when(Failed("X", "x")), "x")
    events = failed.when(retry(failed))
    assert UserMessageReceived(user_id=ANA, text="by the way") in events
    assert lines(failed.then(retry(failed)).state) == ["Hi", "by the way"]


def test_a_chat_that_failed_between_two_turns_selects_its_speaker_again() -> None:
    story = Story(workflow=None).then(start("Hi"))
    assert story.state.ended == "failed"
    again = replace(story, workflow=TALK).then(retry(story))
    assert pending(again.state) == RunTurn(1)


def test_a_chat_that_failed_in_an_earlier_release_is_retried() -> None:
    story = talked("Hi").then(say("More"))
    old: list[Event] = [
        TurnFailed(turn=3, agent=WRITER, code="X", message="x"),
        ChatFailed.model_validate({"code": "X", "message": "x"}),
    ]
    failed = story.then(*old)
    assert pending(failed.then(retry(failed)).state) == RunTurn(4)


@pytest.mark.parametrize(
    "ending",
    [ChatCompleted(reason="terminate", turns=2), ChatCancelled(user_id=ANA)],
    ids=lambda one: one.type,
)
def test_a_chat_that_has_ended_is_opened_again_by_a_retry(ending: Event) -> None:
    story = talked("Hi").then(ending)
    again = story.then(retry(story))
    assert (again.state.ended, pending(again.state)) == (None, RunTurn(3))


def test_there_is_nothing_to_retry_before_the_first_turn() -> None:
    story = Story(workflow=replace(TALK, startup_mode="UserDriven")).then(start())
    assert refusal(story.when(retry(story))) == "nothing_to_retry"


def test_calls_without_a_result_get_one_when_their_turn_fails() -> None:
    story = Story(workflow=TALK).then(start("Hi"), calls("pay"))
    failed = story.when(Failed("X", "x"))
    assert kinds(failed) == ["turn.tool_returned", "turn.failed", "chat.failed"]


# -- edit -----------------------------------------------------------------------------------------


def test_an_edit_replaces_a_message_and_drops_what_came_after_it() -> None:
    story = talked("Hi", "More", "Most")
    seq = next(one.envelope.seq for one in story.facts if text_of(one) == "More")
    edited = story.then(edit(story, seq, "Less"))
    assert lines(edited.state) == ["Hi", "re: Hi", "Less"]
    assert pending(edited.state) == RunTurn(7)


def text_of(fact: Fact) -> str | None:
    return fact.event.text if isinstance(fact.event, UserMessageReceived) else None


def test_the_first_message_can_be_edited_and_the_title_follows_it() -> None:
    story = talked("Hi", "More")
    edited = story.then(edit(story, 2, "Hello"))
    assert lines(edited.state) == ["Hello"]
    assert edited.state.shown is not None
    assert edited.state.shown.title == "Hello"


@pytest.mark.parametrize("message", [1, 3, 99])
def test_only_a_message_of_the_user_can_be_edited(message: int) -> None:
    story = talked("Hi")
    assert refusal(story.when(edit(story, message, "x"))) == "not_editable"


def test_a_message_that_was_sent_while_an_answer_was_running_cannot_be_edited() -> None:
    story = Story(workflow=TALK).then(start("Hi"), say("queued", "q"))
    story = replied(replied(story, "one"), "two")
    assert refusal(story.when(edit(story, 4, "x"))) == "not_editable"


# -- rewind ---------------------------------------------------------------------------------------


def test_a_rewind_takes_the_chat_back_to_where_it_waited() -> None:
    story = talked("Hi", "More", "Most")
    resting = talked("Hi").state
    rewound = story.then(back(story, resting.seq))
    assert comparable(rewound.state) == comparable(resting)
    assert pending(rewound.state) is None


def test_a_question_that_was_open_is_open_again_as_it_was() -> None:
    story = Story(workflow=TALK).then(STARTED, speaks(), calls("pick"), asked())
    open_then = story.state
    later = replied(story.then(reply("red"), returns()), "done")
    assert later.state.conversation
    rewound = later.then(back(later, open_then.seq))
    turn = rewound.state.open_turn
    assert turn is not None
    assert turn.unanswered == (open_then.open_turn and open_then.open_turn.unanswered)
    assert turn.is_suspended
    assert rewound.then(reply("blue")).state.open_turn is not None
    [restored] = [one.event for one in rewound.facts if isinstance(one.event, ChatRewound)]
    assert [one.seq for one in restored.restored.questions] == [open_then.seq]


def test_a_turn_that_is_open_again_uses_no_number_of_a_call_that_was_dropped() -> None:
    story = Story(workflow=TALK).then(STARTED, speaks(), calls("pick"), asked())
    later = replied(story.then(reply("red"), returns()), "done")
    rewound = later.then(back(later, story.state.seq))
    turn = rewound.state.open_turn
    assert turn is not None
    assert turn.next_call >= 2
    assert turn.reopened_at == later.state.seq + 1


@pytest.mark.parametrize("seq", [1, 2, 3, 4, 5, 7, 8, 9, 10, 40])
def test_a_rewind_within_a_decision_or_a_turn_is_refused(seq: int) -> None:
    story = talked("Hi", "More")
    resting = {one.seq for one in (talked("Hi").state, story.state)}
    assert seq not in resting
    assert refusal(story.when(back(story, seq))) == "not_a_resting_point"


def test_a_rewind_to_the_end_is_refused() -> None:
    story = talked("Hi")
    assert refusal(story.when(back(story, story.state.seq))) == "nothing_to_rewind"


def test_a_position_that_was_rewound_cannot_be_rewound_to() -> None:
    first, second = talked("Hi"), talked("Hi", "More")
    third = replied(second.then(say("Most", "third")), "re: Most")
    rewound = third.then(back(third, first.state.seq))
    assert refusal(rewound.when(back(rewound, second.state.seq, "x"))) == "not_a_resting_point"


def test_files_and_versions_are_not_rewound() -> None:
    file = AttachmentUploaded(
        attachment_id="a",
        user_id=ANA,
        filename="a.txt",
        size_bytes=1,
        content_type="text/plain",
        digest="00",
    )
    story = talked("Hi").then(file, VariablesChanged(turn=1, agent=WRITER, changed={"tone": "dry"}))
    rewound = story.then(back(story, talked("Hi").state.seq))
    assert rewound.state.attachments == (file,)
    assert "tone" not in rewound.state.variables
    assert restored_of(rewound).removed == ["tone"]


def restored_of(story: Story) -> Any:
    [*_, last] = [one.event for one in story.facts if isinstance(one.event, ChatRewound)]
    return last.restored


# -- what holds for all of them --------------------------------------------------------------------


@pytest.mark.parametrize("make", EACH.values(), ids=EACH)
def test_while_an_answer_is_running_nothing_is_rewound(make: Any) -> None:
    story = talked("Hi").then(say("More"))
    assert refusal(story.when(make(story))) == "answer_running"


@pytest.mark.parametrize("make", EACH.values(), ids=EACH)
def test_the_second_of_two_at_once_is_told_that_the_chat_has_changed(make: Any) -> None:
    story = talked("Hi", "More")
    mine, other = make(story), retry(story, "other")
    won = story.then(other)
    assert refusal(won.when(mine)) == "chat_changed"


@pytest.mark.parametrize("make", EACH.values(), ids=EACH)
def test_the_same_command_twice_changes_nothing(make: Any) -> None:
    story = talked("Hi", "More")
    command = make(story)
    assert story.when(command)
    assert story.then(command).when(command) == []
    refused = story.then(retry(story, "other"))
    assert refused.then(command).when(command) == []


def test_a_workflow_that_is_away_fails_the_chat_again_and_it_can_be_retried_again() -> None:
    story = talked("Hi")
    away = replace(story, workflow=None).then(retry(story))
    failed = away._told(fail(WORKFLOW_UNAVAILABLE, away.state), "away")
    assert pending(replace(failed, workflow=TALK).then(retry(failed, "b")).state) == RunTurn(4)


# -- for any log and any rewinds -------------------------------------------------------------------


def comparable(state: ChatState) -> Any:
    """A state without what is not rewound: positions, numbers, what was ever applied."""
    turn = state.open_turn
    return (
        entries_of(state),
        None if turn is None else (turn.agent, steps_of(turn), turn.unanswered, turn.stop),
        state.variables,
        state.last_speaker,
        state.agent_turns,
        state.ended,
        len(state.waiting),
        pending(state) is None,
        state.shown and (state.shown.title, state.shown.status, state.shown.speaker),
    )


def entries_of(state: ChatState) -> list[Any]:
    return [
        entry.text if isinstance(entry, UserInput) else (entry.agent, entry.text, steps_of(entry))
        for entry in state.conversation
    ]


def steps_of(turn: Turn) -> list[str]:
    return [step.type for step in turn.steps]


def effective(facts: Sequence[Fact], state: ChatState) -> list[Fact]:
    """The log with an event that means nothing in the place of each that does not count."""
    return sealed(
        [
            fact.event
            if counts(state.dropped, fact.envelope.seq, fact.event.type)
            and not isinstance(fact.event, ChatRewound | RewindRefused)
            else RunClaimed(runner=RunnerId("r:1:1"), attempt=1, previous=None)
            for fact in facts
        ]
    )


ACTIONS = st.sampled_from(["say", "reply", "fail", "ask", "answer", "retry", "edit", "rewind"])


def act(story: Story, action: str, place: int) -> Story:
    """One more thing that users or agents do, where it is possible."""
    state, name = story.state, f"{action}-{story.state.seq}"
    running = pending(state) is not None
    match action:
        case "say":
            return story.then(say(f"text {state.seq}", name))
        case "reply" if running:
            return replied(story, f"reply {state.seq}")
        case "fail" if running:
            return story._told(story.when(Failed("X", "x")), name)
        case "ask" if running and state.open_turn is not None and not state.open_turn.questions:
            turn = state.turn_number
            opened = question(KEY, turn, "call-1", 0)
            ask = asked().model_copy(update={"turn": turn, "question_id": opened})
            return story.then(calls("pick", turn=turn), ask)
        case "answer" if state.open_turn is not None and state.open_turn.unanswered:
            told = reply("red", state.open_turn.unanswered[0].question_id)
            return story.then(told, returns(turn=state.turn_number))
        case "retry":
            return story.then(retry(story, name))
        case "edit":
            messages = [one.seq for one in state.conversation if isinstance(one, UserInput)]
            return story.then(
                edit(story, (messages or [Seq(1)])[place % max(len(messages), 1)], "e", name)
            )
        case "rewind":
            points = [one.seq for one in state.points] or [Seq(1)]
            return story.then(back(story, points[place % len(points)], name))
        case _:
            return story


@settings(max_examples=40, deadline=None)
@for_any(st.lists(st.tuples(ACTIONS, st.integers(0, 50)), max_size=16))
def test_a_log_with_rewinds_is_folded_as_the_log_of_what_counts(
    actions: list[tuple[str, int]],
) -> None:
    story = Story(workflow=TALK).then(start("Hi"))
    for action, place in actions:
        story = act(story, action, place)
    whole, counted = story.state, replay(effective(story.facts, story.state))
    assert comparable(whole) == comparable(counted)
    numbers = [one.event.turn for one in story.facts if isinstance(one.event, SpeakerSelected)]
    assert len(numbers) == len(set(numbers))


def test_an_edit_of_another_agents_chat_selects_whoever_follows_the_user() -> None:
    story = given(start("Hi"))
    story = replied(story, "draft")
    story = replied(story, "edited")
    assert story.state.ended == "completed"
    again = story.then(edit(story, 2, "Hello"))
    assert again.state.open_turn is not None
    assert again.state.open_turn.agent in (WRITER, EDITOR)
