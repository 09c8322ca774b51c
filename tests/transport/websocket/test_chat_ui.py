import asyncio
from collections.abc import Callable

import pytest

from contracts.commands import AnswerQuestion, SendMessage
from contracts.events import Event
from contracts.subjects import question
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.patience import PATIENCE_SECONDS
from tests.transport.chat_ui import ChatUi, open_page
from tests.transport.conftest import Open
from tests.transport.story import (
    CALLED,
    COMPLETED,
    DONE,
    LOGGED,
    PLANNER,
    REQUESTED,
    RESPONDED,
    RETURNED,
    SELECTED,
    STARTED,
    USED,
    YOUR_TURN,
    Chat,
    chunk,
    client,
    component_answered,
    component_requested,
    last_command,
    question_answered,
    question_asked,
    user_message,
)

pytestmark = pytest.mark.broker


async def until(page: ChatUi, reached: Callable[[ChatUi], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not reached(page):
            await page.next()


def story(chat: Chat) -> list[Event]:
    words, form, panel = (question(chat.key, 1, call, 0) for call in ("a", "b", "c"))
    return [
        STARTED,
        user_message("make a plan"),
        SELECTED,
        REQUESTED,
        CALLED,
        USED,
        RETURNED,
        question_asked(words),
        question_answered(words),
        component_requested(form),
        component_answered(form),
        component_requested(panel, "artifact"),
        component_answered(panel),
        LOGGED,
        RESPONDED,
        DONE,
        YOUR_TURN,
    ]


ASKED = "Which colour?\n\n- red\n- blue"
"""A question as ChatUI shows it, with what it offers."""
LINES = [
    ("You", "make a plan"),
    (PLANNER, "Let me look."),
    (PLANNER, ASKED),
    ("You", "red"),
    (PLANNER, "A plan."),
]


@pytest.mark.parametrize("last_sequence", [0, 1, 9, 17])
async def test_a_page_is_complete_whatever_cursor_it_has(
    open_transport: Open, chat: Chat, last_sequence: int
) -> None:
    address = await open_transport(resume_handshake_seconds=1)
    await chat.append(*story(chat))
    page = await open_page(address, chat.key.chat, chat.path(), last_sequence)
    assert page.lines == LINES
    assert (page.components, page.artifact, page.question) == ({}, None, None)
    await chat.append(user_message("and now?"), COMPLETED)
    await until(page, lambda page: page.completed is not None)
    assert page.lines == [*LINES, ("You", "and now?")]
    assert (page.dropped, page.dividers, page.last_sequence) == (0, 1, 19)


async def test_a_cursor_of_a_deleted_log_hides_nothing(open_transport: Open, chat: Chat) -> None:
    address = await open_transport(resume_handshake_seconds=1)
    await chat.append(STARTED, user_message("one"))
    page = await open_page(address, chat.key.chat, chat.path(), 50)
    await chat.append(user_message("two"), user_message("three"), COMPLETED)
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
async def test_an_open_component_is_shown_after_a_reload_and_can_be_answered(
    transport: str, chat: Chat, display: str
) -> None:
    form = question(chat.key, 1, "b", 0)
    await chat.append(STARTED, SELECTED, REQUESTED, CALLED)
    await chat.append(component_requested(form, "artifact" if display == "artifact" else "inline"))
    page = await open_page(transport, chat.key.chat, chat.path(), 5)
    assert page.components[form]["component_type"] == "ColourPicker"
    assert page.artifact == (form if display == "artifact" else None)
    last = page.meta["last_artifact"]
    assert (last is not None) is (display == "artifact")
    if last is not None:
        assert (last["ui_tool_id"], last["event_id"]) == ("pick_colour", form)
        assert last["payload"]["colours"] == 2
    await chat.append(component_answered(form), COMPLETED)
    await until(page, lambda page: page.completed is not None)
    assert (page.components, page.artifact) == ({}, None)


async def test_an_open_question_is_shown_after_a_reload(transport: str, chat: Chat) -> None:
    words = question(chat.key, 1, "a", 0)
    await chat.append(STARTED, SELECTED, question_asked(words))
    page = await open_page(transport, chat.key.chat, chat.path(), 3)
    assert (page.question, page.lines) == (words, [(PLANNER, ASKED)])


async def test_a_text_that_names_no_question_answers_the_only_one(
    transport: str, chat: Chat, gateway: JetStreamGateway
) -> None:
    words = question(chat.key, 1, "a", 0)
    await chat.append(STARTED, SELECTED, question_asked(words))
    viewer = await client(f"{transport}{chat.path()}")
    await viewer.until("chat.resume_boundary")
    text = {"type": "user.input.submit", "chat_id": chat.key.chat, "text": "red"}
    await viewer.send(**text)
    assert (await viewer.until("ack.input"))["data"]["input_request_id"] == words
    command = await last_command(gateway, chat.key)
    assert isinstance(command, AnswerQuestion)
    assert (command.question_id, command.text) == (words, "red")
    other = await client(f"{transport}{chat.path()}")
    await other.until("chat.resume_boundary")
    await other.send(**text)
    assert (await other.until("chat.error"))["error_code"] == "QUESTION_NOT_OPEN"


@pytest.mark.parametrize("calls", ["", "ab"])
async def test_a_text_is_a_message_where_no_question_or_more_than_one_is_open(
    transport: str, chat: Chat, gateway: JetStreamGateway, calls: str
) -> None:
    questions = [question_asked(question(chat.key, 1, call, 0)) for call in calls]
    await chat.append(STARTED, SELECTED, *questions)
    viewer = await client(f"{transport}{chat.path()}")
    await viewer.until("chat.resume_boundary")
    await viewer.send(type="user.input.submit", chat_id=chat.key.chat, text="red")
    assert (await viewer.until("ack.input"))["data"]["input_request_id"] is None
    assert isinstance(await last_command(gateway, chat.key), SendMessage)


async def test_a_client_with_a_cursor_says_itself_what_a_text_answers(
    transport: str, chat: Chat, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, SELECTED, question_asked(question(chat.key, 1, "a", 0)))
    viewer = await client(f"{transport}{chat.path()}?after=0")
    await viewer.until("chat.resume_boundary")
    await viewer.send(type="user.input.submit", chat_id=chat.key.chat, text="red")
    await viewer.until("ack.input")
    assert isinstance(await last_command(gateway, chat.key), SendMessage)


async def test_a_reload_in_mid_token_on_another_replica_ends_with_the_whole_text(
    transport: str, open_transport: Open, chat: Chat
) -> None:
    one, other = transport, await open_transport()
    await chat.append(STARTED, SELECTED, REQUESTED)
    before = await open_page(one, chat.key.chat, chat.path())
    await chat.stream(chunk(0, "A "), chunk(2, "pl"))
    await until(before, lambda page: page.lines == [(PLANNER, "A pl")])
    await before.socket.close()
    after = await open_page(other, chat.key.chat, chat.path(), before.last_sequence)
    await until(after, lambda page: page.lines == [(PLANNER, "A pl")])
    await chat.stream(chunk(4, "an."))
    await chat.append(RESPONDED)
    await until(after, lambda page: page.lines == [(PLANNER, "A plan.")])
    assert after.dropped == 0
