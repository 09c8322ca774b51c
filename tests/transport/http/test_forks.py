"""Forks over HTTP and the WebSocket: begun by one command, read through their origin, and past states."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contracts import subjects
from contracts.catalogue import ChatSummary
from contracts.commands import AnswerQuestion, ForkChat
from contracts.events.chat import AttachmentUploaded, ChatForked
from contracts.events.turn import VariablesChanged
from contracts.ids import AgentName, ChatId, ChatKey, Seq, StreamSeq, chat_id_of_fork, new_chat_id
from services.chassis.jetstream.event_log import Place
from services.chassis.jetstream.forks import locate_fork, read_origin
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.transport.persistence import answering
from tests.transport.story import (
    ANA,
    COMPLETED,
    NOON,
    RESPONDED,
    SELECTED,
    STARTED,
    YOUR_TURN,
    Chat,
    client,
    last_command,
    question_answered,
    question_asked,
    remove_commands,
    user_message,
    user_messages,
)

pytestmark = pytest.mark.broker

FILE = AttachmentUploaded(
    attachment_id="att_1",
    user_id=ANA,
    filename="a.txt",
    size_bytes=5,
    content_type="text/plain",
    digest="ab",
)


def coloured(colour: str) -> VariablesChanged:
    return VariablesChanged(turn=1, agent=AgentName("PlannerAgent"), changed={"colour": colour})


@pytest.fixture
async def http(transport: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=20) as http:
        yield http


async def test_a_deleted_chat_that_this_process_does_not_know_is_not_forked(
    http: httpx.AsyncClient, gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED, SELECTED, YOUR_TURN)
    row = ChatSummary(
        app_id=chat.key.app,
        chat_id=chat.key.chat,
        user_id=ANA,
        workflow_name=chat.workflow,
        status="waiting",
        deleted=True,
        created_at=NOON,
        updated_at=NOON,
        last_seq=Seq(3),
    )
    bucket = await gateway.key_values.bucket(subjects.CHATS)
    place = subjects.chat_summary_key(chat.key.app, ANA, chat.key.chat)
    await bucket.put(place, row.model_dump_json().encode())
    refused = await http.post(path(chat, "fork"), json={"user_id": ANA})
    assert refused.status_code == 410


def path(chat: Chat, rest: str) -> str:
    return f"/api/chats/{chat.key.app}/{chat.key.chat}/{rest}"


async def forked(
    gateway: JetStreamGateway, origin: Chat, seq: int, chat: ChatId | None = None
) -> Chat:
    """A fork of a chat, as an orchestrator begins it."""
    read = await read_origin(gateway.events, origin.key)
    assert read is not None
    found = await locate_fork(gateway.events, origin.key, read, Seq(seq))
    assert found is not None
    head, key = found.point.head, ChatKey(origin.key.app, chat or new_chat_id())
    fork = Chat(gateway, key, Place(StreamSeq(0), head), origin.workflow)
    await fork.append(
        ChatForked(user_id=ANA, origin=origin.key.chat, seq=head.seq, segments=list(found.segments))
    )
    return fork


async def test_a_fork_is_begun_by_a_command_that_names_its_origin(
    http: httpx.AsyncClient, gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED, *user_messages(2))
    await chat.append(RESPONDED, YOUR_TURN)
    asked = {"user_id": "ana", "seq": 2, "client_request_id": "click", "message": "Else"}
    answer = await http.post(path(chat, "fork"), json=asked)
    assert answer.status_code == 202  # nobody has begun it here
    told = answer.json()
    assert told["origin"] == {"chat_id": chat.key.chat, "sequence": 3}  # the end of its decision
    assert told["chat_id"] == chat_id_of_fork(chat.key, ANA, "click")
    command = await last_command(gateway, ChatKey(chat.key.app, told["chat_id"]))
    assert isinstance(command, ForkChat)
    assert (command.origin, command.seq, command.message) == (chat.key.chat, 3, "Else")
    await remove_commands(gateway, command.key)
    await forked(gateway, chat, 3, command.chat_id)
    again = await http.post(path(chat, "fork"), json={**asked, "seq": 5})
    assert again.status_code == 200
    assert again.json() | {"reused": False} == told | {"reused": False}
    assert again.json()["reused"]


@pytest.mark.parametrize(
    ("asked", "status", "named"),
    [
        ({"seq": 99}, 400, "seq: found 99, the chat ends at event 4"),
        ({"seq": 0}, 400, "seq"),
        ({"user_id": "bob"}, 404, "user_id: no such chat of this user"),
    ],
)
async def test_a_fork_that_cannot_be_names_what_is_wrong(
    http: httpx.AsyncClient, chat: Chat, asked: dict[str, Any], status: int, named: str
) -> None:
    await chat.append(STARTED, SELECTED, RESPONDED, COMPLETED)
    answer = await http.post(path(chat, "fork"), json={"user_id": "ana", **asked})
    assert answer.status_code == status
    assert answer.json()["detail"].startswith(named)


async def test_a_chat_of_another_app_is_not_forked(http: httpx.AsyncClient, chat: Chat) -> None:
    await chat.append(STARTED)
    answer = await http.post(
        f"/api/chats/other/{chat.key.chat}/fork", json={"user_id": "ana", "seq": 1}
    )
    assert answer.status_code == 404


async def test_the_frames_of_a_fork_are_those_of_its_origin_and_its_own_with_one_cursor(
    http: httpx.AsyncClient, transport: str, gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED, *user_messages(3))
    fork = await forked(gateway, chat, 4)
    await fork.append(user_message("in the fork"))
    await chat.append(user_message("in the origin"))
    viewer = await client(f"{transport}{fork.path()}?after=0")
    await viewer.until("chat.resume_boundary")
    meta = viewer.frames[0]
    assert (meta["chat_id"], meta["origin_chat_id"], meta["origin_sequence"]) == (
        fork.key.chat,
        chat.key.chat,
        4,
    )
    shown = [frame["data"]["content"] for frame in viewer.frames if frame["type"] == "chat.text"]
    assert shown == ["message 1", "message 2", "message 3", "in the fork"]
    assert [f["seq"] for f in viewer.frames if "seq" in f] == [1, 2, 3, 4, 5, 6, 6]
    await fork.append(user_message("live"))
    assert (await viewer.until("chat.text"))["data"]["content"] == "live"
    await viewer.close()
    later = await client(f"{transport}{fork.path()}?after=3")
    await later.until("chat.resume_boundary")
    assert later.seqs("chat.text") == [4, 6, 7]
    await later.close()
    tail = await client(f"{transport}{fork.path()}?tail=4")
    history = await tail.until("chat.history")
    assert [frame["seq"] for frame in history["data"]["frames"]] == [4, 5, 6, 7]
    await tail.close()
    query = "events?user_id=ana&before=5&limit=2"
    page = (await http.get(path(fork, query), headers={"accept": "application/json"})).json()
    assert [frame["seq"] for frame in page["frames"]] == [3, 4]


async def test_a_question_of_the_origin_is_answered_in_the_fork_alone(
    http: httpx.AsyncClient, transport: str, gateway: JetStreamGateway, chat: Chat
) -> None:
    question = subjects.question(chat.key, 1, "call-1", 0)
    await chat.append(STARTED, SELECTED, question_asked(question))
    fork = await forked(gateway, chat, 3)
    await chat.append(question_answered(question))
    body = {"input_request_id": question, "user_input": "blue"}
    refused = await http.post("/api/user-input/submit", json=body)
    assert refused.status_code == 404  # of the chat that asked, which is answered
    accepted = await http.post("/api/user-input/submit", json={**body, "chat_id": fork.key.chat})
    assert accepted.status_code == 200
    command = await last_command(gateway, fork.key)
    assert isinstance(command, AnswerQuestion)
    assert (command.chat_id, command.text) == (fork.key.chat, "blue")
    await remove_commands(gateway, fork.key)
    viewer = await client(f"{transport}{fork.path()}?after=0")
    await viewer.until("chat.resume_boundary")
    await fork.append(question_answered(question))
    await viewer.until("chat.input_ack")
    await viewer.close()


async def test_a_fork_has_the_files_of_its_origin(
    http: httpx.AsyncClient, gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED, FILE)
    stored = subjects.attachment_key(chat.key, FILE.attachment_id)
    await (await gateway.js.object_store(subjects.ATTACHMENTS)).put(stored, b"bread")
    fork = await forked(gateway, chat, 2)
    mine = await http.get(path(fork, "attachments/att_1"), params={"user_id": "ana"})
    assert (mine.status_code, mine.content) == (200, b"bread")
    other = await http.get(path(fork, "attachments/att_1"), params={"user_id": "bob"})
    assert other.status_code == 404


async def test_the_state_after_any_event_is_shown(
    http: httpx.AsyncClient, gateway: JetStreamGateway, chat: Chat
) -> None:
    question = subjects.question(chat.key, 1, "call-1", 0)
    await chat.append(STARTED, user_message("Paint it"), SELECTED, coloured("red"))
    await chat.append(question_asked(question), question_answered(question), coloured("blue"))
    fork = await forked(gateway, chat, 7)
    for of in (chat, fork):
        states = [
            (await http.get(path(of, "state"), params={"user_id": "ana", "at": at})).json()
            for at in range(1, 8)
        ]
        assert [one["variables"].get("colour") for one in states] == [
            *[None] * 3,
            *["red"] * 3,
            "blue",
        ]
        assert [len(one["open_questions"]) for one in states] == [0, 0, 0, 0, 1, 0, 0]
        assert [one["chat_status"] for one in states] == [
            *["running"] * 4,
            "waiting",
            *["running"] * 2,
        ]
        assert states[4]["speaker"] == "PlannerAgent"
        assert {one["chat_id"] for one in states} == {of.key.chat}
    now = (await http.get(path(fork, "state"), params={"user_id": "ana"})).json()
    assert now["origin"] == {"chat_id": chat.key.chat, "sequence": 7}
    assert now["sequence"] == now["last_sequence"] == 8
    beyond = await http.get(path(chat, "state"), params={"user_id": "ana", "at": 8})
    assert (beyond.status_code, beyond.json()["detail"]) == (
        400,
        "at: found 8, the chat ends at event 7",
    )


async def test_the_transcript_of_a_fork_goes_through_its_origin_and_ends_where_it_is_asked_to(
    http: httpx.AsyncClient, gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED, *user_messages(3))
    fork = await forked(gateway, chat, 4)
    await fork.append(user_message("in the fork"))
    await chat.append(user_message("in the origin"))
    async with answering(gateway) as persistence:
        for one in (chat, fork):
            await persistence.project(one)

        async def texts(of: Chat, **query: Any) -> list[str]:
            found: list[str] = []
            cursor: dict[str, Any] = {}
            while True:
                page = (
                    await http.get(
                        path(of, "messages"), params={"user_id": "ana", **query, **cursor}
                    )
                ).json()
                found += [message["content"] for message in page["messages"]]
                if page["next"] is None:
                    return found
                cursor = {"cursor": page["next"]}

        whole = ["message 1", "message 2", "message 3", "in the fork"]
        assert await texts(fork) == whole
        assert await texts(fork, limit=1) == whole
        assert await texts(fork, at=3) == whole[:2]
        assert await texts(chat, at=3) == whole[:2]
        assert (await texts(chat))[-1] == "in the origin"
        page = (await http.get(path(chat, "forks"), params={"user_id": "ana"})).json()
    assert [(one["chat_id"], one["origin"]) for one in page["forks"]] == [
        (fork.key.chat, {"chat_id": chat.key.chat, "sequence": 4})
    ]


async def test_a_socket_forks_the_chat_that_it_shows(
    transport: str, gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED, SELECTED)
    viewer = await client(f"{transport}{chat.path()}?after=0")
    await viewer.until("chat.resume_boundary")
    await viewer.send(type="chat.fork", seq=1, client_request_id="click")
    begun = (await viewer.until("chat.fork_started"))["data"]
    assert begun["chat_id"] == chat_id_of_fork(chat.key, ANA, "click")
    assert (begun["origin_chat_id"], begun["origin_sequence"]) == (chat.key.chat, 2)
    await viewer.send(type="chat.fork", seq=99)
    assert "99" in (await viewer.until("chat.error"))["data"]["message"]
    await viewer.close()
    await remove_commands(gateway, ChatKey(chat.key.app, begun["chat_id"]))
