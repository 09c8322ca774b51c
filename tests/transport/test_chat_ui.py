import asyncio
from collections.abc import Callable

import pytest

from contracts.events import Event
from contracts.subjects import question
from tests.transport.chat_ui import ChatUi, open_page
from tests.transport.conftest import Open
from tests.transport.story import (
    CALLED,
    COMPLETED,
    DONE,
    LOGGED,
    PLANNER,
    REQUESTED,
    RETURNED,
    SAID,
    SELECTED,
    STARTED,
    USED,
    YOUR_TURN,
    Chat,
    answers,
    asks,
    chunk,
    picked,
    said,
    shows,
)

pytestmark = pytest.mark.broker


async def until(page: ChatUi, reached: Callable[[ChatUi], bool]) -> None:
    async with asyncio.timeout(10):
        while not reached(page):
            await page.next()


def story(chat: Chat) -> list[Event]:
    words, form, panel = (question(chat.key, 1, call, 0) for call in ("a", "b", "c"))
    return [
        STARTED,
        said("make a plan"),
        SELECTED,
        REQUESTED,
        CALLED,
        USED,
        RETURNED,
        asks(words),
        answers(words),
        shows(form),
        picked(form),
        shows(panel, "artifact"),
        picked(panel),
        LOGGED,
        SAID,
        DONE,
        YOUR_TURN,
    ]


LINES = [
    ("You", "make a plan"),
    (PLANNER, "Let me look."),
    (PLANNER, "Which colour?"),
    ("You", "red"),
    (PLANNER, "A plan."),
]


@pytest.mark.parametrize("last_sequence", [0, 1, 9, 17])
async def test_a_page_is_complete_whatever_it_remembers(
    open_transport: Open, chat: Chat, last_sequence: int
) -> None:
    address = await open_transport(handshake_seconds=1)
    await chat.append(*story(chat))
    page = await open_page(address, chat.key.chat, chat.path(), last_sequence)
    assert page.lines == LINES
    assert (page.components, page.artifact, page.question) == ({}, None, None)
    await chat.append(said("and now?"), COMPLETED)
    await until(page, lambda page: page.completed is not None)
    assert page.lines == [*LINES, ("You", "and now?")]
    assert (page.dropped, page.dividers, page.last_sequence) == (0, 1, 19)


async def test_a_cursor_of_a_log_that_is_no_more_hides_nothing(
    open_transport: Open, chat: Chat
) -> None:
    address = await open_transport(handshake_seconds=1)
    await chat.append(STARTED, said("one"))
    page = await open_page(address, chat.key.chat, chat.path(), 50)
    await chat.append(said("two"), said("three"), COMPLETED)
    await until(page, lambda page: page.completed is not None)
    assert [text for _, text in page.lines] == ["one", "two", "three"]
    assert page.dropped == 0


async def test_a_run_that_is_watched_live_shows_what_a_reload_shows(
    transport: str, chat: Chat
) -> None:
    first, *more = [*story(chat), COMPLETED]
    await chat.append(first)
    page = await open_page(transport, chat.key.chat, chat.path())
    for event in more:
        await chat.append(event)
    await until(page, lambda page: page.completed is not None)
    reloaded = await open_page(transport, chat.key.chat, chat.path())
    assert page.lines == reloaded.lines == LINES
    assert page.completed == reloaded.completed == "terminate"


@pytest.mark.parametrize("display", ["inline", "artifact"])
async def test_an_open_component_comes_back_after_a_reload_and_can_be_answered(
    transport: str, chat: Chat, display: str
) -> None:
    form = question(chat.key, 1, "b", 0)
    await chat.append(STARTED, SELECTED, REQUESTED, CALLED)
    await chat.append(shows(form, "artifact" if display == "artifact" else "inline"))
    page = await open_page(transport, chat.key.chat, chat.path(), 5)
    assert page.components[form]["component_type"] == "ColourPicker"
    assert page.artifact == (form if display == "artifact" else None)
    last = page.meta["last_artifact"]
    assert (last is not None) is (display == "artifact")
    if last is not None:
        assert (last["ui_tool_id"], last["event_id"]) == ("pick_colour", form)
        assert last["payload"]["colours"] == 2
    await chat.append(picked(form), COMPLETED)
    await until(page, lambda page: page.completed is not None)
    assert (page.components, page.artifact) == ({}, None)


async def test_an_open_question_is_there_after_a_reload(transport: str, chat: Chat) -> None:
    words = question(chat.key, 1, "a", 0)
    await chat.append(STARTED, SELECTED, asks(words))
    page = await open_page(transport, chat.key.chat, chat.path(), 3)
    assert (page.question, page.lines) == (words, [(PLANNER, "Which colour?")])


async def test_a_reload_in_mid_token_on_another_replica_ends_with_the_whole_text(
    open_transport: Open, chat: Chat
) -> None:
    one, other = await open_transport(), await open_transport()
    await chat.append(STARTED, SELECTED, REQUESTED)
    before = await open_page(one, chat.key.chat, chat.path())
    await chat.stream(chunk(0, "A "), chunk(2, "pl"))
    await until(before, lambda page: page.lines == [(PLANNER, "A pl")])
    await before.socket.close()
    after = await open_page(other, chat.key.chat, chat.path(), before.last_sequence)
    await until(after, lambda page: page.lines == [(PLANNER, "A pl")])
    await chat.stream(chunk(4, "an."))
    await chat.append(SAID)
    await until(after, lambda page: page.lines == [(PLANNER, "A plan.")])
    assert after.dropped == 0
