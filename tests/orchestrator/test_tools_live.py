"""Tools of a real folder on a real log: what people see of them, and what is left when they misbehave."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from contracts.codec import Fact
from contracts.events.business import BusinessLogged
from contracts.events.chat import ChatCompleted
from contracts.events.parts import text_of
from contracts.events.turn import ToolReturned, VariablesChanged
from contracts.ids import WorkflowName
from contracts.live import DELTA, ToolProgressed
from services.chassis.bus import Bus
from services.orchestrator.agents import demo
from services.orchestrator.agents.codec import MAX_RESULT_CHARS
from services.orchestrator.agents.models import Models
from services.orchestrator.agents.offer import Offer, build_offer, build_performer
from tests.orchestrator.world import Person, history, runner, tell, types

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


def folder(root: Path, *tools: str) -> Offer:
    """A workflow whose agent calls these tools at once, and then ends."""
    place = root / "Bench"
    place.mkdir()
    (place / "bench.py").write_text(TOOLS)
    sections: dict[str, Any] = {
        "workflow": {"workflow_name": "Bench", "orchestration_pattern": "DefaultPattern"},
        "agents": {"agents": [{"name": "Worker"}]},
        "tools": {
            "tools": [
                {
                    "agent": "Worker",
                    "file": "bench.py",
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
    models = Models(demo.MODEL, demo=True, config_of=lambda script, _: demo.DemoConfig(script, 0))
    return build_offer(root, models)


async def played(bus: Bus, offer: Offer, person: Person) -> list[Fact]:
    told = runner(bus, build_performer(offer, 25), offer.workflows)
    async with asyncio.timeout(30):
        await tell(told, person.starts())
    return await history(bus, person.key)


def results(facts: list[Fact]) -> dict[str, str]:
    events = [fact.event for fact in facts]
    return {e.name: text_of(e.parts) for e in events if isinstance(e, ToolReturned)}


async def test_progress_is_shown_live_and_the_last_step_always(bus: Bus, tmp_path: Path) -> None:
    person = Person(workflow=WorkflowName("Bench"))
    seen: asyncio.Queue[ToolProgressed] = asyncio.Queue()

    async def on_live(message: Msg) -> None:
        if message.subject.endswith(".delta"):
            delta = DELTA.validate_json(message.data)
            if isinstance(delta, ToolProgressed):
                seen.put_nowait(delta)

    last: dict[str, tuple[float | None, str]] = {}
    async with bus.watching(person.key, on_live), asyncio.timeout(30):
        facts = await played(bus, folder(tmp_path, "work", "work_in_a_thread"), person)
        while last != {"work": (100, "step 100"), "work_in_a_thread": (None, "thinking")}:
            step = await seen.get()
            last[step.tool_name] = (step.percent, step.message)
    assert results(facts) == {"work": "worked", "work_in_a_thread": "worked"}
    said = [f.event for f in facts if isinstance(f.event, VariablesChanged | BusinessLogged)]
    assert [event.type for event in said] == ["business.logged", "turn.variables_changed"]


async def test_a_tool_that_blocks_stops_neither_its_lease_nor_other_chats(
    bus: Bus, tmp_path: Path
) -> None:
    offer = folder(tmp_path, "block_for_longer_than_a_lease")
    (tmp_path / "other").mkdir()
    other = folder(tmp_path / "other", "work")
    one, two = Person(workflow=WorkflowName("Bench")), Person(workflow=WorkflowName("Bench"))
    blocking = asyncio.create_task(played(bus, offer, one))
    async with asyncio.timeout(30):
        while "turn.model_responded" not in types(await history(bus, one.key)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # the log says when, and not to us
        assert results(await played(bus, other, two)) == {"work": "worked"}
        assert not blocking.done()
        facts = await blocking
    assert results(facts) == {"block_for_longer_than_a_lease": "late"}
    assert len({fact.envelope.runner for fact in facts if fact.envelope.runner}) == 1


async def test_tools_that_misbehave_are_told_of_and_the_chat_ends_as_it_should(
    bus: Bus, tmp_path: Path
) -> None:
    names = ("hang", "block", "leave", "flood", "lie")
    facts = await played(bus, folder(tmp_path, *names), Person(workflow=WorkflowName("Bench")))
    told = results(facts)
    assert told["hang"] == told["block"] == "ToolTimeLimitError: took longer than 0.2 s"
    assert told["leave"] == "ToolExitError: the tool tried to exit: SystemExit(1)"
    assert MAX_RESULT_CHARS < len(told["flood"]) < MAX_RESULT_CHARS + 100
    assert json.loads(told["lie"])["$e"] == "subprocess.Popen"
    assert isinstance(facts[-1].event, ChatCompleted), types(facts)
