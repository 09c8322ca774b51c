"""Whatever way a client takes, it sets no variable that the workflow does not let users set."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contracts import subjects
from contracts.catalogue import WorkflowCard
from contracts.commands import COMMAND, SetVariables, StartChat
from contracts.ids import AppId, ChatId, ChatKey
from contracts.subjects import question
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.transport.story import (
    SELECTED,
    STARTED,
    WORKFLOW,
    YOUR_TURN,
    Chat,
    Client,
    client,
    component_requested,
    last_command,
    publish_cards,
)

pytestmark = pytest.mark.broker

WANTED = {"price": -5, "solved": True, "static_rate": 0}
"""Of the workflow alone: no definition lets users set them."""


@pytest.fixture
async def viewer(transport: str, chat: Chat, gateway: JetStreamGateway) -> AsyncIterator[Client]:
    settable: dict[str, list[str]] = {"colour": ["palette"]}
    await publish_cards(gateway, WorkflowCard(name=WORKFLOW, settable=settable))
    asked = component_requested(question(chat.key, 1, "a", 0), "artifact")
    await chat.append(STARTED, SELECTED, asked, YOUR_TURN)
    viewer = await client(f"{transport}{chat.path()}?after=0")
    await viewer.until("chat.resume_boundary")
    yield viewer
    await viewer.close()


@pytest.fixture
async def http(transport: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=20) as http:
        yield http


async def variables_of(gateway: JetStreamGateway, key: ChatKey) -> dict[str, Any]:
    """What the newest command for a chat sets."""
    command = await last_command(gateway, key)
    assert isinstance(command, StartChat | SetVariables)
    return dict(command.variables)


async def commands_for(gateway: JetStreamGateway, key: ChatKey) -> list[Any]:
    subject = subjects.command(key, "*")
    info = await gateway.js.stream_info(subjects.COMMANDS, subjects_filter=subject)
    if not info.state.subjects:
        return []
    found = await gateway.js.get_last_msg(subjects.COMMANDS, subject)
    return [COMMAND.validate_json(found.data or b"")]


@pytest.mark.parametrize("name", WANTED)
@pytest.mark.parametrize("component", ["palette", "Palette", "", "_runtime", "price"])
async def test_no_component_sets_them(
    http: httpx.AsyncClient,
    viewer: Client,  # noqa: ARG001  publishes the workflow
    chat: Chat,
    gateway: JetStreamGateway,
    name: str,
    component: str,
) -> None:
    data = {"colour": "red", name: WANTED[name]}
    body = {
        "component_id": component,
        "action_type": "pick",
        "user_id": "ana",
        "action_data": {"set": data},
    }
    answer = await http.post(f"/chat/{chat.key.app}/{chat.key.chat}/component_action", json=body)
    assert answer.status_code in (400, 403), answer.text
    if component == "palette":
        assert answer.status_code == 403
        assert answer.json()["detail"].startswith(f"action_data.set.{name}: ")
    assert await commands_for(gateway, chat.key) == []


async def test_the_context_of_a_page_has_names_of_its_own(
    http: httpx.AsyncClient, viewer: Client, chat: Chat, gateway: JetStreamGateway
) -> None:
    page = {f"ui_{name}": value for name, value in WANTED.items()}
    body = {"user_id": "ana", "frontend_context": WANTED}
    started = (await http.post(f"/api/chats/acme/{WORKFLOW}/start", json=body)).json()
    key = ChatKey(AppId("acme"), ChatId(started["chat_id"]))
    assert await variables_of(gateway, key) == page

    await viewer.send(type="chat.start_workflow", workflow_name=WORKFLOW, frontend_context=WANTED)
    other = (await viewer.until("chat.workflow_started"))["data"]["chat_id"]
    assert await variables_of(gateway, ChatKey(AppId("acme"), ChatId(other))) == page

    await viewer.send(type="chat.switch_workflow", chat_id=chat.key.chat, frontend_context=WANTED)
    await viewer.until("chat.context_switched")
    assert await variables_of(gateway, chat.key) == page


async def test_the_state_of_an_artifact_has_names_of_its_own(
    viewer: Client, chat: Chat, gateway: JetStreamGateway
) -> None:
    data = {
        "action": "update_state",
        "payload": WANTED,
        "artifact_id": question(chat.key, 1, "a", 0),
    }
    await viewer.send(type="chat.artifact_action", data=data)
    await viewer.until("artifact.state.updated")
    page = {f"ui_{name}": value for name, value in WANTED.items()}
    assert await variables_of(gateway, chat.key) == page


@pytest.mark.parametrize("name", WANTED)
async def test_no_state_of_ag_ui_sets_them(
    http: httpx.AsyncClient,
    viewer: Client,  # noqa: ARG001  publishes the workflow
    chat: Chat,
    gateway: JetStreamGateway,
    name: str,
) -> None:
    hello = {"id": "m-1", "role": "user", "content": "Hello"}
    run_input: dict[str, Any] = {
        "runId": "r",
        "tools": [],
        "context": [],
        "forwardedProps": {},
        "state": {name: WANTED[name]},
        "messages": [hello],
    }
    url = f"/agui/acme/{WORKFLOW}?user_id=ana"
    new = await http.post(url, json={**run_input, "threadId": f"new-{chat.key.chat}"})
    assert new.status_code == 403
    assert new.json()["detail"].startswith(f"state.{name}: ")
    # A client sends the state of a thread back in every run: it is not what sets it.
    async with http.stream("POST", url, json={**run_input, "threadId": chat.key.chat}) as run:
        assert run.status_code == 200
        async for line in run.aiter_lines():
            if "STATE_SNAPSHOT" in line:
                assert name not in line
                break
    (command,) = await commands_for(gateway, chat.key)
    assert not isinstance(command, SetVariables)
