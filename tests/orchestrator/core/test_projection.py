"""The conversation as an agent remembers it, and as everyone else may read it."""

from dataclasses import replace

from contracts.events.human import HumanAsked
from contracts.events.parts import BinaryPart, DataPart, Part, TextPart, UrlPart, text_of
from contracts.events.turn import VariablesChanged
from services.orchestrator.projection import (
    BEGIN,
    CONTINUE,
    Heard,
    Returned,
    Spoke,
    conversation,
    messages,
    prompt,
    recorded,
)
from services.orchestrator.state import ChatState
from services.orchestrator.workflows.spec import Agent
from tests.story import (
    EDITOR,
    STARTED,
    WRITER,
    answered,
    asked,
    calls,
    done,
    given,
    heard,
    returns,
    says,
    speaks,
)

CALLED, RETURNED, SPOKE = calls("look"), returns(), says("A draft.", call=1)
WROTE = given(STARTED, heard("Hi"), speaks(), CALLED, RETURNED, SPOKE, done("A draft."))


def test_a_chat_that_begins_hears_that_it_begins() -> None:
    assert conversation(given(STARTED, speaks()).state, WRITER, None) == [Heard(BEGIN)]


def test_the_hidden_seed_is_heard_before_anything_else() -> None:
    story = given(STARTED, heard("Hi"), speaks())
    assert conversation(story.state, WRITER, "Be kind.") == [Heard("Be kind."), Heard("Hi")]


def test_an_agent_remembers_its_own_turns_whole_and_is_asked_to_continue() -> None:
    again = WROTE.then(speaks(WRITER, 2, "handoff"))
    assert conversation(again.state, WRITER, None) == [
        Heard("Hi"),
        Spoke(CALLED),
        Returned((RETURNED,)),
        Spoke(SPOKE),
        Heard(CONTINUE),
    ]


def test_an_agent_hears_others_turns_as_one_line_with_their_name() -> None:
    editing = WROTE.then(speaks(EDITOR, 2, "after_work"))
    assert conversation(editing.state, EDITOR, None) == [Heard("Hi"), Heard("[Writer]: A draft.")]


def test_a_turn_without_a_word_is_not_heard_by_others() -> None:
    silent = given(STARTED, heard("Hi"), speaks(), says(""), done(""), speaks(EDITOR, 2))
    assert conversation(silent.state, EDITOR, None) == [Heard("Hi")]


def test_the_open_turn_is_not_part_of_what_came_before_it() -> None:
    story = given(STARTED, heard("Hi"), speaks(), CALLED, RETURNED)
    assert conversation(story.state, WRITER, None) == [Heard("Hi")]


def test_a_message_thrown_in_is_heard_after_the_turn_it_fell_into() -> None:
    story = given(STARTED, heard("Hi"), speaks(), heard("Shorter!"), SPOKE, done("A draft."))
    later = story.then(speaks(WRITER, 2))
    assert conversation(later.state, WRITER, None) == [
        Heard("Hi"),
        Spoke(SPOKE),
        Heard("Shorter!"),
    ]


def test_results_stand_in_the_order_of_the_calls() -> None:
    story = given(STARTED, speaks(), calls("a", "b"), returns(2, "second"), returns(1, "first"))
    turn = story.state.open
    assert turn is not None
    *_, last = recorded(turn)
    assert isinstance(last, Returned)
    assert [text_of(result.parts) for result in last.results] == ["first", "second"]


def test_calls_that_are_not_all_answered_have_no_results_yet() -> None:
    story = given(STARTED, speaks(), calls("a", "b"), returns(2))
    turn = story.state.open
    assert turn is not None
    assert recorded(turn) == [Spoke(calls("a", "b"))]


def test_the_export_is_strict_ag2_with_tools_in_call_order() -> None:
    story = given(
        STARTED,
        heard("Hi"),
        speaks(),
        calls("a", "b"),
        returns(2, {"n": 2}),
        returns(1, "first"),
        says("A draft.", call=1),
        done("A draft."),
        speaks(EDITOR, 2, "after_work"),
        says("Better.", turn=2, agent=EDITOR),
        heard("Thanks"),
    )
    assert messages(story.state) == [
        {"role": "user", "name": "user", "content": "Hi"},
        {
            "role": "assistant",
            "name": "Writer",
            "content": None,
            "tool_calls": [
                {"id": "call-1", "type": "function", "function": {"name": "a", "arguments": "{}"}},
                {"id": "call-2", "type": "function", "function": {"name": "b", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "name": "a", "tool_call_id": "call-1", "content": "first"},
        {"role": "tool", "name": "b", "tool_call_id": "call-2", "content": '{"n": 2}'},
        {"role": "assistant", "name": "Writer", "content": "A draft."},
        {"role": "assistant", "name": "Editor", "content": "Better."},
        {"role": "user", "name": "user", "content": "Thanks"},
    ]


def test_questions_and_answers_reach_the_export_as_the_tools_result_only() -> None:
    story = given(STARTED, speaks(), calls("ask"), asked(), answered("red"), returns(1, "red"))
    assert isinstance(asked(), HumanAsked)
    assert [message["role"] for message in messages(story.state)] == ["assistant", "tool"]


def test_text_of_parts_names_files_instead_of_showing_them() -> None:
    parts: list[Part] = [
        TextPart(text="a"),
        DataPart(data={"é": 1}),
        BinaryPart(data="AAAA", media_type="image/png"),
        UrlPart(url="https://example.org", form="image"),
    ]
    assert text_of(parts) == 'a{"é": 1}[image/png]https://example.org'


def test_an_agent_is_told_only_the_variables_that_it_is_to_know() -> None:
    agent = Agent(WRITER, "Write.", variables=("tone", "missing"))
    state = ChatState(variables={"tone": "dry", "secret": 1})
    told = prompt(agent, state)
    assert told == 'Write.\n\nContext variables:\n- tone: "dry"\n- missing: null'
    assert prompt(replace(agent, variables=()), state) == "Write."


def test_variables_follow_their_changes() -> None:
    changed = VariablesChanged(
        turn=1, agent=WRITER, changed={"tone": "dry", "n": 1}, removed=["old"]
    )
    again = VariablesChanged(turn=1, agent=WRITER, changed={"n": 2}, removed=["tone"])
    assert given(STARTED, speaks(), changed, again).state.variables == {"n": 2}
