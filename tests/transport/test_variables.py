from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contracts import subjects
from contracts.catalogue import WorkflowCard
from contracts.commands import SetVariables, StartChat
from contracts.ids import AppId, ChatId, ChatKey
from contracts.reserved import RUNTIME_VARIABLES, is_reserved
from services.chassis.bus import Bus
from services.transport.inbound import LONGEST_NAME, VARIABLES, of_page
from tests.transport.story import COMPLETED, STARTED, WORKFLOW, Chat, client, offer, ordered


def action(**variables: Any) -> dict[str, Any]:
    named = {"component_id": "palette", "action_type": "pick", "user_id": "ana"}
    return {**named, "action_data": {"set": variables}}


@pytest.fixture
async def http(transport: str, bus: Bus) -> AsyncIterator[httpx.AsyncClient]:
    await offer(bus, WorkflowCard(name=WORKFLOW))
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=20) as http:
        yield http


def test_no_page_can_name_a_variable_of_the_runtime() -> None:
    names = (*RUNTIME_VARIABLES, "_seed", "ag:approved", "a2a:x")
    assert all(is_reserved(name) for name in names)
    assert not any(is_reserved(name) for name in of_page(dict.fromkeys(names)))


@pytest.mark.broker
async def test_a_component_sets_variables_of_its_chat(
    http: httpx.AsyncClient, chat: Chat, bus: Bus
) -> None:
    await chat.append(STARTED)
    url = f"/chat/{chat.key.app}/{chat.key.chat}/component_action"
    told = (await http.post(url, json=action(colour="red", sizes=[1, 2]))).json()
    assert (told["status"], told["applied"]) == ("success", {"colour": "red", "sizes": [1, 2]})
    order = await ordered(bus, chat.key)
    assert isinstance(order, SetVariables)
    assert (order.user_id, order.variables) == ("ana", {"colour": "red", "sizes": [1, 2]})


@pytest.mark.broker
@pytest.mark.parametrize(
    ("body", "field"),
    [
        (action(app_id="other"), "action_data.set.app_id"),
        (action(colour="red", _secret=1), "action_data.set._secret"),
        (action(**{"ag:approved": True}), "action_data.set.ag:approved"),
        (action(), "action_data.set"),
        (action(**{"x" * (LONGEST_NAME + 1): 1}), "action_data.set"),
        (action(**{f"v{n}": n for n in range(VARIABLES + 1)}), "action_data.set"),
        ({**action(a=1), "action_data": {"set": [1]}}, "action_data.set"),
        ({**action(a=1), "action_data": None}, "action_data"),
        ({"action_data": {"set": {"a": 1}}}, "component_id"),
    ],
)
async def test_what_a_component_may_not_set_is_refused_by_its_name(
    http: httpx.AsyncClient, chat: Chat, body: dict[str, Any], field: str
) -> None:
    await chat.append(STARTED)
    reply = await http.post(f"/chat/{chat.key.app}/{chat.key.chat}/component_action", json=body)
    assert reply.status_code == 400
    assert reply.json()["detail"].startswith(field)


@pytest.mark.broker
async def test_a_component_acts_on_an_open_chat_of_its_own_user_only(
    http: httpx.AsyncClient, chat: Chat
) -> None:
    await chat.append(STARTED)
    url = f"/chat/{chat.key.app}/{chat.key.chat}/component_action"
    assert (await http.post(url, json={**action(a=1), "user_id": "bob"})).status_code == 404
    await chat.append(COMPLETED)
    assert (await http.post(url, json=action(a=1))).status_code == 409


@pytest.mark.broker
async def test_a_chat_begins_with_what_its_page_says_of_itself(
    http: httpx.AsyncClient, bus: Bus
) -> None:
    body = {"user_id": "ana", "frontend_context": {"route": "/apps", "app_id": "mine"}}
    begun = (await http.post(f"/api/chats/acme/{WORKFLOW}/start", json=body)).json()
    order = await ordered(bus, ChatKey(AppId("acme"), ChatId(begun["chat_id"])))
    assert isinstance(order, StartChat)
    assert order.variables == {"ui_route": "/apps", "ui_app_id": "mine"}


@pytest.mark.broker
async def test_a_page_says_of_itself_also_where_it_switches_and_where_it_starts(
    transport: str, chat: Chat, bus: Bus
) -> None:
    await offer(bus, WorkflowCard(name=WORKFLOW))
    other, ended = Chat(bus), Chat(bus)
    for one in (chat, other, ended):
        await one.append(STARTED)
    await ended.append(COMPLETED)
    viewer = await client(f"{transport}{chat.path()}?after=0")
    seen = {"frontend_context": {"route": "/b"}}
    await viewer.say(type="chat.switch_workflow", chat_id=other.key.chat, **seen)
    await viewer.until("chat.context_switched")
    order = await ordered(bus, other.key)
    assert isinstance(order, SetVariables)
    assert order.variables == {"ui_route": "/b"}
    await viewer.say(type="chat.switch_workflow", chat_id=ended.key.chat, **seen)
    await viewer.until("chat.context_switched")
    await viewer.say(type="chat.start_workflow", workflow_name=WORKFLOW, **seen)
    begun = (await viewer.until("chat.workflow_started"))["data"]
    started = await ordered(bus, ChatKey(AppId("acme"), ChatId(begun["chat_id"])))
    assert isinstance(started, StartChat)
    assert started.variables == {"ui_route": "/b"}
    await viewer.close()


@pytest.mark.broker
async def test_a_page_cannot_speak_into_a_chat_that_is_not_its_users(
    transport: str, chat: Chat, bus: Bus
) -> None:
    other = Chat(bus)
    await chat.append(STARTED)
    await other.append(STARTED.model_copy(update={"user_id": "bob"}))
    before = (await bus.js.stream_info(subjects.COMMANDS)).state.last_seq
    viewer = await client(f"{transport}{chat.path()}?after=0")
    context = {"frontend_context": {"route": "/b"}}
    await viewer.say(type="chat.switch_workflow", chat_id=other.key.chat, **context)
    assert (await viewer.until("chat.error"))["error_code"] == "NOT_ALLOWED"
    assert (await bus.js.stream_info(subjects.COMMANDS)).state.last_seq == before
    await viewer.close()
