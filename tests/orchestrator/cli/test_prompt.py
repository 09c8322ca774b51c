"""`mozaiks show prompt`, on a real log."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.cli.__main__ import app
from services.orchestrator.domain.evolution import replay
from services.orchestrator.testkit.replay import check_cassette
from tests.orchestrator.chat_harness import (
    SHIPPED,
    deliver,
    history,
    runner,
    shipped_catalogue,
    user_with_chat,
)

pytestmark = pytest.mark.broker


async def show(nats: NatsServer, *arguments: str) -> Result:
    environment = {"NATS_URL": nats.url, "WORKFLOWS_PATH": str(SHIPPED)}
    command = ["show", "prompt", *arguments]
    return await asyncio.to_thread(CliRunner().invoke, app, command, env=environment)


async def test_the_last_request_of_a_chat_is_shown_with_prompt_messages_tools_and_model(
    nats: NatsServer, gateway: JetStreamGateway
) -> None:
    catalogue = shipped_catalogue()
    on = runner(gateway, AgentExecutor(catalogue, 25), catalogue.workflows)
    ann = user_with_chat("shown prompt", "Generator")
    await deliver(on, ann.start_chat())
    arguments = [ann.key.chat, "--app", ann.key.app]
    shown = json.loads((await show(nats, *arguments, "--json")).output)
    assert (shown["agent"], shown["turn"], shown["is_exact"]) == ("Interviewer", 1, True)
    assert shown["messages"][0]["role"] == "user"
    tools = {tool["name"]: tool["parameters"]["properties"] for tool in shown["tools"]}
    assert "question" in tools["ask_user"]
    assert "transfer_to_Planner" in tools
    assert shown["settings"] == {"model": "demo-model", "provider": "demo"}
    text = (await show(nats, *arguments, "1")).output
    assert "exactly what was sent" in text
    assert "tool ask_user: " in text
    assert "settings: model demo-model, provider demo\n" in text
    missing = await show(nats, *arguments, "99")
    assert missing.exit_code == 1
    assert "made no model request in turn 99" in missing.output


async def test_a_chat_is_recorded_as_a_cassette_that_can_be_replayed(
    nats: NatsServer, gateway: JetStreamGateway, tmp_path: Path
) -> None:
    catalogue = shipped_catalogue()
    on = runner(gateway, AgentExecutor(catalogue, 25), catalogue.workflows)
    ann = user_with_chat("recorded", "HelloWorld")
    await deliver(on, ann.start_chat())
    file = tmp_path / "chat.json"
    command = ["record", ann.key.chat, "--app", ann.key.app, "-o", str(file)]
    environment = {"NATS_URL": nats.url, "WORKFLOWS_PATH": str(SHIPPED)}
    ran = await asyncio.to_thread(CliRunner().invoke, app, command, env=environment)
    assert ran.exit_code == 0, ran.output
    again = await check_cassette(SHIPPED / "HelloWorld", file)
    assert again.state.conversation == replay(await history(gateway, ann.key)).conversation


async def test_a_chat_that_does_not_exist_is_named(nats: NatsServer) -> None:
    found = await show(nats, "no-such-chat")
    assert found.exit_code == 1
    assert "there is no chat no-such-chat of app local" in found.output


async def test_a_server_that_does_not_answer_is_an_error() -> None:
    command = ["show", "prompt", "x"]
    environment = {"NATS_URL": "nats://127.0.0.1:1", "WORKFLOWS_PATH": str(SHIPPED)}
    found = await asyncio.to_thread(CliRunner().invoke, app, command, env=environment)
    assert found.exit_code == 3
