"""The conversation as an agent remembers it, and as a transcript."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from contracts.events.human import HumanAsked
from contracts.events.parts import (
    BinaryPart,
    DataPart,
    NativeAnswer,
    NativeBlock,
    Part,
    TextPart,
    UrlPart,
    text_of,
)
from contracts.events.turn import ConversationProcessed, VariablesChanged
from services.orchestrator.domain.agent_conversation import (
    BEGIN_MESSAGE,
    CONTINUE_MESSAGE,
    AgentMessage,
    Message,
    ToolResults,
    UserMessage,
    conversation_for,
    processed_conversation,
    system_prompt,
    to_ag2,
    turn_messages,
)
from services.orchestrator.domain.conversation_changes import difference, digest
from services.orchestrator.domain.state import ChatState
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


def test_an_empty_conversation_asks_the_model_to_begin() -> None:
    assert conversation_for(given(STARTED, speaks()).state, WRITER, None) == [
        UserMessage(BEGIN_MESSAGE)
    ]


def test_the_hidden_initial_message_comes_first() -> None:
    story = given(STARTED, heard("Hi"), speaks())
    assert conversation_for(story.state, WRITER, "Be kind.") == [
        UserMessage("Be kind."),
        UserMessage("Hi"),
    ]


def test_an_agent_remembers_its_own_turns_in_full_and_is_asked_to_continue() -> None:
    again = WROTE.then(speaks(WRITER, 2, "handoff"))
    assert conversation_for(again.state, WRITER, None) == [
        UserMessage("Hi"),
        AgentMessage(CALLED),
        ToolResults((RETURNED,)),
        AgentMessage(SPOKE),
        UserMessage(CONTINUE_MESSAGE),
    ]


def test_other_agents_turns_are_one_line_with_their_name() -> None:
    editing = WROTE.then(speaks(EDITOR, 2, "after_work"))
    assert conversation_for(editing.state, EDITOR, None) == [
        UserMessage("Hi"),
        UserMessage("[Writer]: A draft."),
    ]


def test_a_turn_without_text_is_not_part_of_other_agents_conversation() -> None:
    silent = given(STARTED, heard("Hi"), speaks(), says(""), done(""), speaks(EDITOR, 2))
    assert conversation_for(silent.state, EDITOR, None) == [UserMessage("Hi")]


def test_the_open_turn_is_not_part_of_the_conversation_before_it() -> None:
    story = given(STARTED, heard("Hi"), speaks(), CALLED, RETURNED)
    assert conversation_for(story.state, WRITER, None) == [UserMessage("Hi")]


def test_a_message_during_a_turn_follows_the_turn() -> None:
    story = given(STARTED, heard("Hi"), speaks(), heard("Shorter!"), SPOKE, done("A draft."))
    later = story.then(speaks(WRITER, 2))
    assert conversation_for(later.state, WRITER, None) == [
        UserMessage("Hi"),
        AgentMessage(SPOKE),
        UserMessage("Shorter!"),
    ]


def test_tool_results_are_in_the_order_of_the_calls() -> None:
    story = given(STARTED, speaks(), calls("a", "b"), returns(2, "second"), returns(1, "first"))
    turn = story.state.open_turn
    assert turn is not None
    *_, last = turn_messages(turn)
    assert isinstance(last, ToolResults)
    assert [text_of(result.parts) for result in last.results] == ["first", "second"]


def test_results_are_left_out_until_all_calls_have_one() -> None:
    story = given(STARTED, speaks(), calls("a", "b"), returns(2))
    turn = story.state.open_turn
    assert turn is not None
    assert turn_messages(turn) == [AgentMessage(calls("a", "b"))]


def test_the_export_is_strict_ag2_with_tools_in_call_order() -> None:
    story = given(
        STARTED,
        heard("Hi"),
        speaks(),
        calls("a", "b"),
        returns(2, {"n": 2}).model_copy(update={"name": "b"}),
        returns(1, "first").model_copy(update={"name": "a"}),
        says("A draft.", call=1),
        done("A draft."),
        speaks(EDITOR, 2, "after_work"),
        says("Better.", turn=2, agent=EDITOR),
        heard("Thanks"),
    )
    assert story.transcript == [
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
    assert [message["role"] for message in story.transcript] == ["assistant", "tool"]


def test_text_of_parts_names_files_instead_of_showing_them() -> None:
    parts: list[Part] = [
        TextPart(text="a"),
        DataPart(data={"é": 1}),
        BinaryPart(data="AAAA", media_type="image/png"),
        UrlPart(url="https://example.org", form="image"),
    ]
    assert text_of(parts) == 'a{"é": 1}[image/png]https://example.org'


def test_a_prompt_contains_only_the_variables_declared_for_the_agent() -> None:
    agent = Agent(WRITER, "Write.", variables=("tone", "missing"))
    state = ChatState(variables={"tone": "dry", "secret": 1})
    prompt = system_prompt(agent, state)
    assert prompt == 'Write.\n\nContext variables:\n- tone: "dry"\n- missing: null'
    assert system_prompt(replace(agent, variables=()), state) == "Write."


def test_variables_follow_their_changes() -> None:
    changed = VariablesChanged(
        turn=1, agent=WRITER, changed={"tone": "dry", "n": 1}, removed=["old"]
    )
    again = VariablesChanged(turn=1, agent=WRITER, changed={"n": 2}, removed=["tone"])
    assert given(STARTED, speaks(), changed, again).state.variables == {"n": 2}


NATIVE = NativeAnswer(api="anthropic", parts=[NativeBlock(block={"type": "thinking"})])
THOUGHT = calls("look").model_copy(update={"text": "Hm.", "native": NATIVE})


def after_hooks(change: Callable[[list[dict[str, Any]]], None]) -> list[Message]:
    """A conversation with thinking, after hooks that change it."""
    before: list[Message] = [
        UserMessage("Hi"),
        AgentMessage(THOUGHT),
        ToolResults((RETURNED,)),
        UserMessage("?"),
    ]
    hooked = to_ag2(before)
    change(hooked)
    changes = difference(to_ag2(before), hooked)
    processed = ConversationProcessed(
        turn=1, agent=WRITER, changes=changes, base=digest(to_ag2(before)), prompt=""
    )
    return processed_conversation(before, processed)


def native_in(messages: list[Message]) -> list[NativeAnswer | None]:
    return [one.response.native for one in messages if isinstance(one, AgentMessage)]


def test_an_answer_that_hooks_leave_as_it_is_keeps_what_its_provider_must_get_back() -> None:
    def add(messages: list[dict[str, Any]]) -> None:
        messages[0]["content"] = "Hello"
        messages.append({"role": "user", "name": "user", "content": "More."})

    assert native_in(after_hooks(add)) == [NATIVE]
    assert native_in(after_hooks(lambda _: None)) == [NATIVE]


def test_an_answer_that_hooks_change_does_not() -> None:
    def edit(messages: list[dict[str, Any]]) -> None:
        messages[1]["content"] = "Hm!"

    assert native_in(after_hooks(edit)) == [None]
