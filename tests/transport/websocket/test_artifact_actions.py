from collections.abc import AsyncIterator
from typing import Any

import pytest

from contracts.catalogue import WorkflowCard
from contracts.commands import SetVariables, StartChat
from contracts.ids import AppId, ChatId, ChatKey
from contracts.subjects import question
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.transport.story import (
    SELECTED,
    STARTED,
    WORKFLOW,
    Chat,
    Client,
    client,
    component_requested,
    last_command,
    publish_cards,
)

pytestmark = pytest.mark.broker


@pytest.fixture
async def viewer(transport: str, chat: Chat, gateway: JetStreamGateway) -> AsyncIterator[Client]:
    await publish_cards(gateway, WorkflowCard(name=WORKFLOW))
    await chat.append(
        STARTED, SELECTED, component_requested(question(chat.key, 1, "a", 0), "artifact")
    )
    viewer = await client(f"{transport}{chat.path()}?after=0")
    await viewer.until("chat.resume_boundary")
    yield viewer
    await viewer.close()


async def act(viewer: Client, action: str, payload: Any, **more: Any) -> None:
    data = {"action": action, "payload": payload, **more}
    await viewer.send(type="chat.artifact_action", data=data, correlation_id="c-7")


async def test_an_artifact_launches_a_workflow_and_the_page_navigates_to_it(
    viewer: Client, gateway: JetStreamGateway
) -> None:
    run = {"workflow_name": WORKFLOW, "message": "go", "frontend_context": {"step": 2}}
    await act(viewer, "launch_workflow", run)
    there = (await viewer.until("chat.navigate"))["data"]
    assert (there["workflow_name"], there["app_id"]) == (WORKFLOW, "acme")
    ack = await viewer.until("ack.artifact_action")
    assert (ack["data"]["action"], ack["data"]["status"]) == ("launch_workflow", "accepted")
    assert ack["correlation_id"] == ack["data"]["correlation_id"] == "c-7"
    command = await last_command(gateway, ChatKey(AppId("acme"), ChatId(there["chat_id"])))
    assert isinstance(command, StartChat)
    assert (command.message, command.variables) == ("go", {"ui_step": 2})


async def test_a_workflow_that_cannot_start_gives_no_navigation(viewer: Client) -> None:
    await act(viewer, "launch_workflow", {"workflow_name": "Nope"})
    blocked = (await viewer.until("chat.prereq_blocked"))["data"]
    assert blocked["error_code"] == "WORKFLOW_NOT_FOUND"
    assert (await viewer.until("ack.artifact_action"))["data"]["status"] == "rejected"


async def test_the_state_of_an_artifact_becomes_variables_of_the_chat(
    viewer: Client, chat: Chat, gateway: JetStreamGateway
) -> None:
    artifact_id = question(chat.key, 1, "a", 0)
    await act(viewer, "update_state", {"page": 3}, artifact_id=artifact_id)
    updated = (await viewer.until("artifact.state.updated"))["data"]
    assert updated == {"artifact_id": artifact_id, "state_delta": {"page": 3}}
    assert (await viewer.until("ack.artifact_action"))["data"]["artifact_id"] == artifact_id
    command = await last_command(gateway, chat.key)
    assert isinstance(command, SetVariables)
    assert command.variables == {"ui_page": 3}


@pytest.mark.parametrize(
    ("action", "payload", "more", "field"),
    [
        ("explode", {}, {}, "data"),
        ("launch_workflow", {}, {}, "data.launch_workflow.payload.workflow_name"),
        ("update_state", {"a": 1}, {}, "data.update_state.artifact_id"),
        ("update_state", {"a": 1}, {"artifact_id": "none"}, "data.artifact_id"),
        ("update_state", {}, {"artifact_id": "none"}, "data.update_state.payload"),
        ("update_state", [1], {"artifact_id": "none"}, "data.update_state.payload"),
    ],
)
async def test_an_invalid_action_is_rejected_by_its_field(
    viewer: Client, action: str, payload: Any, more: dict[str, str], field: str
) -> None:
    await act(viewer, action, payload, **more)
    refusal = await viewer.until("chat.error")
    assert refusal["error_code"] == "SCHEMA_VALIDATION_FAILED"
    assert refusal["data"]["field"] == field
