"""The protocol's own client from npm, on the real services with the demo model."""

import asyncio
import json
import os
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.events import Event
from contracts.events.turn import ModelResponded, ToolReturned, VariablesChanged
from contracts.ids import (
    AppId,
    ChatKey,
    UserId,
    WorkflowName,
    chat_id_of_start,
)
from contracts.reserved import is_reserved
from infra.children import Child
from infra.npm import find_client
from infra.ports import free_port
from infra.servers import NatsServer
from infra.stack import ROOT, waiting_for
from services.chassis.bus import Bus
from services.chassis.process import build_broker, connected
from services.chassis.settings import Settings as BusSettings
from services.transport.app import Settings
from tests.conftest import missing
from tests.transport.conftest import running

pytestmark = [pytest.mark.broker, pytest.mark.system, pytest.mark.timeout(120)]

DRIVER = Path(__file__).parent / "driver.mjs"
APP, WORKFLOW, USER = AppId("acme.corp"), WorkflowName("Generator"), UserId("ana")
THREAD = "a thread of the client's"
ANSWERS = ("A bakery shop", "Approve")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server of its own: an orchestrator takes every order that it finds."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def orchestrator(server: NatsServer, tmp_path: Path) -> Iterator[Child]:
    port = free_port()
    told = {
        **os.environ,
        "NATS_URL": server.url,
        "OPENAI_API_KEY": "",
        "ORCHESTRATOR_PORT": str(port),
        "DEMO_PAUSE_SECONDS": "0.02",
    }
    command = [sys.executable, "-m", "services.orchestrator"]
    child = Child("orchestrator", command, tmp_path / "log", environment=told, folder=ROOT)
    child.start()
    child.wait_until(lambda: not waiting_for(port), 60)
    yield child
    child.stop()


@pytest.fixture
async def bus(server: NatsServer) -> AsyncIterator[Bus]:
    settings = BusSettings(nats_url=server.url)
    async with connected(build_broker(settings, "test"), settings) as bus:
        yield bus


async def happened(bus: Bus) -> list[Event]:
    key = ChatKey(APP, chat_id_of_start(APP, WORKFLOW, USER, THREAD))
    return [fact.event async for commit in bus.events.read(key) for fact in commit.facts]


async def drive(address: str) -> dict[str, Any]:
    """Everything that the client had in the end."""
    client, node = find_client(), shutil.which("node")
    if client is None or node is None:
        missing("the protocol's client is not installed: python -m infra.npm says why")
    url = f"http://{address}/agui/{APP}/{WORKFLOW}?user_id={USER}"
    driver = await asyncio.create_subprocess_exec(
        node, str(DRIVER), str(client), url, *ANSWERS, stdout=PIPE, stderr=PIPE
    )
    said, trouble = await asyncio.wait_for(driver.communicate(), 90)
    assert driver.returncode == 0, trouble.decode()
    report: dict[str, Any] = json.loads(said)
    return report


@pytest.mark.usefixtures("orchestrator")
async def test_the_protocol_s_own_client_runs_is_interrupted_is_cut_off_and_comes_back(
    server: NatsServer, bus: Bus
) -> None:
    async with running(Settings(nats_url=server.url)) as (address, _):
        report = await drive(address)
    assert report["warnings"] == []
    first, cut, back, last = report["runs"]
    assert report["asked"][0] == "What would you like to build?"
    assert [one["outcome"] for one in (first, back, last)] == ["interrupt", "interrupt", "success"]
    assert (cut["outcome"], cut["error"]) == (None, "abort")
    assert first["types"].count("TEXT_MESSAGE_CONTENT") > 5, "the text was not streamed"

    events = await happened(bus)
    spoken = [one.text for one in events if isinstance(one, ModelResponded) and one.text]
    assert cut["text"] not in spoken, "it was not cut off in the middle of a text"
    assert texts(report, "assistant") == spoken, "a word was lost or doubled"
    results = [one for one in events if isinstance(one, ToolReturned)]
    assert len(texts(report, "tool")) == len(results) > 3
    assert report["state"] == variables(events)
    seqs = [seq for run in report["runs"] for seq in run["seqs"]]
    assert seqs == sorted(seqs)
    assert set(last["types"]) >= {"STEP_STARTED", "STEP_FINISHED", "STATE_DELTA", "CUSTOM"}


def texts(report: dict[str, Any], role: str) -> list[str]:
    return [m["content"] for m in report["messages"] if m["role"] == role and m.get("content")]


def variables(events: list[Event]) -> dict[str, Any]:
    """What the client may know: what the runtime itself keeps there is not shown."""
    started, *_ = events
    known = dict(getattr(started, "variables", {}))
    for event in events:
        if isinstance(event, VariablesChanged):
            known |= event.changed
    return {name: value for name, value in known.items() if not is_reserved(name)}
