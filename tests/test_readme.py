"""What the README shows is what there is."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import nats as nats_client
import pytest

from contracts.events.business import BusinessLogged
from contracts.ids import AppId, ChatId, ChatKey, StreamSeq
from infra.servers import NatsServer
from services.chassis.bus import Bus
from services.chassis.streams import ensure_streams
from services.orchestrator.agents.tools import build_function, build_tool
from services.orchestrator.agents.workbench import Workbench
from services.orchestrator.workflows.loading import Loaded, load
from tests.logs import decisions

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def block(language: str, number: int) -> str:
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return found[number]


def test_the_first_workflow_of_the_readme_loads_and_its_tool_can_be_called(tmp_path: Path) -> None:
    folder = tmp_path / "Bakery"
    (folder / "tools").mkdir(parents=True)
    for number, name in enumerate(("workflow.json", "agents.json", "tools.json")):
        (folder / name).write_text(block("json", number))
    (folder / "tools" / "till.py").write_text(block("python", 0))
    loaded = load(folder)
    assert isinstance(loaded, Loaded)
    counter = loaded.workflow.agents[loaded.workflow.initial_agent]
    function = build_function(counter.tools[0], loaded.code, Workbench())
    offered = build_tool(function).schema.function
    assert (offered.name, list(offered.parameters["properties"])) == ("sell", ["bread"])


def test_the_servers_and_the_data_elsewhere_of_the_readme_load(tmp_path: Path) -> None:
    folder = tmp_path / "Shop"
    folder.mkdir()
    (folder / "workflow.json").write_text("{}")
    (folder / "agents.json").write_text('{"agents": [{"name": "Clerk"}]}')
    (folder / "tools.json").write_text(block("json", 3))
    (folder / "context_variables.json").write_text(block("json", 4))
    loaded = load(folder)
    assert isinstance(loaded, Loaded), loaded
    assert loaded.diagnosis == ()
    (clerk,) = loaded.workflow.agents.values()
    assert [server.name for server in clerk.servers] == ["time", "shop"]
    assert [reference.name for reference in loaded.workflow.references] == ["soup"]


def test_every_path_that_the_readme_names_is_there() -> None:
    named = re.findall(r"`((?:contracts|services|workflows|infra|tests|docs)/[\w/.]*)`", README)
    assert len(named) > 10
    assert [path for path in named if "Bakery" not in path and not (ROOT / path).exists()] == []


def test_every_make_target_that_the_readme_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake (run|test|bench|[a-z]+(?=`))", README)) <= targets


@pytest.mark.broker
async def test_the_subscriber_of_the_readme_prints_each_business_event_once(
    nats: NatsServer,
) -> None:
    key = ChatKey(AppId("readme.corp"), ChatId("a chat"))
    sold = BusinessLogged(log_event_type="BREAD_SOLD", message="One rye sold")
    (decision,) = decisions([sold], key, workflow="Bakery")
    connection = await nats_client.connect(nats.url)
    await ensure_streams(connection, replicas=1)
    await connection.jetstream().purge_stream("EVENTS")
    await Bus(connection).events.append(decision, after=StreamSeq(0))
    await connection.drain()
    command = [sys.executable, "docs/examples/subscribe.py", nats.url, "1"]
    ran = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert ran.stdout == "readme.corp a chat BREAD_SOLD One rye sold\n"
