"""An escalation fires once: no orchestrator runs at its time, and the next one is killed while it fires."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from contracts.commands import StartChat
from contracts.events import Event
from contracts.events.business import BusinessLogged
from contracts.events.human import HumanAsked, QuestionEscalated
from contracts.ids import CommandId, WorkflowName
from infra.ports import free_port
from infra.servers import NatsServer
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.secured_nats import SecuredNats
from tests.system import orchestrators
from tests.system.stage import USER, bus_at, chat_key, history

pytestmark = [pytest.mark.system, pytest.mark.timeout(200)]

KEY = chat_key("a payment")
AFTER_SECONDS = 2
TOOLS = """
def pay(euros: int) -> str:
    return f"paid {euros}"
"""


def write_workflow(root: Path) -> None:
    """An agent whose one payment must be approved, by managers, too, after a while."""
    home = root / "Payments"
    home.mkdir(parents=True)
    (home / "payments.py").write_text(TOOLS)
    escalation = {"after_seconds": AFTER_SECONDS, "roles": ["manager"]}
    tool = {
        "agent": "Cashier",
        "file": "payments.py",
        "function": "pay",
        "approval": {"escalation": escalation, "send_links": True},
    }
    pays = {"calls": [{"tool": "pay", "arguments": {"euros": 1}}]}
    sections: dict[str, Any] = {
        "workflow": {"workflow_name": "Payments"},
        "agents": {"agents": [{"name": "Cashier"}]},
        "tools": {"tools": [tool]},
        "demo": {"agents": {"Cashier": {"lines": [pays, {"say": "Done."}]}}},
    }
    for name, section in sections.items():
        (home / f"{name}.json").write_text(json.dumps(section))


async def events_of(gateway: JetStreamGateway) -> list[Event]:
    while True:
        try:
            return [fact.event for fact in await history(gateway, KEY)]
        except NatsUnavailableError:
            await asyncio.sleep(0.1)


async def until_there(gateway: JetStreamGateway, kind: type[Event]) -> list[Event]:
    while True:
        events = await events_of(gateway)
        if any(isinstance(event, kind) for event in events):
            return events
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "appended", [1, 2], ids=["between its events", "before its message is done"]
)
async def test_an_escalation_fires_once_however_late_and_however_often_it_is_begun(
    nats: NatsServer,  # noqa: ARG001  # decides what happens where there is none
    tmp_path: Path,
    appended: int,
) -> None:
    await asyncio.to_thread(write_workflow, tmp_path / "workflows")
    server = SecuredNats(tmp_path)
    await asyncio.to_thread(server.start)
    variables = {
        **server.environment_of("orchestrator"),
        "ORCHESTRATOR_PORT": str(free_port()),
        "WORKFLOWS_PATH": str(tmp_path / "workflows"),
        "OPENAI_API_KEY": "",
        "ANSWER_LINK_SECRET": "s" * 32,
        "PUBLIC_URL": "https://chat.example.com",
        "LOG_LEVEL": "ERROR",
    }
    processes = [orchestrators.start(variables)]
    try:
        async with bus_at(server.settings) as gateway, asyncio.timeout(150):
            start = StartChat(
                command_id=CommandId("start"),
                app_id=KEY.app,
                chat_id=KEY.chat,
                user_id=USER,
                workflow_name=WorkflowName("Payments"),
            )
            await gateway.commands.send(start)
            asked = len(await until_there(gateway, HumanAsked))
            assert processes[0].pid is not None
            os.kill(processes[0].pid, signal.SIGKILL)
            while await gateway.commands.count_open() == 0:  # noqa: ASYNC110  the timer is due
                await asyncio.sleep(0.05)
            processes.append(orchestrators.start(variables, f"after:{asked + appended}"))
            await asyncio.to_thread(processes[-1].join, 60)
            assert processes[-1].exitcode == -signal.SIGKILL
            processes.append(orchestrators.start(variables))
            await until_there(gateway, QuestionEscalated)
            while await gateway.commands.count_open():  # noqa: ASYNC110  the message is done
                await asyncio.sleep(0.05)
            events = await events_of(gateway)
    finally:
        for process in processes:
            process.kill()
            await asyncio.to_thread(process.join, 10)
        await asyncio.to_thread(server.end)
    assert sum(isinstance(event, QuestionEscalated) for event in events) == 1
    notices = [event.metadata["escalated"] for event in events if isinstance(event, BusinessLogged)]
    assert notices == [False, True]
