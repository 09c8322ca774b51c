from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contracts import subjects
from contracts.catalogue import WorkflowCard
from contracts.commands import SetVariables, StartChat
from contracts.ids import AppId, ChatId, ChatKey
from contracts.reserved_variables import RUNTIME_VARIABLES, is_reserved
from contracts.wire.client_messages import ui_variables
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.transport.story import (
    COMPLETED,
    STARTED,
    WORKFLOW,
    Chat,
    client,
    last_command,
    publish_cards,
)


def action(**variables: Any) -> dict[str, Any]:
    named = {"component_id": "palette", "action_type": "pick", "user_id": "ana"}
    return {**named, "action_data": {"set": variables}}


@pytest.fixture
async def http(transport: str, gateway: JetStreamGateway) -> AsyncIterator[httpx.AsyncClient]:
    settable: dict[str, list[str]] = {"colour": ["palette"], "sizes": [], "stock": ["warehouse"]}
    await publish_cards(gateway, WorkflowCard(name=WORKFLOW, settable=settable))
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=20) as http:
        yield http


def test_no_page_can_set_a_reserved_variable() -> None:
    names = (*RUNTIME_VARIABLES, "_seed", "ag:approved", "a2a:x")
    assert all(is_reserved(name) for name in names)
    assert not any(is_reserved(name) for name in ui_variables(dict.fromkeys(names)))


@pytest.mark.broker
async def test_a_component_sets_variables_of_its_chat(
    http: httpx.AsyncClient, chat: Chat, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED)
    url = f"/chat/{chat.key.app}/{chat.key.chat}/component_action"
    told = (await http.post(url, json=action(colour="red", sizes=[1, 2]))).json()
    assert (told["status"], told["applied"]) == ("success", {"colour": "red", "sizes": [1, 2]})
    command = await last_command(gateway, chat.key)
    assert isinstance(command, SetVariables)
    assert (command.user_id, command.component) == ("ana", "palette")
    assert command.variables == {"colour": "red", "sizes": [1, 2]}


@pytest.mark.broker
@pytest.mark.parametrize(
    ("body", "field"),
    [
        (action(app_id="other"), "action_data.set.app_id"),
        (action(colour="red", _secret=1), "action_data.set._secret"),
        (action(**{"ag:approved": True}), "action_data.set.ag:approved"),
    ],
)
async def test_a_variable_that_a_component_may_not_set_is_rejected_by_name(
    http: httpx.AsyncClient, chat: Chat, body: dict[str, Any], field: str
) -> None:
    await chat.append(STARTED)
    reply = await http.post(f"/chat/{chat.key.app}/{chat.key.chat}/component_action", json=body)
    assert reply.status_code == 400
    assert reply.json()["detail"].startswith(field)


@pytest.mark.broker
@pytest.mark.parametrize("name", ["price", "stock", "solved"])
async def test_a_variable_that_is_not_settable_by_a_user_or_this_component_is_refused_with_403(
    http: httpx.AsyncClient, chat: Chat, gateway: JetStreamGateway, name: str
) -> None:
    await chat.append(STARTED)
    before = (await gateway.js.stream_info(subjects.COMMANDS)).state.last_seq
    url = f"/chat/{chat.key.app}/{chat.key.chat}/component_action"
    reply = await http.post(url, json=action(colour="red", **{name: -5}))
    assert reply.status_code == 403
    assert reply.json()["detail"].startswith(f"action_data.set.{name}: ")
    assert (await gateway.js.stream_info(subjects.COMMANDS)).state.last_seq == before


@pytest.mark.broker
async def test_a_component_action_needs_an_open_chat_of_its_own_user(
    http: httpx.AsyncClient, chat: Chat
) -> None:
    await chat.append(STARTED)
    url = f"/chat/{chat.key.app}/{chat.key.chat}/component_action"
    assert (await http.post(url, json={**action(sizes=1), "user_id": "bob"})).status_code == 404
    await chat.append(COMPLETED)
    assert (await http.post(url, json=action(sizes=1))).status_code == 409


@pytest.mark.broker
async def test_a_chat_starts_with_the_context_of_its_page(
    http: httpx.AsyncClient, gateway: JetStreamGateway
) -> None:
    body = {"user_id": "ana", "frontend_context": {"route": "/apps", "app_id": "mine"}}
    started = (await http.post(f"/api/chats/acme/{WORKFLOW}/start", json=body)).json()
    command = await last_command(gateway, ChatKey(AppId("acme"), ChatId(started["chat_id"])))
    assert isinstance(command, StartChat)
    assert command.variables == {"ui_route": "/apps", "ui_app_id": "mine"}


@pytest.mark.broker
async def test_a_page_sends_its_context_also_when_it_switches_and_starts_chats(
    transport: str, chat: Chat, gateway: JetStreamGateway
) -> None:
    await publish_cards(gateway, WorkflowCard(name=WORKFLOW))
    other, ended = Chat(gateway), Chat(gateway)
    for one in (chat, other, ended):
        await one.append(STARTED)
    await ended.append(COMPLETED)
    viewer = await client(f"{transport}{chat.path()}?after=0")
    page = {"frontend_context": {"route": "/b"}}
    await viewer.send(type="chat.switch_workflow", chat_id=other.key.chat, **page)
    await viewer.until("chat.context_switched")
    command = await last_command(gateway, other.key)
    assert isinstance(command, SetVariables)
    assert command.variables == {"ui_route": "/b"}
    await viewer.send(type="chat.switch_workflow", chat_id=ended.key.chat, **page)
    await viewer.until("chat.context_switched")
    await viewer.send(type="chat.start_workflow", workflow_name=WORKFLOW, **page)
    started = (await viewer.until("chat.workflow_started"))["data"]
    started = await last_command(gateway, ChatKey(AppId("acme"), ChatId(started["chat_id"])))
    assert isinstance(started, StartChat)
    assert started.variables == {"ui_route": "/b"}
    await viewer.close()


@pytest.mark.broker
async def test_a_page_cannot_set_variables_of_another_users_chat(
    transport: str, chat: Chat, gateway: JetStreamGateway
) -> None:
    other = Chat(gateway)
    await chat.append(STARTED)
    await other.append(STARTED.model_copy(update={"user_id": "bob"}))
    before = (await gateway.js.stream_info(subjects.COMMANDS)).state.last_seq
    viewer = await client(f"{transport}{chat.path()}?after=0")
    context = {"frontend_context": {"route": "/b"}}
    await viewer.send(type="chat.switch_workflow", chat_id=other.key.chat, **context)
    assert (await viewer.until("chat.error"))["error_code"] == "NOT_ALLOWED"
    assert (await gateway.js.stream_info(subjects.COMMANDS)).state.last_seq == before
    await viewer.close()
