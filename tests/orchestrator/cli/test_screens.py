"""What a terminal and a plain output show of a chat's frames: every message once, and nothing else."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from mozaiks_client.frames import Frame
from services.orchestrator.cli.terminal.plain_screen import PlainScreen
from services.orchestrator.cli.terminal.rich_screen import MAX_CHARS, RichScreen
from services.orchestrator.cli.terminal.streamed_text import complete_blocks
from tests.orchestrator.cli.frames import (
    answered,
    called,
    chunk,
    component,
    ended,
    frame,
    message,
    question,
    returned,
    speaker,
)


def plain(*frames: Frame, is_live: bool = True) -> str:
    written: list[str] = []
    screen = PlainScreen(written.append)
    for one in frames:
        screen.show(one, is_live=is_live)
    return "".join(written)


def rich(*frames: Frame, is_live: bool = True) -> str:
    """The text that stays on a terminal, without styles; what is drawn over is not part of it."""
    output = io.StringIO()
    screen = RichScreen(Console(file=output, width=60, force_terminal=False, highlight=False))
    for one in frames:
        screen.show(one, is_live=is_live)
    screen.close()
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines())


STREAMS: dict[str, tuple[tuple[Frame, ...], str]] = {
    "a whole message": ((message("Good morning!"),), "Clerk: Good morning!\n"),
    "a streamed message": (
        (chunk("Good ", 0), chunk("morning!", 5), message("Good morning!")),
        "Clerk: Good morning!\n",
    ),
    "a stream whose end was merged": (
        (chunk("Good ", 0), message("Good morning!")),
        "Clerk: Good morning!\n",
    ),
    "a stream that began anew": (
        (chunk("Bad ", 0), chunk("Good morning!", 0, "r.1"), message("Good morning!")),
        "Clerk: Bad \nClerk: Good morning!\n",
    ),
    "a message that is not what was streamed": (
        (chunk("Bad ", 0), message("Good morning!")),
        "Clerk: Bad \nClerk: Good morning!\n",
    ),
    "a message that was stopped": (
        (chunk("Good ", 0), message("Good mor", interrupted="stopped")),
        "Clerk: Good mor (stopped)\n",
    ),
    "a message whose stopped text comes in two parts": (
        (
            chunk("Good ", 0),
            message("Good ", interrupted="stopped"),
            message("morning!", interrupted="stopped", offset=5),
        ),
        "Clerk: Good  (stopped)\nClerk: morning! (stopped)\n",
    ),
    "two messages": (
        (chunk("Good ", 0), message("Good "), chunk("Bye", 0), message("Bye")),
        "Clerk: Good \nClerk: Bye\n",
    ),
    "the user's own message": ((message("rye", role="user"),), ""),
    "an error after a stream": (
        (chunk("Good ", 0), frame("chat.error", message="no such chat", error_code="X")),
        "Clerk: Good \n! no such chat\n",
    ),
}


@pytest.mark.parametrize(("frames", "text"), STREAMS.values(), ids=STREAMS.keys())
def test_a_plain_output_shows_a_message_once(frames: tuple[Frame, ...], text: str) -> None:
    assert plain(*frames) == text


@pytest.mark.parametrize(("frames", "text"), STREAMS.values(), ids=STREAMS.keys())
def test_a_terminal_shows_the_words_of_a_plain_output(frames: tuple[Frame, ...], text: str) -> None:
    expected = text.replace("! no such chat", "no such chat (X)").replace("Clerk:", "Clerk")
    assert rich(*frames).split() == expected.split()


def test_a_terminal_shows_markdown_and_keeps_the_blocks_that_are_complete() -> None:
    text = "# Breads\n\n* rye\n* wheat\n\n```\nbake()\n\ncool()\n```\n\nThat is **all**."
    half = len(text) // 2
    shown = rich(chunk(text[:half], 0), chunk(text[half:], half), message(text))
    assert "• rye" in shown
    assert "**" not in shown
    assert "```" not in shown
    assert shown.count("bake()") == shown.count("cool()") == shown.count("That is all.") == 1


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("one", ""),
        ("one\n\ntwo", "one\n\n"),
        ("one\n\ntwo\n\nthree", "one\n\ntwo\n\n"),
        ("one\n\n```\na\n\nb", "one\n\n"),
        ("```\na\n\nb\n```\n\nend", "```\na\n\nb\n```\n\n"),
        ("~~~\na\n\n", ""),
    ],
)
def test_a_block_is_complete_at_an_empty_line_outside_of_fences(text: str, complete: str) -> None:
    assert complete_blocks(text) == (complete, text[len(complete) :])


def test_a_question_is_shown_with_its_options() -> None:
    asked = question(options=("rye", "wheat"))
    assert plain(asked) == "? Which bread? (rye / wheat)\n"
    assert {"Clerk asks", "Which bread?", "1  rye", "2  wheat"} <= _cells(rich(asked))


def test_who_else_is_asked_and_a_limit_of_turns_are_shown() -> None:
    of_bob = question(audience={"users": ["bob"], "roles": ["finance"]})
    limit = frame("chat.turn_limit", turns=40, max_turns=50, waits=False, message="40 of 50.")
    assert plain(of_bob, limit) == "? Which bread? (of bob, finance)\n! 40 of 50.\n"
    assert {"Clerk asks (of bob, finance)", "40 of 50."} <= _cells(rich(of_bob, limit))


def test_a_component_is_shown_with_what_it_shows_and_without_its_form() -> None:
    asked = component("e1", price=3.5, choices={"size": [1, 2]}, fields=["wish"], mode="inline")
    assert plain(asked) == '? Picker: {"price": 3.5}\n'
    assert {"Clerk asks by Picker", '"price": 3.5'} <= _cells(rich(asked))
    assert "wish" not in rich(asked)


def test_a_tool_is_shown_with_its_arguments_and_its_result() -> None:
    frames = (called("sell", '{"bread": "rye"}'), returned("sell", "sold"))
    assert plain(*frames) == '  [calls sell {"bread": "rye"}]\n  [sell: ok sold]\n'
    assert {"Clerk calls sell", '"bread": "rye"', "sell: ok", "sold"} <= _cells(rich(*frames))


def test_a_long_result_is_cut() -> None:
    assert len(plain(returned("sell", "x" * 10_000))) < 300
    shown = rich(returned("sell", "x" * 10_000))
    assert shown.count("x") == MAX_CHARS
    assert "(10000" in shown


def test_what_the_user_wrote_is_shown_of_the_history_alone() -> None:
    written = (message("rye", role="user"), answered("q1", "Yes"))
    for show in (plain, rich):
        assert show(*written) == ""
        assert show(*written, is_live=False).split() == [">", "rye", ">", "Yes"]


@pytest.mark.parametrize("show", [plain, rich])
def test_nobody_controls_the_terminal_by_what_they_write(show: Callable[[Frame], str]) -> None:
    evil = "\x1b]0;title\x07\x1b[2J\x9b2J\x00"
    frames = [
        message(evil),
        chunk(evil, 0),
        question(prompt=evil, options=(evil,)),
        component("e", **{evil: evil}),
        called(evil, evil),
        returned("sell", evil),
        frame("chat.error", message=evil, error_code="X"),
        ended(2, evil),
    ]
    assert not {"\x1b", "\x07", "\x9b", "\x00"} & set("".join(map(show, frames)))


def test_the_end_is_shown_with_its_reason() -> None:
    assert plain(chunk("Bye", 0), ended(2, "CALL_LIMIT")) == "Clerk: Bye\n(CALL_LIMIT)\n"
    assert "CALL_LIMIT" in rich(ended(2, "CALL_LIMIT"))


def test_frames_that_are_not_for_reading_show_nothing() -> None:
    unknown = frame("chat.something_new", words="many")
    assert plain(unknown, speaker("Clerk")) == rich(unknown, speaker("Clerk")) == ""


def _cells(text: str) -> set[str]:
    """What the lines of panels contain, without their borders."""
    return {line.strip("│╭╮─ ") for line in text.splitlines()}
