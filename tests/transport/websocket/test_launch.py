from collections.abc import AsyncIterator
from typing import Any

import pytest

from contracts import subjects
from contracts.catalogue import WorkflowCard
from contracts.commands import COMMAND, StartChat
from contracts.ids import AppId, ChatId, ChatKey, UserId, WorkflowName
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.transport.chat_ui import open_page
from tests.transport.story import (
    SELECTED,
    STARTED,
    WORKFLOW,
    Chat,
    Client,
    client,
    publish_cards,
    user_message,
    user_messages,
)

pytestmark = pytest.mark.broker

CARD = WorkflowCard(name=WORKFLOW, pattern="DefaultPattern")
TORN = WorkflowCard(name=WorkflowName("Torn"), problems=["agents.json: is not JSON"])


@pytest.fixture
async def viewer(transport: str, chat: Chat, gateway: JetStreamGateway) -> AsyncIterator[Client]:
    await publish_cards(gateway, CARD, TORN)
    await chat.append(STARTED, SELECTED)
    viewer = await client(f"{transport}{chat.path()}?after=0&events=1")
    await viewer.until("chat.resume_boundary")
    yield viewer
    await viewer.close()


async def start_command(gateway: JetStreamGateway, chat_id: str) -> StartChat:
    subject = subjects.command(ChatKey(AppId("acme"), ChatId(chat_id)), "start_chat")
    found = await gateway.js.get_last_msg(subjects.COMMANDS, subject)
    command = COMMAND.validate_json(found.data or b"")
    assert isinstance(command, StartChat)
    return command


async def test_a_chat_is_started_from_within_another(
    viewer: Client, gateway: JetStreamGateway
) -> None:
    await viewer.send(
        type="chat.start_workflow", workflow_name=WORKFLOW, initial_message="go", label="A"
    )
    started = (await viewer.until("chat.workflow_started"))["data"]
    assert (started["workflow_name"], started["app_id"], started["user_id"], started["label"]) == (
        WORKFLOW,
        "acme",
        "ana",
        "A",
    )
    command = await start_command(gateway, started["chat_id"])
    assert (command.user_id, command.message, command.workflow_name) == ("ana", "go", WORKFLOW)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Nope", "WORKFLOW_NOT_FOUND"),
        ("Torn", "WORKFLOW_NOT_LOADED"),
        ("x" * 200, "SCHEMA_VALIDATION_FAILED"),
    ],
)
async def test_a_workflow_that_cannot_start_is_reported_as_blocked(
    viewer: Client, name: str, code: str
) -> None:
    await viewer.send(type="chat.start_workflow", workflow_name=name)
    blocked = (await viewer.until("chat.prereq_blocked"))["data"]
    assert (blocked["workflow_name"], blocked["error_code"]) == (name, code)
    assert blocked["message"].startswith("workflow_name: ")


async def test_a_batch_starts_as_many_workflows_as_the_limit_allows(
    viewer: Client, gateway: JetStreamGateway
) -> None:
    runs = [{"workflow_name": WORKFLOW, "prompt": f"number {n}"} for n in range(5)]
    await viewer.send(type="chat.start_workflow_batch", runs=[{"workflow_name": "Torn"}, *runs])
    told = (await viewer.until("chat.workflow_batch_started"))["data"]
    assert told["count"] == len(told["workflows"]) == 3
    codes = [one["error_code"] for one in told["blocked"]]
    assert codes == ["WORKFLOW_NOT_LOADED", "LIMIT_REACHED", "LIMIT_REACHED"]
    first = await start_command(gateway, told["workflows"][0]["chat_id"])
    assert first.message == "number 0"


async def test_a_socket_switches_to_another_chat_of_the_same_user(
    viewer: Client, chat: Chat, gateway: JetStreamGateway
) -> None:
    other = Chat(gateway)
    await other.append(STARTED, *user_messages(2))
    await viewer.send(type="chat.switch_workflow", chat_id=other.key.chat)
    switched = (await viewer.until("chat.context_switched"))["data"]
    assert (switched["from_chat_id"], switched["to_chat_id"], switched["workflow_name"]) == (
        chat.key.chat,
        other.key.chat,
        WORKFLOW,
    )
    viewer.frames.clear()
    assert (await viewer.until("chat_meta"))["chat_id"] == other.key.chat
    await viewer.until("chat.resume_boundary")
    await chat.append(user_message("of the old chat"))
    await other.append(user_message("of the new chat"))
    text = await viewer.until("chat.text", seq=4)
    assert text["content"] == "of the new chat"
    assert viewer.seqs() == [1, 2, 3, 4]
    await viewer.send(type="user.input.submit", chat_id=other.key.chat, text="hi")
    await viewer.until("ack.input")
    await viewer.send(type="user.input.submit", chat_id=chat.key.chat, text="hi")
    assert (await viewer.until("chat.error"))["error_code"] == "NOT_ALLOWED"


async def test_a_socket_cannot_switch_to_a_chat_of_another_user_and_stays_open(
    viewer: Client, chat: Chat, gateway: JetStreamGateway
) -> None:
    other = Chat(gateway)
    await other.append(STARTED.model_copy(update={"user_id": UserId("bob")}))
    for chat_id, code in ((other.key.chat, "NOT_ALLOWED"), ("none", "CHAT_NOT_FOUND")):
        await viewer.send(type="chat.switch_workflow", chat_id=chat_id)
        assert (await viewer.until("chat.error"))["error_code"] == code
    await chat.append(user_message("still here"))
    await viewer.until("chat.text", seq=3)


async def test_chat_ui_drops_nothing_of_a_shorter_chat_that_it_switches_to(
    transport: str, chat: Chat, gateway: JetStreamGateway
) -> None:
    long, short = chat, Chat(gateway)
    await long.append(STARTED, *user_messages(20))
    await short.append(STARTED, user_message("one"))
    page = await open_page(transport, long.key.chat, long.path())
    page.bubbles.clear()
    await page.socket.send(f'{{"type":"chat.switch_workflow","chat_id":"{short.key.chat}"}}')
    page.dividers = 0
    while page.dividers == 0:
        await page.next()
    await short.append(user_message("two"), user_message("three"))
    while ("You", "three") not in page.lines:
        await page.next()
    assert ([text for _, text in page.lines], page.dropped) == (["one", "two", "three"], 0)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"type": "chat.switch_workflow"}, "chat_id"),
        ({"type": "chat.start_workflow"}, "workflow_name"),
        ({"type": "chat.start_workflow", "workflow_name": "G", "auto_run": False}, "auto_run"),
        ({"type": "chat.start_workflow", "workflow_name": "G", "initial_agent": "A"}, "initial_"),
        ({"type": "chat.start_workflow_batch", "runs": []}, "runs"),
        ({"type": "chat.start_workflow_batch", "runs": [{}]}, "runs"),
    ],
)
async def test_an_invalid_launch_is_rejected_by_its_field(
    viewer: Client, message: dict[str, Any], field: str
) -> None:
    await viewer.send(**message)
    refusal = await viewer.until("chat.error")
    assert refusal["error_code"] == "SCHEMA_VALIDATION_FAILED"
    assert refusal["data"]["field"].startswith(field)
