import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from nats.aio.msg import Msg

from contracts import subjects
from contracts.catalogue import ChatSummary, WorkflowCard
from contracts.commands import COMMAND, AnswerQuestion, AnswerUiTool, SendMessage, StartChat
from contracts.events.chat import ChatFailed, ChatStarted
from contracts.events.turn import ModelRequested, ModelResponded, SpeakerSelected
from contracts.ids import AgentName, AppId, ChatId, ChatKey, UserId, WorkflowName, new_chat_id
from contracts.subjects import question
from services.chassis.bus import Bus
from services.transport import asking
from services.transport.frames import Frame
from services.transport.general import GeneralChat
from tests.transport.chat_ui import open_page
from tests.transport.conftest import Open
from tests.transport.story import (
    PLANNER,
    REQUESTED,
    SAID,
    SELECTED,
    STARTED,
    WORKFLOW,
    Chat,
    Client,
    asks,
    chunk,
    client,
    offer,
    ordered,
    said,
    shows,
)

GENERAL = WorkflowName("General")
ASSISTANT = AgentName("Assistant")
CARD = WorkflowCard(name=GENERAL, pattern="DefaultPattern", general=True)


class Company:
    """An orchestrator that answers every message with "You said ..."; `keeps` is persistence."""

    def __init__(self, bus: Bus) -> None:
        self.chats: dict[ChatKey, Chat] = {}
        self._bus = bus

    async def hear(self, message: Msg) -> None:
        match COMMAND.validate_json(message.data):
            case StartChat(key=key) if key in self.chats:
                pass  # told twice
            case StartChat(workflow_name=name) as order:
                self.chats[order.key] = chat = Chat(self._bus, order.key, workflow=name)
                await chat.append(ChatStarted(user_id=order.user_id, seed=7))
            case SendMessage(text=text) as order:
                chat, turn = self.chats[order.key], self.chats[order.key].seq
                who: dict[str, Any] = {"turn": turn, "agent": ASSISTANT}
                await chat.append(
                    said(text),
                    SpeakerSelected(**who, by="user_message"),
                    ModelRequested(**who, call=0, prompt=[], digest="d"),
                    ModelResponded(**who, call=0, text=f"You said {text}"),
                )
            case _:
                pass

    async def keeps(self, *keys: ChatKey) -> None:
        bucket = await self._bus.bucket(subjects.CHATS)
        for key in keys:
            commit = await self._bus.events.first(key)
            assert commit is not None
            first = commit.events[0].envelope
            user = UserId(first.body["user_id"])
            summary = ChatSummary(
                app_id=key.app,
                chat_id=key.chat,
                user_id=user,
                workflow_name=first.workflow_name,
                status="waiting",
                created_at=first.time,
                updated_at=first.time,
                last_seq=first.seq,
            )
            value = summary.model_dump_json().encode()
            await bucket.put(subjects.chat_summary_key(key.app, user, key.chat), value)


@asynccontextmanager
async def working(bus: Bus) -> AsyncIterator[Company]:
    company = Company(bus)
    subscription = await bus.nc.subscribe("mozaiks.cmd.>", cb=company.hear)
    yield company
    await subscription.unsubscribe()


@pytest.fixture
async def company(bus: Bus) -> AsyncIterator[Company]:
    await offer(bus, CARD, WorkflowCard(name=WORKFLOW))
    async with working(bus) as company:
        yield company


@pytest.fixture
def app() -> AppId:
    """An app of the test's own: general chats are counted by app and user."""
    return AppId(f"app-{new_chat_id()}")


def chat_of(app: AppId, bus: Bus) -> Chat:
    return Chat(bus, ChatKey(app, new_chat_id()))


Enter = Callable[[], Awaitable[Client]]


@pytest.fixture
async def enter(
    open_transport: Open, app: AppId, bus: Bus, company: Company
) -> AsyncIterator[Enter]:
    """Come to the app's one workflow chat, on a socket of one's own."""
    address = await open_transport(start_wait_seconds=5)
    chat = chat_of(app, bus)
    await chat.append(STARTED, SELECTED)
    company.chats[chat.key] = chat
    sockets: list[Client] = []

    async def come() -> Client:
        sockets.append(await client(f"{address}{chat.path()}"))
        await sockets[-1].until("chat.resume_boundary")
        return sockets[-1]

    yield come
    for one in sockets:
        await one.close()


def ask(viewer: Client, text: str, general: str | None = None) -> Awaitable[None]:
    context = {"source": "ui", "conversation_mode": "ask", "general_chat_id": general}
    return viewer.say(type="user.input.submit", chat_id="any", text=text, context=context)


def workflow_chat(company: Company) -> Chat:
    return next(chat for chat in company.chats.values() if chat.workflow == WORKFLOW)


@pytest.mark.broker
async def test_a_general_chat_is_entered_asked_and_left_on_one_socket(
    enter: Enter, company: Company
) -> None:
    viewer, home = await enter(), workflow_chat(company)
    await viewer.say(type="chat.enter_general_mode")
    entered = (await viewer.until("chat.mode_changed"))["data"]
    assert (entered["mode"], entered["general_chat_label"]) == ("general", "General Chat #1")
    assert entered["general_chat_sequence"] == 1
    await home.append(said("meanwhile"))
    viewer.frames.clear()
    await ask(viewer, "What is sourdough?", entered["general_chat_id"])
    await viewer.until("ack.input")
    while [f["type"] for f in viewer.frames].count("chat.text") < 2:
        await viewer.next()
    mine, answer = [f for f in viewer.frames if f["type"] == "chat.text"]
    assert (mine["agent"], mine["content"]) == ("user", "What is sourdough?")
    assert (answer["agent"], answer["content"]) == ("Assistant", "You said What is sourdough?")
    assert answer["data"]["metadata"] == {
        "source": "general_agent",
        "general_chat_id": entered["general_chat_id"],
        "general_chat_label": "General Chat #1",
    }
    assert not any("seq" in frame for frame in viewer.frames)
    assert {f["type"] for f in viewer.frames} == {"chat.input_ack", "ack.input", "chat.text"}

    viewer.frames.clear()
    await viewer.say(type="chat.switch_workflow", chat_id=home.key.chat)
    await viewer.until("chat.resume_boundary")
    await home.append(said("and now?"))
    await viewer.until("chat.text", seq=4)
    kinds = [frame["type"] for frame in viewer.frames]
    assert kinds[:3] == ["chat.mode_changed", "chat.context_switched", "chat_meta"]
    assert viewer.frames[0]["data"]["mode"] == "workflow"
    texts = [f["content"] for f in viewer.frames if f["type"] == "chat.text"]
    assert texts == ["meanwhile", "and now?"]  # what is on the page already is not shown again


@pytest.mark.broker
async def test_a_text_that_is_spoken_meanwhile_is_whole_on_return(
    open_transport: Open, bus: Bus, app: AppId, company: Company
) -> None:
    address, chat = await open_transport(start_wait_seconds=5), chat_of(app, bus)
    await chat.append(STARTED, SELECTED, REQUESTED)
    page = await open_page(address, chat.key.chat, chat.path())
    await chat.stream(chunk(0, "A "))
    while page.lines != [(PLANNER, "A ")]:
        await page.next()
    await page.socket.send('{"type":"chat.enter_general_mode"}')
    while page.mode != "general":
        await page.next()
    await chat.stream(chunk(2, "pl"))
    back = {"type": "chat.switch_workflow", "chat_id": chat.key.chat}
    await page.socket.send(json.dumps(back))
    while page.lines != [(PLANNER, "A pl")]:
        await page.next()
    await chat.stream(chunk(4, "an."))
    while page.lines != [(PLANNER, "A plan.")]:
        await page.next()
    await chat.append(SAID)
    while page.bubbles[-1].streaming:
        await page.next()
    assert page.lines == [(PLANNER, "A plan.")]
    assert company.chats


@pytest.mark.broker
async def test_general_chats_keep_their_numbers_whatever_is_known_of_them_when(
    enter: Enter, company: Company, app: AppId
) -> None:
    viewer = await enter()
    begun: list[ChatKey] = []
    for number in (1, 2, 3):
        await viewer.say(type="chat.start_general_chat")
        told = (await viewer.until("chat.general_session_created"))["data"]
        assert told["general_chat_sequence"] == number
        begun.append(ChatKey(app, ChatId(told["general_chat_id"])))
        if number == 1:
            await company.keeps(*begun)  # of the second and third, lists know later
    assert len(set(begun)) == 3
    await company.keeps(*begun)
    await viewer.say(type="chat.enter_general_mode")
    again = (await viewer.until("chat.mode_changed"))["data"]
    assert again["general_chat_id"] in {key.chat for key in begun}


@pytest.mark.broker
async def test_what_the_workflow_asks_can_be_answered_from_beside_it(
    enter: Enter, company: Company, bus: Bus
) -> None:
    viewer, home = await enter(), workflow_chat(company)
    words, form = (question(home.key, 1, call, 0) for call in ("a", "b"))
    await home.append(asks(words), shows(form, "artifact"))
    await viewer.say(type="chat.enter_general_mode")
    await viewer.until("chat.mode_changed")
    answer = {"text": "red", "input_request_id": words, "context": {"conversation_mode": "ask"}}
    await viewer.say(type="user.input.submit", chat_id=home.key.chat, **answer)
    assert (await viewer.until("ack.input"))["data"]["chat_id"] == home.key.chat
    assert isinstance(await ordered(bus, home.key), AnswerQuestion)
    await viewer.say(type="ui_tool_response", eventId=form, response={"colour": "red"})
    await viewer.until("ack.ui_tool_response")
    assert isinstance(await ordered(bus, home.key), AnswerUiTool)


@pytest.mark.broker
async def test_a_question_of_someone_elses_chat_is_none(enter: Enter, bus: Bus, app: AppId) -> None:
    viewer, other = await enter(), chat_of(app, bus)
    form = question(other.key, 1, "b", 0)
    await other.append(STARTED.model_copy(update={"user_id": "bob"}), shows(form))
    await viewer.say(type="ui_tool_response", eventId=form, response={})
    assert (await viewer.until("chat.error"))["error_code"] == "QUESTION_NOT_OPEN"


@pytest.mark.broker
async def test_two_tabs_that_enter_at_once_enter_the_same_chat(enter: Enter) -> None:
    tabs = [await enter(), await enter()]
    for tab in tabs:
        await tab.say(type="chat.enter_general_mode")
    entered = [(await tab.until("chat.mode_changed"))["data"]["general_chat_id"] for tab in tabs]
    assert entered[0] == entered[1]
    await ask(tabs[0], "Hello")
    assert (await tabs[1].until("chat.text"))["content"] == "Hello"


@pytest.mark.broker
async def test_a_page_that_was_reloaded_may_ask_at_once(enter: Enter) -> None:
    first = await enter()
    await ask(first, "one")
    entered = (await first.until("chat.mode_changed"))["data"]
    assert (await first.until("chat.text"))["content"] == "one"
    second = await enter()
    await ask(second, "two", entered["general_chat_id"])
    assert (await second.until("chat.text"))["content"] == "two"
    assert (await second.until("chat.text"))["content"] == "You said two"


@pytest.mark.broker
async def test_a_general_chat_that_has_failed_is_followed_by_a_new_one(
    enter: Enter, company: Company, app: AppId
) -> None:
    viewer = await enter()
    await ask(viewer, "one")
    entered = (await viewer.until("chat.mode_changed"))["data"]
    while (await viewer.until("chat.text"))["agent"] != "Assistant":
        pass
    broken = company.chats[ChatKey(app, ChatId(entered["general_chat_id"]))]
    viewer.frames.clear()
    await broken.append(ChatFailed(code="MODEL_UNREACHABLE", message="The model is away."))
    assert (await viewer.until("chat.error"))["error_code"] == "MODEL_UNREACHABLE"
    await ask(viewer, "two", entered["general_chat_id"])
    fresh = (await viewer.until("chat.general_session_created"))["data"]
    assert fresh["general_chat_label"] == "General Chat #2"
    assert (await viewer.until("chat.text"))["content"] == "two"
    assert "chat.run_complete" not in {frame["type"] for frame in viewer.frames}


@pytest.mark.broker
async def test_a_question_for_a_chat_that_is_not_general_or_not_ones_own_is_refused(
    enter: Enter, company: Company, bus: Bus, app: AppId
) -> None:
    viewer, home = await enter(), workflow_chat(company)
    other = Chat(bus, ChatKey(app, new_chat_id()), workflow=GENERAL)
    await other.append(STARTED.model_copy(update={"user_id": "bob"}))
    for chat_id, code in (
        (home.key.chat, "NOT_ALLOWED"),
        (other.key.chat, "NOT_ALLOWED"),
        ("none", "CHAT_NOT_FOUND"),
    ):
        await ask(viewer, "hi", chat_id)
        assert (await viewer.until("chat.error"))["error_code"] == code
    await home.append(said("still here"))
    assert (await viewer.until("chat.text"))["content"] == "still here"


@pytest.mark.broker
async def test_chat_ui_shows_both_sides_of_a_general_chat_and_drops_nothing(
    open_transport: Open, bus: Bus, app: AppId, company: Company
) -> None:
    address, chat = await open_transport(start_wait_seconds=5), chat_of(app, bus)
    await chat.append(STARTED, *[said(f"line {n}") for n in range(20)])
    page = await open_page(address, chat.key.chat, chat.path())
    page.bubbles.clear()
    await page.submit("What is rye?", conversation_mode="ask")
    while len(page.lines) < 2:
        await page.next()
    assert page.lines == [("You", "What is rye?"), ("Assistant", "You said What is rye?")]
    assert (page.mode, page.dropped, page.completed, page.dividers) == ("general", 0, None, 1)
    assert company.chats


@pytest.mark.broker
async def test_pages_list_general_chats_and_read_what_was_said(
    enter: Enter, company: Company, app: AppId, transport: str
) -> None:
    viewer = await enter()
    for text in ("one", "two"):
        await viewer.say(type="chat.start_general_chat")
        await viewer.until("chat.general_session_created")
        await ask(viewer, text)
        while (await viewer.until("chat.text"))["agent"] != "Assistant":
            pass
    await company.keeps(*company.chats)
    async with httpx.AsyncClient(base_url=f"http://{transport}") as http:
        listed = (await http.get(f"/api/general_chats/list/{app}/ana")).json()
        assert listed["count"] == 2
        assert {one["label"] for one in listed["sessions"]} == {
            "General Chat #1",
            "General Chat #2",
        }
        newest = (await http.get(f"/api/general_chats/list/{app}/ana?limit=1")).json()
        assert [one["sequence"] for one in newest["sessions"]] == [2]
        sessions = (await http.get(f"/api/sessions/list/{app}/ana")).json()["sessions"]
        assert {one["workflow_name"] for one in sessions} == {WORKFLOW}
        assert GENERAL not in (await http.get("/api/workflows")).json()

        path = f"/api/general_chats/transcript/{app}/{newest['sessions'][0]['chat_id']}"
        whole = (await http.get(path)).json()
        told = [(m["role"], m["agent_name"], m["content"]) for m in whole["messages"]]
        (_, _, asked), _ = told
        assert told == [("user", "user", asked), ("assistant", ASSISTANT, f"You said {asked}")]
        assert (whole["user_id"], whole["sequence"]) == ("ana", 2)
        first = (await http.get(path, params={"limit": 1})).json()["messages"]
        cursor = {"after_sequence": first[0]["sequence"]}
        rest = (await http.get(path, params=cursor)).json()["messages"]
        assert [*first, *rest] == whole["messages"]
        assert (await http.get(path, params={"user_id": "bob"})).status_code == 404
        assert (await http.get(path, params={"after_sequence": "x"})).status_code == 400
        home = workflow_chat(company).key.chat
        for chat_id in (home, "none"):
            missing = await http.get(f"/api/general_chats/transcript/{app}/{chat_id}")
            assert missing.status_code == 404


@pytest.mark.parametrize(
    "kind", ["chat.run_complete", "chat.select_speaker", "chat.resume_boundary", "chat.tool_call"]
)
def test_nothing_of_a_general_chat_closes_what_the_workflow_has_open(kind: str) -> None:
    general = GeneralChat(ChatKey(AppId("acme"), ChatId("g-1")), 4)
    assert asking.asked(Frame(kind, {}), general) is None
