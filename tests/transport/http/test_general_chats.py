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
from contracts.wire.frames import (
    FRAMES,
    ErrorData,
    FrameData,
    PrintData,
    TextData,
    UsageData,
)
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.chats.general import GeneralChat
from services.transport.protocol.frame_encoding import Frame
from services.transport.websocket import general_mode
from tests.transport.chat_ui import open_page
from tests.transport.conftest import Open
from tests.transport.story import (
    PLANNER,
    REQUESTED,
    RESPONDED,
    SELECTED,
    STARTED,
    WORKFLOW,
    Chat,
    Client,
    chunk,
    client,
    component_requested,
    last_command,
    publish_cards,
    question_asked,
    user_message,
)

GENERAL = WorkflowName("General")
ASSISTANT = AgentName("Assistant")
CARD = WorkflowCard(name=GENERAL, pattern="DefaultPattern", general=True)


class EchoOrchestrator:
    """An orchestrator that answers every message with "You said ..."; `store_summaries` is persistence."""

    def __init__(self, gateway: JetStreamGateway) -> None:
        self.chats: dict[ChatKey, Chat] = {}
        self._gateway = gateway

    async def on_command(self, message: Msg) -> None:
        match COMMAND.validate_json(message.data):
            case StartChat(key=key) if key in self.chats:
                pass  # delivered twice
            case StartChat(workflow_name=name) as command:
                self.chats[command.key] = chat = Chat(self._gateway, command.key, workflow=name)
                await chat.append(ChatStarted(user_id=command.user_id, seed=7))
            case SendMessage(text=text) as command:
                chat, turn = self.chats[command.key], self.chats[command.key].seq
                who: dict[str, Any] = {"turn": turn, "agent": ASSISTANT}
                await chat.append(
                    user_message(text),
                    SpeakerSelected(**who, by="user_message"),
                    ModelRequested(**who, call=0, prompt=[], digest="d"),
                    ModelResponded(**who, call=0, text=f"You said {text}"),
                )
            case _:
                pass

    async def store_summaries(self, *keys: ChatKey) -> None:
        bucket = await self._gateway.key_values.bucket(subjects.CHATS)
        for key in keys:
            commit = await self._gateway.events.first(key)
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
async def working(gateway: JetStreamGateway) -> AsyncIterator[EchoOrchestrator]:
    orchestrator = EchoOrchestrator(gateway)
    subscription = await gateway.nc.subscribe("mozaiks.cmd.>", cb=orchestrator.on_command)
    yield orchestrator
    await subscription.unsubscribe()


@pytest.fixture
async def orchestrator(gateway: JetStreamGateway) -> AsyncIterator[EchoOrchestrator]:
    await publish_cards(gateway, CARD, WorkflowCard(name=WORKFLOW))
    async with working(gateway) as orchestrator:
        yield orchestrator


@pytest.fixture
def app() -> AppId:
    """An app id per test: general chats are counted by app and user."""
    return AppId(f"app-{new_chat_id()}")


def chat_of(app: AppId, gateway: JetStreamGateway) -> Chat:
    return Chat(gateway, ChatKey(app, new_chat_id()))


Enter = Callable[[], Awaitable[Client]]


@pytest.fixture
async def enter(
    open_transport: Open, app: AppId, gateway: JetStreamGateway, orchestrator: EchoOrchestrator
) -> AsyncIterator[Enter]:
    """Open a socket to the app's only workflow chat."""
    address = await open_transport(start_wait_seconds=5)
    chat = chat_of(app, gateway)
    await chat.append(STARTED, SELECTED)
    orchestrator.chats[chat.key] = chat
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
    return viewer.send(type="user.input.submit", chat_id="any", text=text, context=context)


def workflow_chat(orchestrator: EchoOrchestrator) -> Chat:
    return next(chat for chat in orchestrator.chats.values() if chat.workflow == WORKFLOW)


@pytest.mark.broker
async def test_a_general_chat_is_entered_used_and_left_on_one_socket(
    enter: Enter, orchestrator: EchoOrchestrator
) -> None:
    viewer, home = await enter(), workflow_chat(orchestrator)
    await viewer.send(type="chat.enter_general_mode")
    entered = (await viewer.until("chat.mode_changed"))["data"]
    assert (entered["mode"], entered["general_chat_label"]) == ("general", "General Chat #1")
    assert entered["general_chat_sequence"] == 1
    await home.append(user_message("meanwhile"))
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
    await viewer.send(type="chat.switch_workflow", chat_id=home.key.chat)
    await viewer.until("chat.resume_boundary")
    await home.append(user_message("and now?"))
    await viewer.until("chat.text", seq=4)
    kinds = [frame["type"] for frame in viewer.frames]
    assert kinds[:3] == ["chat.mode_changed", "chat.context_switched", "chat_meta"]
    assert viewer.frames[0]["data"]["mode"] == "workflow"
    texts = [f["content"] for f in viewer.frames if f["type"] == "chat.text"]
    assert texts == ["meanwhile", "and now?"]  # what is on the page already is not shown again


@pytest.mark.broker
async def test_text_that_was_streamed_meanwhile_is_complete_on_return(
    open_transport: Open, gateway: JetStreamGateway, app: AppId, orchestrator: EchoOrchestrator
) -> None:
    address, chat = await open_transport(start_wait_seconds=5), chat_of(app, gateway)
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
    await chat.append(RESPONDED)
    while page.bubbles[-1].streaming:
        await page.next()
    assert page.lines == [(PLANNER, "A plan.")]
    assert orchestrator.chats


@pytest.mark.broker
async def test_general_chats_keep_their_numbers_even_if_the_list_is_out_of_date(
    enter: Enter, orchestrator: EchoOrchestrator, app: AppId
) -> None:
    viewer = await enter()
    keys: list[ChatKey] = []
    for number in (1, 2, 3):
        await viewer.send(type="chat.start_general_chat")
        answer = (await viewer.until("chat.general_session_created"))["data"]
        assert answer["general_chat_sequence"] == number
        keys.append(ChatKey(app, ChatId(answer["general_chat_id"])))
        if number == 1:
            await orchestrator.store_summaries(*keys)  # the list gets the second and third later
    assert len(set(keys)) == 3
    await orchestrator.store_summaries(*keys)
    await viewer.send(type="chat.enter_general_mode")
    again = (await viewer.until("chat.mode_changed"))["data"]
    assert again["general_chat_id"] in {key.chat for key in keys}


@pytest.mark.broker
async def test_a_question_of_the_workflow_can_be_answered_in_general_mode(
    enter: Enter, orchestrator: EchoOrchestrator, gateway: JetStreamGateway
) -> None:
    viewer, home = await enter(), workflow_chat(orchestrator)
    words, form = (question(home.key, 1, call, 0) for call in ("a", "b"))
    await home.append(question_asked(words), component_requested(form, "artifact"))
    await viewer.send(type="chat.enter_general_mode")
    await viewer.until("chat.mode_changed")
    answer = {"text": "red", "input_request_id": words, "context": {"conversation_mode": "ask"}}
    await viewer.send(type="user.input.submit", chat_id=home.key.chat, **answer)
    assert (await viewer.until("ack.input"))["data"]["chat_id"] == home.key.chat
    assert isinstance(await last_command(gateway, home.key), AnswerQuestion)
    await viewer.send(type="ui_tool_response", eventId=form, response={"colour": "red"})
    await viewer.until("ack.ui_tool_response")
    assert isinstance(await last_command(gateway, home.key), AnswerUiTool)


@pytest.mark.broker
async def test_open_questions_are_sent_again_after_a_general_chat(
    enter: Enter, orchestrator: EchoOrchestrator
) -> None:
    viewer, home = await enter(), workflow_chat(orchestrator)
    words, form = (question(home.key, 1, call, 0) for call in ("a", "b"))
    await home.append(question_asked(words), component_requested(form))
    await viewer.until("chat.tool_call")
    await viewer.send(type="chat.enter_general_mode")
    await viewer.until("chat.mode_changed")
    viewer.frames.clear()
    await viewer.send(type="chat.switch_workflow", chat_id=home.key.chat)
    await viewer.until("chat.resume_boundary")
    asked = [frame for frame in viewer.frames if frame["type"] == "chat.input_request"]
    shown = [frame for frame in viewer.frames if frame["type"] == "chat.tool_call"]
    assert [frame["data"]["request_id"] for frame in asked] == [words]
    assert [frame["data"]["event_id"] for frame in shown] == [form]
    assert not any(frame["type"] == "chat.text" for frame in viewer.frames)


@pytest.mark.broker
async def test_a_question_of_another_users_chat_does_not_exist(
    enter: Enter, gateway: JetStreamGateway, app: AppId
) -> None:
    viewer, other = await enter(), chat_of(app, gateway)
    form = question(other.key, 1, "b", 0)
    await other.append(STARTED.model_copy(update={"user_id": "bob"}), component_requested(form))
    await viewer.send(type="ui_tool_response", eventId=form, response={})
    assert (await viewer.until("chat.error"))["error_code"] == "QUESTION_NOT_OPEN"


@pytest.mark.broker
async def test_two_tabs_that_enter_at_once_enter_the_same_chat(enter: Enter) -> None:
    tabs = [await enter(), await enter()]
    for tab in tabs:
        await tab.send(type="chat.enter_general_mode")
    entered = [(await tab.until("chat.mode_changed"))["data"]["general_chat_id"] for tab in tabs]
    assert entered[0] == entered[1]
    await ask(tabs[0], "Hello")
    assert (await tabs[1].until("chat.text"))["content"] == "Hello"


@pytest.mark.broker
async def test_a_reloaded_page_can_send_to_a_general_chat_at_once(enter: Enter) -> None:
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
    enter: Enter, orchestrator: EchoOrchestrator, app: AppId
) -> None:
    viewer = await enter()
    await ask(viewer, "one")
    entered = (await viewer.until("chat.mode_changed"))["data"]
    while (await viewer.until("chat.text"))["agent"] != "Assistant":
        pass
    broken = orchestrator.chats[ChatKey(app, ChatId(entered["general_chat_id"]))]
    viewer.frames.clear()
    await broken.append(ChatFailed(code="MODEL_UNREACHABLE", message="The model is away."))
    assert (await viewer.until("chat.error"))["error_code"] == "MODEL_UNREACHABLE"
    await ask(viewer, "two", entered["general_chat_id"])
    fresh = (await viewer.until("chat.general_session_created"))["data"]
    assert fresh["general_chat_label"] == "General Chat #2"
    assert (await viewer.until("chat.text"))["content"] == "two"
    assert "chat.run_complete" not in {frame["type"] for frame in viewer.frames}


@pytest.mark.broker
async def test_a_message_to_a_chat_that_is_not_general_or_not_ones_own_is_rejected(
    enter: Enter, orchestrator: EchoOrchestrator, gateway: JetStreamGateway, app: AppId
) -> None:
    viewer, home = await enter(), workflow_chat(orchestrator)
    other = Chat(gateway, ChatKey(app, new_chat_id()), workflow=GENERAL)
    await other.append(STARTED.model_copy(update={"user_id": "bob"}))
    for chat_id, code in (
        (home.key.chat, "NOT_ALLOWED"),
        (other.key.chat, "NOT_ALLOWED"),
        ("none", "CHAT_NOT_FOUND"),
    ):
        await ask(viewer, "hi", chat_id)
        assert (await viewer.until("chat.error"))["error_code"] == code
    await home.append(user_message("still here"))
    assert (await viewer.until("chat.text"))["content"] == "still here"


@pytest.mark.broker
async def test_chat_ui_shows_both_sides_of_a_general_chat_and_drops_nothing(
    open_transport: Open, gateway: JetStreamGateway, app: AppId, orchestrator: EchoOrchestrator
) -> None:
    address, chat = await open_transport(start_wait_seconds=5), chat_of(app, gateway)
    await chat.append(STARTED, *[user_message(f"line {n}") for n in range(20)])
    page = await open_page(address, chat.key.chat, chat.path())
    page.bubbles.clear()
    await page.submit("What is rye?", conversation_mode="ask")
    while len(page.lines) < 2:
        await page.next()
    assert page.lines == [("You", "What is rye?"), ("Assistant", "You said What is rye?")]
    assert (page.mode, page.dropped, page.completed, page.dividers) == ("general", 0, None, 1)
    assert orchestrator.chats


@pytest.mark.broker
async def test_general_chats_are_listed_and_have_transcripts(
    enter: Enter, orchestrator: EchoOrchestrator, app: AppId, transport: str
) -> None:
    viewer = await enter()
    for text in ("one", "two"):
        await viewer.send(type="chat.start_general_chat")
        await viewer.until("chat.general_session_created")
        await ask(viewer, text)
        while (await viewer.until("chat.text"))["agent"] != "Assistant":
            pass
    await orchestrator.store_summaries(*orchestrator.chats)
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
        answer = [(m["role"], m["agent_name"], m["content"]) for m in whole["messages"]]
        (_, _, question), _ = answer
        assert answer == [
            ("user", "user", question),
            ("assistant", ASSISTANT, f"You said {question}"),
        ]
        assert (whole["user_id"], whole["sequence"]) == ("ana", 2)
        first = (await http.get(path, params={"limit": 1})).json()["messages"]
        cursor = {"after_sequence": first[0]["sequence"]}
        rest = (await http.get(path, params=cursor)).json()["messages"]
        assert [*first, *rest] == whole["messages"]
        assert (await http.get(path, params={"user_id": "bob"})).status_code == 404
        assert (await http.get(path, params={"after_sequence": "x"})).status_code == 400
        home = workflow_chat(orchestrator).key.chat
        for chat_id in (home, "none"):
            missing = await http.get(f"/api/general_chats/transcript/{app}/{chat_id}")
            assert missing.status_code == 404


@pytest.mark.parametrize(
    "data",
    [d for d in FRAMES if d not in (TextData, PrintData, UsageData, ErrorData)],
    ids=lambda one: one.__name__,
)
def test_no_frame_of_a_general_chat_closes_an_artifact_of_the_workflow(
    data: type[FrameData],
) -> None:
    general = GeneralChat(ChatKey(AppId("acme"), ChatId("g-1")), 4)
    assert general_mode.as_general_frame(Frame(data.model_construct()), general) is None
