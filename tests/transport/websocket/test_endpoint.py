import asyncio
from typing import Any

import httpx
import pytest

from contracts import subjects
from contracts.commands import CancelChat, StartChat, StopAnswer
from contracts.ids import UserId, WorkflowName, new_command_id
from contracts.subjects import question
from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.process.broker import build_broker, connected
from services.transport.settings import Settings
from tests.transport.conftest import Open, running
from tests.transport.story import (
    CALLED,
    COMPLETED,
    REQUESTED,
    RESPONDED,
    RETURNED,
    SELECTED,
    STARTED,
    Chat,
    Client,
    chunk,
    client,
    last_command,
    question_answered,
    question_asked,
    user_message,
    user_messages,
)

pytestmark = pytest.mark.broker


async def test_a_client_with_a_cursor_gets_every_event_past_it_in_order(
    transport: str, chat: Chat
) -> None:
    await chat.append(STARTED, SELECTED, REQUESTED, CALLED, RETURNED)
    viewer = await client(f"{transport}{chat.path()}?after=2&events=1")
    meta = await viewer.next()
    assert (meta["type"], meta["chat_exists"], meta["cache_seed"]) == ("chat_meta", True, 7)
    boundary = await viewer.until("chat.resume_boundary")
    assert (boundary["seq"], boundary["data"]["replayed_events"]) == (5, 3)
    await chat.append(RESPONDED)
    await viewer.until("chat.text", seq=6)
    assert viewer.seqs() == [3, 4, 5, 6]
    await viewer.close()


async def test_a_client_without_a_cursor_gets_its_history_as_a_replay_then_live_frames(
    transport: str, chat: Chat
) -> None:
    await chat.append(STARTED, SELECTED, REQUESTED, RESPONDED)
    viewer = await client(f"{transport}{chat.path()}")
    await viewer.until("chat.resume_boundary")
    history = viewer.frames[1:-1]
    assert [frame["type"] for frame in history] == [
        "chat.run_start",
        "chat.select_speaker",
        "chat.text",
    ]
    assert all("seq" not in frame and frame["data"]["replay"] for frame in history)
    assert [frame["data"]["index"] for frame in history] == [1, 2, 4]
    await chat.append(user_message("and now?"))
    live = await viewer.until("chat.text")
    assert live["seq"] == 5
    assert "replay" not in live["data"]
    await viewer.close()


async def test_a_reload_that_resumes_at_once_gets_nothing_twice(
    open_transport: Open, chat: Chat
) -> None:
    address = await open_transport(resume_handshake_seconds=5)
    await chat.append(STARTED, *user_messages(4))
    viewer = await client(f"{address}{chat.path()}")
    await viewer.send(type="client.resume", chat_id=chat.key.chat, lastClientIndex=3)
    await viewer.until("chat.resume_boundary")
    await chat.append(user_message("the last"))
    await viewer.until("chat.text", seq=6)
    texts = [f["data"]["content"] for f in viewer.frames if f["type"] == "chat.text"]
    assert texts == [*(f"message {n}" for n in range(1, 5)), "the last"]
    await viewer.close()


async def test_a_resume_sends_only_events_after_the_cursor(transport: str, chat: Chat) -> None:
    await chat.append(STARTED, *user_messages(4))
    viewer = await client(f"{transport}{chat.path()}?after=5")
    await viewer.until("chat.resume_boundary")
    await viewer.send(type="client.resume", chat_id=chat.key.chat, lastClientIndex=3)
    boundary = await viewer.until("chat.resume_boundary")
    assert viewer.seqs("chat.text") == [4, 5]
    assert boundary["data"]["resume_mode"] == "client"
    await viewer.close()


async def test_concurrent_appends_reach_two_transports_without_gap_or_repeat(
    transport: str, open_transport: Open, chat: Chat
) -> None:
    one, other = transport, await open_transport(viewer_queue_size=3)
    await chat.append(STARTED)

    async def write() -> None:
        for _ in range(60):
            await chat.append(*user_messages(3))

    writing = asyncio.create_task(write())
    viewers = []
    for number in range(8):
        address = (one, other)[number % 2]
        viewers.append(await client(f"{address}{chat.path()}?after=0&events=1"))
        await asyncio.sleep(0.01)
    await writing
    await asyncio.gather(*(viewer.until("chat.event", seq=181) for viewer in viewers))
    assert all(viewer.seqs() == list(range(1, 182)) for viewer in viewers)
    for viewer in viewers:
        await viewer.close()


async def test_a_slow_viewer_resumes_from_its_cursor_and_slows_no_other_one(
    open_transport: Open, chat: Chat
) -> None:
    address = await open_transport(viewer_queue_size=4)
    await chat.append(STARTED)
    path = f"{address}{chat.path()}?after=0&events=1"
    slow = await client(path, max_queue=1, write_limit=1024)
    quick = await client(path)
    await slow.until("chat.resume_boundary")
    for _ in range(40):
        await chat.append(*[user_message("x" * 30_000) for _ in range(5)])
    await quick.until("chat.event", seq=201)
    await slow.until("chat.event", seq=201)
    await slow.until("chat.text", seq=201)
    assert quick.seqs() == slow.seqs() == list(range(1, 202))
    await slow.close()
    await quick.close()


async def test_a_reconnect_in_mid_token_on_another_replica_shows_the_text_so_far(
    transport: str, open_transport: Open, chat: Chat
) -> None:
    one = transport
    await chat.append(STARTED, SELECTED, REQUESTED)
    first = await client(f"{one}{chat.path()}?after=0")
    await first.until("chat.resume_boundary")
    await chat.stream(chunk(0, "Once "), chunk(5, "upon "))
    while first.streamed_text() != "Once upon ":
        await first.until("chat.print")
    await first.close()

    other = await open_transport()
    second = await client(f"{other}{chat.path()}?after=3")
    opened = await second.until("chat.print")
    assert (opened["data"]["offset"], opened["content"]) == (0, "Once upon ")
    await chat.stream(chunk(10, "a time"))
    while second.streamed_text() != "Once upon a time":
        await second.until("chat.print")
    await chat.append(RESPONDED)
    await second.until("chat.text", seq=4)
    await second.close()


async def test_a_restarted_attempt_restarts_the_text_and_late_chunks_are_ignored(
    transport: str, chat: Chat
) -> None:
    await chat.append(STARTED, SELECTED, REQUESTED)
    viewer = await client(f"{transport}{chat.path()}?after=0")
    await viewer.until("chat.resume_boundary")
    await chat.stream(chunk(0, "Once "))
    await viewer.until("chat.print")  # else the next attempt might have started before it is read
    await chat.stream(chunk(0, "Twice ", "r2"), chunk(5, "gone"))
    await chat.stream(chunk(6, "over", "r2"))
    while viewer.streamed_text() != "Twice over":
        await viewer.until("chat.print")
    assert [f["data"]["runner"] for f in viewer.frames if f["type"] == "chat.print"] == [
        "r1",
        "r2",
        "r2",
    ]
    await viewer.close()


async def test_an_outage_of_nats_leaves_no_gap(tmp_path: Any) -> None:
    server = NatsServer(tmp_path)
    server.start()
    try:
        async with running(Settings(nats_url=server.url)) as (address, _):
            settings = Settings(nats_url=server.url)
            async with connected(build_broker(settings, "test"), settings) as gateway:
                chat = Chat(gateway)
                await chat.append(STARTED)
                viewer = await client(f"{address}{chat.path()}?after=0&events=1")
                await viewer.until("chat.resume_boundary")
                server.kill()
                async with httpx.AsyncClient(base_url=f"http://{address}", timeout=20) as http:
                    reply = await http.get("/api/sessions/list/acme/ana")
                assert reply.status_code == 503
                assert reply.json() == {
                    "detail": "service: temporarily unavailable, try again shortly"
                }
                server.start()
                await chat.append(*user_messages(3))
                await viewer.until("chat.event", seq=4)
                assert viewer.seqs() == [1, 2, 3, 4]
                await viewer.close()
    finally:
        server.stop()


async def test_a_socket_waits_for_a_chat_that_was_only_just_started(
    open_transport: Open, chat: Chat
) -> None:
    address = await open_transport(start_wait_seconds=10)
    viewer = await client(f"{address}{chat.path()}?after=0")
    await chat.append(STARTED)
    assert (await viewer.next())["type"] == "chat_meta"
    await viewer.close()


@pytest.mark.parametrize(
    ("user", "workflow", "code"),
    [("bob", "Generator", "NOT_ALLOWED"), ("ana", "Other", "NOT_ALLOWED")],
)
async def test_a_chat_of_another_user_is_rejected(
    transport: str, chat: Chat, user: str, workflow: str, code: str
) -> None:
    await chat.append(STARTED)
    viewer = await client(f"{transport}{chat.path(user, workflow)}")
    assert await viewer.closed() == 1008
    assert [f["error_code"] for f in viewer.frames] == [code]


async def test_an_unknown_chat_is_rejected(transport: str, chat: Chat) -> None:
    viewer = await client(f"{transport}{chat.path()}")
    assert await viewer.closed() == 1008
    assert viewer.frames[0]["data"]["error_code"] == "CHAT_NOT_FOUND"


async def test_a_client_comes_back_to_its_chat_that_waits_to_be_started(
    transport: str, chat: Chat, gateway: JetStreamGateway
) -> None:
    start = StartChat(
        command_id=new_command_id(),
        app_id=chat.key.app,
        chat_id=chat.key.chat,
        user_id=UserId("ana"),
        workflow_name=WorkflowName("Generator"),
    )
    await gateway.commands.send(start)
    assert await (await client(f"{transport}{chat.path()}")).closed() == 1013
    assert await (await client(f"{transport}{chat.path('bob')}")).closed() == 1008
    queued = subjects.command(chat.key, "start_chat")
    await gateway.js.purge_stream(subjects.COMMANDS, subject=queued)  # as when it was given up
    assert await (await client(f"{transport}{chat.path()}")).closed() == 1008


async def test_a_transport_that_shuts_down_asks_its_clients_to_reconnect(
    nats: NatsServer, chat: Chat
) -> None:
    await chat.append(STARTED)
    async with running(Settings(nats_url=nats.url)) as (address, server):
        viewer = await client(f"{address}{chat.path()}?after=0")
        await viewer.until("chat.resume_boundary")
        server.should_exit = True
        assert await viewer.closed() == 1012


@pytest.fixture
async def viewer(transport: str, chat: Chat) -> Client:
    question_id = question(chat.key, 1, "call-1", 0)
    await chat.append(STARTED, SELECTED, question_asked(question_id))
    viewer = await client(f"{transport}{chat.path()}?after=0")
    await viewer.until("chat.resume_boundary")
    return viewer


@pytest.mark.parametrize(
    ("message", "code", "field"),
    [
        ("{", "SCHEMA_VALIDATION_FAILED", "message"),
        ("[]", "SCHEMA_VALIDATION_FAILED", "message"),
        ("[" * 100_000, "SCHEMA_VALIDATION_FAILED", "message"),
        (b"\x00\x01", "SCHEMA_VALIDATION_FAILED", "message"),
        ('{"text":"\\ud800"}', "SCHEMA_VALIDATION_FAILED", "message"),
        ("{}", "SCHEMA_VALIDATION_FAILED", "type"),
        ('{"type":["a"]}', "SCHEMA_VALIDATION_FAILED", "type"),
        ('{"type":"no.such"}', "SCHEMA_VALIDATION_FAILED", "type"),
        ('{"type":"user.input.submit","chat_id":"CHAT"}', "SCHEMA_VALIDATION_FAILED", "text"),
        (
            '{"type":"user.input.submit","chat_id":"CHAT","text":5}',
            "SCHEMA_VALIDATION_FAILED",
            "text",
        ),
        (
            '{"type":"user.input.submit","chat_id":"CHAT","text":" "}',
            "SCHEMA_VALIDATION_FAILED",
            "text",
        ),
        ('{"type":"user.input.submit","chat_id":"x","text":"hi"}', "NOT_ALLOWED", "chat_id"),
        (
            '{"type":"user.input.submit","chat_id":"CHAT","text":"hi","input_request_id":"q"}',
            "QUESTION_NOT_OPEN",
            "input_request_id",
        ),
        (
            '{"type":"ui_tool_response","eventId":"q","response":{}}',
            "QUESTION_NOT_OPEN",
            "eventId",
        ),
        ('{"type":"ui_tool_response","response":{}}', "SCHEMA_VALIDATION_FAILED", "eventId"),
        (
            '{"type":"client.resume","chat_id":"CHAT","lastClientIndex":"1"}',
            "SCHEMA_VALIDATION_FAILED",
            "lastClientIndex",
        ),
        ('{"type":"chat.cancel","reason":1}', "SCHEMA_VALIDATION_FAILED", "reason"),
        (f'"{"x" * 300_000}"', "MESSAGE_TOO_LARGE", "message"),
    ],
)
async def test_bad_input_is_rejected_by_its_field_and_the_socket_stays_open(
    viewer: Client, chat: Chat, message: str | bytes, code: str, field: str
) -> None:
    said_ = message.replace("CHAT", chat.key.chat) if isinstance(message, str) else message
    await viewer.send_raw(said_)
    refusal = await viewer.until("chat.error")
    assert (refusal["error_code"], refusal["data"]["field"]) == (code, field)
    assert refusal["message"].startswith(f"{field}: ")
    await chat.append(COMPLETED)
    await viewer.until("chat.run_complete")
    await viewer.close()


async def test_an_answer_is_sent_as_a_command_and_acknowledged(
    viewer: Client, chat: Chat, gateway: JetStreamGateway
) -> None:
    question_id = question(chat.key, 1, "call-1", 0)
    answer = {"chat_id": chat.key.chat, "text": "red", "input_request_id": question_id}
    await viewer.send(type="user.input.submit", **answer)
    assert (await viewer.next())["type"] == "chat.input_ack"
    ack = await viewer.until("ack.input")
    assert ack["data"] == {
        "chat_id": chat.key.chat,
        "status": "accepted",
        "input_request_id": question_id,
    }
    command = await last_command(gateway, chat.key)
    assert command.model_dump(include={"name", "question_id", "text", "user_id"}) == {
        "name": "answer_question",
        "question_id": question_id,
        "text": "red",
        "user_id": "ana",
    }
    await chat.append(question_answered(question_id))
    await viewer.until("chat.input_ack", seq=4)
    await viewer.send(type="user.input.submit", **answer)
    assert (await viewer.until("chat.error"))["error_code"] == "QUESTION_NOT_OPEN"
    await viewer.close()


async def test_an_ended_chat_accepts_no_message_and_no_cancel(viewer: Client, chat: Chat) -> None:
    await chat.append(COMPLETED)
    await viewer.until("chat.run_complete")
    await viewer.send(type="user.input.submit", chat_id=chat.key.chat, text="hi")
    assert (await viewer.until("chat.error"))["error_code"] == "CHAT_ENDED"
    await viewer.send(type="chat.cancel")
    assert (await viewer.until("chat.error"))["error_code"] == "CHAT_ENDED"
    await viewer.close()


async def test_a_message_and_a_cancel_are_sent_as_commands(
    viewer: Client, chat: Chat, gateway: JetStreamGateway
) -> None:
    await viewer.send(type="user.input.submit", chat_id=chat.key.chat, text="hi")
    await viewer.until("ack.input")
    assert (await last_command(gateway, chat.key)).name == "send_message"
    await viewer.send(type="chat.cancel", reason="enough")
    await viewer.send(type="unknown")
    await viewer.until("chat.error")
    command = await last_command(gateway, chat.key)
    assert isinstance(command, CancelChat)
    assert command.reason == "enough"
    await viewer.close()


async def test_a_stop_is_sent_as_a_command_for_the_turn_that_runs(
    viewer: Client, chat: Chat, gateway: JetStreamGateway
) -> None:
    await chat.append(SELECTED)
    await viewer.until("chat.select_speaker")
    await viewer.send(type="chat.stop")
    await viewer.send(type="unknown")
    await viewer.until("chat.error")
    command = await last_command(gateway, chat.key)
    assert isinstance(command, StopAnswer)
    assert command.turn == 1
    await viewer.close()


async def test_raw_events_are_sent_only_where_they_are_enabled(
    open_transport: Open, chat: Chat
) -> None:
    address = await open_transport(raw_events=False)
    await chat.append(STARTED, SELECTED, REQUESTED, RESPONDED.model_copy(update={"hidden": True}))
    viewer = await client(f"{address}{chat.path()}?after=0&events=1")
    await viewer.until("chat.resume_boundary")
    async with httpx.AsyncClient(base_url=f"http://{address}") as http:
        path = f"/api/chats/{chat.key.app}/{chat.key.chat}/events"
        page = await http.get(path, params={"user_id": "ana", "events": 1, "wait": 0})
    for told in (str(viewer.frames), page.text):
        assert "run_start" in told
        assert "A plan." not in told
        assert "chat.event" not in told
    await viewer.close()
