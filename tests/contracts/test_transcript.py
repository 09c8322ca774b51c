"""The transcript of a chat in strict AG2 format."""

from typing import Any

import pytest

from contracts.events import Event
from contracts.events.chat import ChatStarted, UserMessageReceived
from contracts.events.human import HumanAnswered, HumanAsked
from contracts.events.parts import DataPart, TextPart, ToolCall
from contracts.events.turn import (
    SELECTOR,
    ModelResponded,
    Occasion,
    SpeakerSelected,
    ToolReturned,
    TurnCompleted,
)
from contracts.ids import AgentName, QuestionId, UserId
from contracts.transcript import transcript

ANN = UserId("ann")
WRITER = AgentName("Writer")
STARTED = ChatStarted(user_id=ANN, seed=7)


def strict(*events: Event | None) -> list[dict[str, Any]]:
    return [message.to_ag2() for message in transcript(events)]


def said(text: str | None, *calls: str, agent: AgentName = WRITER) -> ModelResponded:
    wanted = [ToolCall(id=call, name=f"tool_{call}", arguments='{"n": 1}') for call in calls]
    return ModelResponded(turn=1, call=0, agent=agent, text=text, tool_calls=wanted)


def returned(call: str, text: str = "done", **more: Any) -> ToolReturned:
    body = {
        "turn": 1,
        "call": 0,
        "agent": WRITER,
        "tool_call_id": call,
        "name": f"tool_{call}",
        "status": "ok",
        "parts": [TextPart(text=text)],
    }
    return ToolReturned.model_validate({**body, **more})


def heard(text: str) -> UserMessageReceived:
    return UserMessageReceived(user_id=ANN, text=text)


def roles(*events: Event) -> list[tuple[str, str | None]]:
    return [(message["role"], message.get("tool_call_id")) for message in strict(*events)]


def test_messages_calls_and_results_have_exactly_the_keys_of_the_strict_format() -> None:
    assert strict(STARTED, heard("Hi"), said(None, "a"), returned("a"), said("Done.")) == [
        {"role": "user", "name": "user", "content": "Hi"},
        {
            "role": "assistant",
            "name": "Writer",
            "content": None,
            "tool_calls": [
                {
                    "id": "a",
                    "type": "function",
                    "function": {"name": "tool_a", "arguments": '{"n": 1}'},
                }
            ],
        },
        {"role": "tool", "name": "tool_a", "content": "done", "tool_call_id": "a"},
        {"role": "assistant", "name": "Writer", "content": "Done."},
    ]


def test_results_follow_their_response_in_the_order_of_the_calls() -> None:
    events: list[Event] = [
        heard("Hi"),
        said(None, "a", "b"),
        returned("b"),
        returned("a"),
        said("Done."),
    ]
    assert roles(*events) == [
        ("user", None),
        ("assistant", None),
        ("tool", "a"),
        ("tool", "b"),
        ("assistant", None),
    ]


def test_nothing_stands_between_calls_and_their_results() -> None:
    events: list[Event] = [
        said(None, "a", "b"),
        heard("Hurry!"),
        returned("b"),
        heard("Please!"),
        returned("a"),
    ]
    assert [message["content"] for message in strict(*events)] == [
        None,
        "done",
        "done",
        "Hurry!",
        "Please!",
    ]


def test_messages_of_the_user_before_any_response_keep_their_order() -> None:
    assert [m["content"] for m in strict(heard("a"), heard("b"), said("c"))] == ["a", "b", "c"]


def test_an_answer_is_the_result_of_the_tool_that_asked_and_no_message() -> None:
    question = QuestionId("q")
    asked = HumanAsked(
        question_id=question, turn=1, agent=WRITER, tool_call_id="a", ordinal=0, prompt="Which?"
    )
    answered = HumanAnswered(question_id=question, user_id=ANN, text="red")
    events: list[Event] = [said(None, "a"), asked, answered, returned("a", "red")]
    assert [message["role"] for message in strict(*events)] == ["assistant", "tool"]


def test_neither_the_selector_nor_turns_make_messages() -> None:
    selected = SpeakerSelected(turn=1, agent=WRITER, by="auto")
    done = TurnCompleted(turn=1, agent=WRITER, text="Done.")
    chosen = said("Writer", agent=SELECTOR)
    assert strict(STARTED, chosen, returned("a", agent=SELECTOR), selected, done, None) == []


@pytest.mark.parametrize("occasion", ["auto_invoke", "before_chat", "after_agent"])
def test_results_of_tools_that_no_model_called_are_no_messages(occasion: Occasion) -> None:
    assert strict(returned("a", occasion=occasion)) == []


def test_a_result_reads_as_its_texts_and_its_data_as_json() -> None:
    parts = [TextPart(text="got "), DataPart(data={"é": 1})]
    assert strict(returned("a", parts=parts))[0]["content"] == 'got {"é": 1}'


def test_a_failed_tool_without_a_result_says_its_error() -> None:
    failed = returned("a", status="error", parts=[], error="no such plant")
    assert strict(failed)[0]["content"] == "no such plant"
