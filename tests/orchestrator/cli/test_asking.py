"""What a chat in the terminal asks of its user, and how what is typed becomes an answer."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mozaiks_client.frames import Frame
from services.orchestrator.cli.terminal.asks import (
    Ask,
    Component,
    Ended,
    Message,
    OpenAsks,
    Question,
)
from services.orchestrator.cli.terminal.forms import fields_of, read_answer
from services.orchestrator.cli.terminal.talk import exit_code
from tests.orchestrator.cli.frames import (
    answered,
    component,
    ended,
    frame,
    message,
    question,
    speaker,
)

BREAD = Question("q1", "Which bread?", ("rye", "wheat"))
SURE = Question("q2", "Sure?")


def after(*frames: Frame) -> OpenAsks:
    asks = OpenAsks("ann")
    for one in frames:
        asks.take(one)
    return asks


BREAD_FRAME = question("q1", "Which bread?", ("rye", "wheat"))
SURE_FRAME = question("q2", "Sure?")
BOTH = {"users": ["bob", "ann"], "roles": []}
OF_BOB = question("q2", "Sure?", audience={"users": ["bob"], "roles": ["finance"]})


def escalated(to: dict[str, list[str]]) -> Frame:
    return frame("chat.question_escalated", request_id="q2", to=to)


EXPIRED = frame("chat.input_timeout", request_id="q1", input_request_id="q1")
COMPLETED = frame(
    "chat.ui_tool_complete", eventId="e1", ui_tool_id="pick", status="completed", summary="done"
)
DISMISSED = frame("chat.ui_tool_dismiss", event_id="e1", ui_tool_id="pick")

NEXT: dict[str, tuple[tuple[Frame, ...], Ask | None]] = {
    "nothing": ((), None),
    "the user's turn": ((speaker("user"),), Message()),
    "another one's turn": ((speaker("user"), speaker("Clerk")), None),
    "a message": ((speaker("user"), message("rye", role="user")), None),
    "a question": ((BREAD_FRAME,), BREAD),
    "a question that was answered": ((BREAD_FRAME, answered("q1")), None),
    "a question that has expired": ((BREAD_FRAME, EXPIRED), None),
    "two questions": ((BREAD_FRAME, SURE_FRAME), BREAD),
    "the second of two": ((BREAD_FRAME, SURE_FRAME, answered("q1")), SURE),
    "the first of two": ((BREAD_FRAME, SURE_FRAME, answered("q2")), BREAD),
    "a question of somebody else": ((OF_BOB,), None),
    "a question of several": ((question("q2", "Sure?", audience=BOTH),), SURE),
    "a question that is now of the user, too": ((OF_BOB, escalated(BOTH)), SURE),
    "a question that is now of others, too": (
        (OF_BOB, escalated({"users": [], "roles": ["r"]})),
        None,
    ),
    "a component": ((component("e1", price=1),), Component("e1", "Picker", {"price": 1})),
    "a component that was answered": ((component("e1"), COMPLETED), None),
    "an artifact that was answered": ((component("e1"), DISMISSED), None),
}


@pytest.mark.parametrize(("frames", "ask"), NEXT.values(), ids=NEXT.keys())
def test_the_oldest_open_question_is_asked_else_the_users_turn(
    frames: tuple[Frame, ...], ask: Ask | None
) -> None:
    assert after(*frames).next() == ask


def test_what_was_answered_here_is_not_asked_again_before_it_is_confirmed() -> None:
    asks = after(BREAD_FRAME, SURE_FRAME)
    asks.answered(BREAD)
    assert asks.next() == SURE
    asks.answered(SURE)
    assert asks.next() is None
    asks.take(speaker("user"))
    asks.answered(Message())
    assert asks.next() is None


@pytest.mark.parametrize(("status", "code"), [(1, 0), (2, 1), (3, 1)])
def test_a_chat_that_did_not_complete_is_a_failure_of_the_command(status: int, code: int) -> None:
    asks = after(ended(status, "because"))
    assert asks.ended is not None
    assert asks.ended == Ended(status, "because")
    assert exit_code(asks.ended) == code


def test_a_chat_that_the_user_left_is_no_failure() -> None:
    assert exit_code(None) == 0


def typing(*lines: str) -> tuple[Callable[[str], str], list[str]]:
    """What reads these lines and then has no more, and the prompts that it was given."""
    rest: Iterator[str] = iter(lines)
    prompts: list[str] = []

    def read(prompt: str) -> str:
        prompts.append(prompt)
        try:
            return next(rest)
        except StopIteration:
            raise EOFError from None

    return read, prompts


PICKER = Component("e1", "Picker", {"choices": {"sure": [True, False]}, "fields": ["wish"]})
SIZES = Component("e1", "Picker", {"choices": {"size": [10, 50]}})
FREE = Component("e1", "Picker", {"price": 1})

ANSWERS: dict[str, tuple[Ask, tuple[str, ...], str | dict[str, Any]]] = {
    "a message": (Message(), ("", "  rye "), "rye"),
    "a text": (SURE, ("yes",), "yes"),
    "an option": (BREAD, ("rye",), "rye"),
    "an option in other letters": (BREAD, ("RYE",), "rye"),
    "an option by its number": (BREAD, ("2",), "wheat"),
    "a number that is no option": (BREAD, ("3",), "3"),
    "a digit of another script": (BREAD, ("²",), "²"),
    "an option that is a number": (Question("q", "?", ("2", "1")), ("1",), "1"),
    "a form": (PICKER, ("yes", "warmer"), {"sure": True, "wish": "warmer"}),
    "a form with an empty text": (PICKER, ("no", ""), {"sure": False}),
    "a form by number": (PICKER, ("2", ""), {"sure": False}),
    "a choice of numbers": (SIZES, ("50",), {"size": 50}),
    "a choice after another word": (SIZES, ("7", "1"), {"size": 10}),
    "JSON": (FREE, ('{"a": 1}',), {"a": 1}),
    "JSON after what is none": (FREE, ("red", "[1]", "{", '{"a": 1}'), {"a": 1}),
    "an empty line for JSON": (FREE, ("",), {}),
}


@pytest.mark.parametrize(("ask", "lines", "answer"), ANSWERS.values(), ids=ANSWERS.keys())
def test_lines_become_an_answer(
    ask: Ask, lines: tuple[str, ...], answer: str | dict[str, Any]
) -> None:
    read, prompts = typing(*lines)
    found = read_answer(ask, read, lambda _: None)
    assert found == answer
    assert repr(found) == repr(answer)  # True is not 1
    assert len(prompts) == len(lines)


def test_a_choice_that_is_none_is_refused_with_what_is_accepted() -> None:
    written: list[str] = []
    read, _ = typing("7", "10")
    read_answer(SIZES, read, written.append)
    assert written == ["size: accepted are 10 / 50, or a number from 1 to 2\n"]


@pytest.mark.parametrize("ask", [Message(), BREAD, PICKER, FREE])
def test_the_end_of_the_input_ends_the_question(ask: Ask) -> None:
    with pytest.raises(EOFError):
        read_answer(ask, typing()[0], lambda _: None)


@pytest.mark.parametrize(
    "payload", [{}, {"choices": [], "fields": {}}, {"choices": {"a": 1, "b": []}, "fields": "ab"}]
)
def test_a_payload_that_describes_no_form_has_none(payload: dict[str, Any]) -> None:
    assert fields_of(payload) == []
