"""An orchestrator killed between two model calls: the next one sends signed thinking back unchanged."""

import asyncio
import json
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from contracts.codec import Fact
from contracts.commands import StartChat
from contracts.events.chat import ChatCompleted
from contracts.events.turn import ModelResponded, ToolReturned
from contracts.ids import CommandId, WorkflowName
from infra.ports import free_port
from tests.orchestrator.agents.native_turn import WIRES, Wire
from tests.secured_nats import SecuredNats
from tests.system import orchestrators
from tests.system.stage import USER, bus_at, chat_key, play_to_the_end, told

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

CHAT_KEY = chat_key("the one chat")
TOOLS = {
    "weather.py": 'def weather(town: str) -> str:\n    """The weather."""\n    return f"rain in {town}"\n',
    "clock.py": 'def clock() -> dict:\n    """The time."""\n    return {"hour": 12}\n',
    "broken.py": 'def broken() -> str:\n    """Fails."""\n    raise ValueError("no")\n',
}
BASE_URL = {"anthropic": "ANTHROPIC_BASE_URL", "gemini": "GOOGLE_GEMINI_BASE_URL"}
KEY = {"anthropic": "ANTHROPIC_API_KEY", "gemini": "GOOGLE_API_KEY"}


@dataclass
class Run:
    """What one chat left behind."""

    facts: list[Fact]
    requests: list[bytes]
    killed: bool


def workflow(root: Path) -> Path:
    """A workflow of one agent with three tools."""
    folder = root / "workflows" / "Weather"
    (folder / "tools").mkdir(parents=True)
    for name, code in TOOLS.items():
        (folder / "tools" / name).write_text(code)
    manifests = {
        "workflow": {
            "workflow_name": "Weather",
            "startup_mode": "AgentDriven",
            "orchestration_pattern": "DefaultPattern",
            "max_turns": 1,
        },
        "agents": {"agents": [{"name": "Writer", "system_message": "You write."}]},
        "tools": {
            "tools": [
                {"agent": "Writer", "file": name, "function": name.removesuffix(".py")}
                for name in TOOLS
            ]
        },
    }
    for name, manifest in manifests.items():
        (folder / f"{name}.json").write_text(json.dumps(manifest))
    return folder.parent


async def run_killed_at(point: str, folder: Path, wire: Wire) -> Run:
    """One chat to its end: by an orchestrator that is killed at `point`, if any, and another one."""
    workflows = await asyncio.to_thread(workflow, folder)
    stub = wire.stub(*wire.turn)
    stub.by_answers = True
    server = SecuredNats(folder)
    await asyncio.to_thread(server.start)
    variables = {
        **server.environment_of("orchestrator"),
        "ORCHESTRATOR_PORT": str(free_port()),
        "DEFAULT_LLM_PROVIDER": wire.name,
        "DEFAULT_LLM_MODEL": wire.provider.model,
        "DEFAULT_LLM_THINKING": str(wire.provider.thinking or "high"),
        KEY[wire.name]: "not-a-real-key-of-anyone",
        BASE_URL[wire.name]: stub.url,
        "WORKFLOWS_PATH": str(workflows),
        "LOG_LEVEL": "ERROR",
    }
    processes = [orchestrators.start(variables, point)]
    try:
        with stub.running():
            async with bus_at(server.settings) as gateway:
                await gateway.commands.send(
                    StartChat(
                        command_id=CommandId("start"),
                        app_id=CHAT_KEY.app,
                        chat_id=CHAT_KEY.chat,
                        user_id=USER,
                        workflow_name=WorkflowName("Weather"),
                    )
                )
                playing = asyncio.create_task(play_to_the_end(gateway, CHAT_KEY))
                while not playing.done():
                    if not processes[-1].is_alive():
                        processes.append(orchestrators.start(variables))
                    await asyncio.wait([playing], timeout=0.1)
                facts = playing.result()
    finally:
        for process in processes:
            process.kill()
            await asyncio.to_thread(process.join, 10)
        await asyncio.to_thread(server.end)
    return Run(facts, stub.sent, len(processes) > 1 and processes[0].exitcode == -signal.SIGKILL)


def point_after(facts: list[Fact], kind: type) -> str:
    """Once the last event of a kind is stored, and before anything else is done."""
    return f"after:{[f.envelope.seq for f in facts if isinstance(f.event, kind)][-1]}"


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
async def test_signed_thinking_is_sent_back_unchanged_by_another_process(
    tmp_path: Path, wire: Wire
) -> None:
    whole = await run_killed_at("", tmp_path / "whole", wire)
    assert isinstance(whole.facts[-1].event, ChatCompleted)
    assert any(f.event.native for f in whole.facts if isinstance(f.event, ModelResponded))
    point = point_after(whole.facts, ToolReturned)
    killed = await run_killed_at(point, tmp_path / "killed", wire)
    assert killed.killed
    assert killed.requests == whole.requests
    assert told(killed.facts) == told(whole.facts)
