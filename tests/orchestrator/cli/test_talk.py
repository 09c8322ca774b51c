"""A chat in the terminal: what is sent for what is typed, and what Ctrl-C and Ctrl-D do."""

import asyncio
import signal
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from mozaiks_client import ApiError
from mozaiks_client.frames import Frame
from services.orchestrator.cli.terminal.asks import Ended
from services.orchestrator.cli.terminal.background_chat import background_loop
from services.orchestrator.cli.terminal.plain_screen import PlainScreen
from services.orchestrator.cli.terminal.talk import Terminal, talk
from tests.orchestrator.cli.frames import (
    BOUNDARY,
    chunk,
    component,
    ended,
    frame,
    message,
    question,
    speaker,
)

LIVE = frame(BOUNDARY, seq=0, total=0)
CTRL_C = object()
"""In place of a frame: the user presses it while the chat is waited for."""


class ScriptedChat:
    """A client's chat that shows frames; after `None` it waits for something to be sent."""

    def __init__(self, *frames: Any) -> None:
        self.sent: list[Any] = []
        self.refuses: list[str] = []
        """Texts that are refused the first time."""
        self.runs = True
        """Whether there is an answer to stop."""
        self._frames = frames
        self._was_sent = asyncio.Semaphore(0)

    async def stream(self) -> AsyncGenerator[Frame, None]:
        for one in self._frames:
            if one is None:
                await self._was_sent.acquire()
            elif one is CTRL_C:
                main = threading.main_thread().ident
                assert main is not None
                signal.pthread_kill(main, signal.SIGINT)
            else:
                yield one

    async def send(self, text: str) -> None:
        if text in self.refuses:
            self.refuses.remove(text)
            raise ApiError("message: too long", status=400)
        self._note(text)

    async def answer(self, question: str, text: str) -> None:
        if question == "gone":
            self._note("refused")
            raise ApiError("question_id: no such question is open", status=404)
        self._note((question, text))

    async def answer_component(self, event: str, response: dict[str, Any]) -> None:
        self._note((event, response))

    async def stop(self) -> bool:
        if self.runs:
            self._note("stop")
        return self.runs

    def _note(self, what: Any) -> None:
        self.sent.append(what)
        self._was_sent.release()


def run(chat: ScriptedChat, *typed: str) -> tuple[Ended | None, str]:
    """How talking with these lines, and then Ctrl-D, ends; and what is shown."""
    rest = iter(typed)
    shown: list[str] = []

    def read(prompt: str) -> str:
        shown.append(prompt)
        try:
            return next(rest)
        except StopIteration:
            raise EOFError from None

    write: Callable[[str], None] = shown.append
    with background_loop() as loop:
        double: Any = chat
        found = talk(loop, double, "ann", Terminal(PlainScreen(write), read, write))
    return found, "".join(shown)


def test_a_message_an_answer_and_values_are_sent_and_the_end_is_returned() -> None:
    chat = ScriptedChat(
        LIVE,
        speaker("user"),
        None,
        question("q1", options=("rye", "wheat")),
        None,
        component("e1", choices={"size": [1, 2]}),
        None,
        ended(),
    )
    found, _ = run(chat, "Hello", "2", "1")
    assert chat.sent == ["Hello", ("q1", "wheat"), ("e1", {"size": 1})]
    assert found == Ended(1, "terminate")


def test_two_questions_at_the_same_time_are_both_answered() -> None:
    chat = ScriptedChat(LIVE, question("q1"), question("q2"), None, None, ended())
    run(chat, "one", "two")
    assert chat.sent == [("q1", "one"), ("q2", "two")]


def test_nothing_is_asked_of_the_history() -> None:
    chat = ScriptedChat(
        speaker("user"), message("rye", role="user"), speaker("Clerk"), LIVE, ended()
    )
    found, shown = run(chat)
    assert found == Ended(1, "terminate")
    assert shown == "> rye\n(terminate)\n"


def test_a_refused_message_is_asked_for_again_with_the_reason() -> None:
    chat = ScriptedChat(LIVE, speaker("user"), None, ended())
    chat.refuses = ["too long"]
    _, shown = run(chat, "too long", "short")
    assert chat.sent == ["short"]
    assert "not accepted: message: too long" in shown


def test_a_question_that_is_not_open_any_more_is_not_asked_again() -> None:
    chat = ScriptedChat(LIVE, question("gone"), None, ended())
    found, shown = run(chat, "yes", "never read")
    assert found == Ended(1, "terminate")
    assert "no such question is open" in shown


def test_ctrl_d_leaves_the_chat() -> None:
    found, shown = run(ScriptedChat(LIVE, speaker("user"), None))
    assert (found, shown) == (None, "> ")


def test_ctrl_c_stops_the_running_answer_and_the_chat_goes_on() -> None:
    chat = ScriptedChat(
        LIVE,
        chunk("Good ", 0),
        CTRL_C,
        None,
        message("Good ", interrupted="stopped"),
        speaker("user"),
        None,
        ended(),
    )
    found, shown = run(chat, "rye")
    assert chat.sent == ["stop", "rye"]
    assert found == Ended(1, "terminate")
    assert shown == "Clerk: Good  (stopped)\n> (terminate)\n"


def test_a_second_ctrl_c_leaves_the_chat() -> None:
    chat = ScriptedChat(LIVE, chunk("Good ", 0), CTRL_C, None, CTRL_C, None)
    with pytest.raises(KeyboardInterrupt):
        run(chat)
    assert chat.sent == ["stop"]


def test_ctrl_c_leaves_the_chat_where_no_answer_is_running() -> None:
    chat = ScriptedChat(LIVE, CTRL_C, None)
    chat.runs = False
    with pytest.raises(KeyboardInterrupt):
        run(chat)
    assert chat.sent == []


def test_an_error_that_ends_a_turn_and_its_chat_is_shown_once() -> None:
    def failed(message: str) -> Frame:
        return frame("chat.error", message=message, error_code="X")

    chat = ScriptedChat(LIVE, failed("a"), failed("b"), failed("b"), ended(2, "b"))
    found, shown = run(chat)
    assert found == Ended(2, "b")
    assert shown == "! a\n! b\n(failed)\n"


def test_an_error_of_the_client_is_raised_where_frames_are_read() -> None:
    refusal = frame("chat.error", seq=None, message="no such chat", error_code="X")

    class Refused(ScriptedChat):
        async def stream(self) -> AsyncGenerator[Frame, None]:
            yield refusal
            raise ApiError("no such chat")

    with pytest.raises(ApiError, match="no such chat"):
        run(Refused())
