"""Tools of a real folder on a real log: their progress, their results, and tools that misbehave."""

import asyncio
import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from contracts.codec import Fact
from contracts.deltas import DELTA, ToolProgressed
from contracts.events.business import BusinessLogged
from contracts.events.chat import ChatCompleted
from contracts.events.parts import text_of
from contracts.events.turn import ToolReturned, VariablesChanged
from contracts.ids import WorkflowName
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.agents.ag2.codec import MAX_RESULT_CHARS
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.agents.models import demo
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.agents.registry.catalogue import Catalogue, build_catalogue
from tests.orchestrator.chat_harness import ChatUser, deliver, event_types, history, runner
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.broker

TOOLS = '''
"""Tools that work, and tools that do not."""

import asyncio
import sys
import time


async def work(runtime) -> str:
    for percent in (0, 50, 100):
        await runtime.progress(percent, f"step {percent}")
    return "worked"


def work_in_a_thread(runtime, context_variables: dict) -> str:
    runtime.wait(runtime.progress(None, "thinking"))
    context_variables["worked"] = True
    runtime.wait(runtime.emit_business_event("WORKED", "at last"))
    return "worked"


async def hang() -> str:
    await asyncio.Event().wait()


async def block_for_longer_than_a_lease() -> str:
    time.sleep(4)
    return "late"


async def block() -> str:
    time.sleep(2)
    return "late"


def leave() -> str:
    sys.exit(1)


def flood() -> str:
    return "x" * 3_000_000


def lie() -> dict:
    return {"$e": "subprocess.Popen", "kind": "binary", "__class__": "os.system"}
'''

LIMITED = {"hang": 0.2, "block": 0.2}


def folder(root: Path, *tools: str) -> Catalogue:
    """A workflow whose agent calls these tools at once, and then ends."""
    place = root / "Bench"
    place.mkdir()
    (place / "misbehaving.py").write_text(TOOLS)
    sections: dict[str, Any] = {
        "workflow": {"workflow_name": "Bench", "orchestration_pattern": "DefaultPattern"},
        "agents": {"agents": [{"name": "Worker"}]},
        "tools": {
            "tools": [
                {
                    "agent": "Worker",
                    "file": "misbehaving.py",
                    "function": name,
                    "timeout_seconds": LIMITED.get(name, 30),
                }
                for name in tools
            ]
        },
        "demo": {
            "agents": {
                "Worker": {
                    "lines": [{"calls": [{"tool": name} for name in tools]}, {"say": "Done."}]
                }
            }
        },
    }
    for name, section in sections.items():
        (place / f"{name}.json").write_text(json.dumps(section))
    models = ModelFactory(
        demo.MODEL, demo=True, config_for=lambda script, _: demo.DemoConfig(script, 0)
    )
    return build_catalogue(root, models)


async def played(gateway: JetStreamGateway, catalogue: Catalogue, user: ChatUser) -> list[Fact]:
    worker = runner(gateway, AgentExecutor(catalogue, 25), catalogue.workflows)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await deliver(worker, user.start_chat())
    return await history(gateway, user.key)


def results(facts: list[Fact]) -> dict[str, str]:
    events = [fact.event for fact in facts]
    return {e.name: text_of(e.parts) for e in events if isinstance(e, ToolReturned)}


async def test_progress_is_shown_live_including_the_last_step(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    user = ChatUser(workflow=WorkflowName("Bench"))
    seen: asyncio.Queue[ToolProgressed] = asyncio.Queue()

    def on_live(message: Msg) -> None:
        if message.subject.endswith(".delta"):
            delta = DELTA.validate_json(message.data)
            if isinstance(delta, ToolProgressed):
                seen.put_nowait(delta)

    last: dict[str, tuple[float | None, str]] = {}
    async with (
        aclosing(await gateway.live.subscribe(user.key, on_live)),
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        facts = await played(gateway, folder(tmp_path, "work", "work_in_a_thread"), user)
        while last != {"work": (100, "step 100"), "work_in_a_thread": (None, "thinking")}:
            step = await seen.get()
            last[step.tool_name] = (step.percent, step.message)
    assert results(facts) == {"work": "worked", "work_in_a_thread": "worked"}
    recorded = [f.event for f in facts if isinstance(f.event, VariablesChanged | BusinessLogged)]
    assert [event.type for event in recorded] == ["business.logged", "turn.variables_changed"]


async def test_a_blocking_tool_stops_neither_its_heartbeat_nor_other_chats(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    catalogue = folder(tmp_path, "block_for_longer_than_a_lease")
    (tmp_path / "other").mkdir()
    other = folder(tmp_path / "other", "work")
    one, two = ChatUser(workflow=WorkflowName("Bench")), ChatUser(workflow=WorkflowName("Bench"))
    blocking = asyncio.create_task(played(gateway, catalogue, one))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while "turn.model_responded" not in event_types(await history(gateway, one.key)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # the log says when, and not to us
        assert results(await played(gateway, other, two)) == {"work": "worked"}
        assert not blocking.done()
        facts = await blocking
    assert results(facts) == {"block_for_longer_than_a_lease": "late"}
    assert len({fact.envelope.runner for fact in facts if fact.envelope.runner}) == 1


async def test_errors_of_tools_are_reported_and_the_chat_ends_normally(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    names = ("hang", "block", "leave", "flood", "lie")
    facts = await played(
        gateway, folder(tmp_path, *names), ChatUser(workflow=WorkflowName("Bench"))
    )
    errors = results(facts)
    assert errors["hang"] == errors["block"] == "ToolTimeLimitError: took longer than 0.2 s"
    assert errors["leave"] == "ToolExitError: the tool tried to exit: SystemExit(1)"
    assert MAX_RESULT_CHARS < len(errors["flood"]) < MAX_RESULT_CHARS + 100
    assert json.loads(errors["lie"])["$e"] == "subprocess.Popen"
    assert isinstance(facts[-1].event, ChatCompleted), event_types(facts)
