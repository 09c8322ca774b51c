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
from contracts.reserved_variables import is_reserved
from infra import npm
from infra.child_process import Child
from infra.ports import free_port
from infra.servers import NatsServer
from infra.stack import ROOT, waiting_for
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.process.broker import build_broker, connected
from services.chassis.settings import Settings as BusSettings
from services.transport.settings import Settings
from tests.conftest import missing
from tests.system.demo_provider import demo_provider
from tests.system.model_stub import ModelStub
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
def provider() -> Iterator[ModelStub]:
    with demo_provider(ROOT / "workflows", seconds_per_word=0.02) as stub:
        yield stub


@pytest.fixture
def orchestrator(server: NatsServer, provider: ModelStub, tmp_path: Path) -> Iterator[Child]:
    port = free_port()
    told = {
        **os.environ,
        "NATS_URL": server.url,
        "OPENAI_API_KEY": "sk-not-a-key",
        "OPENAI_BASE_URL": provider.base_url("agui"),
        "ORCHESTRATOR_PORT": str(port),
    }
    command = [sys.executable, "-m", "services.orchestrator"]
    child = Child("orchestrator", command, tmp_path / "log", environment=told, folder=ROOT)
    child.start()
    child.wait_until(lambda: not waiting_for(port), 60)
    yield child
    child.stop()


@pytest.fixture
async def gateway(server: NatsServer) -> AsyncIterator[JetStreamGateway]:
    settings = BusSettings(nats_url=server.url)
    async with connected(build_broker(settings, "test"), settings) as gateway:
        yield gateway


async def happened(gateway: JetStreamGateway) -> list[Event]:
    key = ChatKey(APP, chat_id_of_start(APP, WORKFLOW, USER, THREAD))
    return [fact.event async for commit in gateway.events.read(key) for fact in commit.facts]


async def drive(address: str) -> dict[str, Any]:
    """Everything that the client had in the end."""
    client, node = npm.find(npm.AGUI), shutil.which("node")
    if client is None or node is None:
        missing("the protocol's client is not installed: python -m infra.npm agui says why")
    url = f"http://{address}/agui/{APP}/{WORKFLOW}?user_id={USER}"
    driver = await asyncio.create_subprocess_exec(
        node, str(DRIVER), str(client), url, *ANSWERS, stdout=PIPE, stderr=PIPE
    )
    said, trouble = await asyncio.wait_for(driver.communicate(), 90)
    assert driver.returncode == 0, trouble.decode()
    report: dict[str, Any] = json.loads(said)
    return report


@pytest.mark.usefixtures("orchestrator")
async def test_the_ag_ui_client_runs_is_interrupted_is_disconnected_and_resumes(
    server: NatsServer, gateway: JetStreamGateway
) -> None:
    async with running(Settings(nats_url=server.url)) as (address, _):
        report = await drive(address)
    assert report["warnings"] == []
    first, cut, back, last = report["runs"]
    assert report["asked"][0] == "What would you like to build?"
    assert [one["outcome"] for one in (first, back, last)] == ["interrupt", "interrupt", "success"]
    assert (cut["outcome"], cut["error"]) == (None, "abort")
    assert first["types"].count("TEXT_MESSAGE_CONTENT") > 5, "the text was not streamed"

    events = await happened(gateway)
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
