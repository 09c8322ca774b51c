"""The product as a person starts it: each of its processes may die in mid-run, and nothing is lost."""

import asyncio
import shutil
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from contracts.codec import Fact
from contracts.events.turn import UsageRecorded
from contracts.transcript import transcript
from infra.credentials.embedded import Credentials
from infra.nats_cluster import NoAnswerError, request
from mozaiks_client import ApiError, Client
from tests.patience import PATIENCE_SECONDS
from tests.system.model_stub import ModelStub, one_tool_at_a_time
from tests.system.product import Product, StartedProduct, running
from tests.system.stage import (
    bus_at,
    chat_key,
    distinct,
    history,
    order_start,
    play_to_the_end,
    play_until,
    told,
    workflows_with_counted_effects,
)
from tests.system.viewer import events_shown

pytestmark = [
    pytest.mark.system,
    pytest.mark.mongo,
    pytest.mark.timeout(240),
]

MID_STREAM = 2
"""The chunk before which the model stands still until the killed process is back."""


@pytest.fixture(scope="module")
def model() -> Iterator[ModelStub]:
    stub = ModelStub(one_tool_at_a_time)
    stub.start()
    yield stub
    stub.stop()


@pytest.fixture
def product(started_product: Product) -> Product:
    started_product.ensure_whole()
    return started_product


@pytest.fixture(scope="module")
def started_product(
    tmp_path_factory: pytest.TempPathFactory, model: ModelStub
) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("product")
    given = {
        "OPENAI_API_KEY": "sk-not-a-key",
        "OPENAI_BASE_URL": model.base_url("all"),
        "DEFAULT_LLM_MODEL": "stub-model",
        "SECURE": "true",  # the other products of the tests have no TLS
        "MODEL_PRICING_JSON": '{"stub-model": {"prompt": 1, "completion": 2}}',
    }
    with running(folder, StartedProduct, **given) as started:
        yield started


class Standstill:
    """Holds the model's n-th answer in mid-stream, until it is let go."""

    def __init__(self, model: ModelStub, answer: int) -> None:
        self._answers_to_go = answer
        self._lock = threading.Lock()
        self.reached = threading.Event()
        self.go_on = threading.Event()
        model.hold = self._hold

    def _hold(self, _chat: str, chunk: int) -> None:
        if chunk != MID_STREAM:
            return
        with self._lock:
            self._answers_to_go -= 1
            if self._answers_to_go:
                return
        self.reached.set()
        self.go_on.wait(60)


async def ready_again(product: Product) -> None:
    await asyncio.to_thread(product.wait_until_whole)


@pytest.mark.parametrize(
    "victim", ["transport", "persistence", "metrics", "nats-server", "mongod", "orchestrator"]
)
async def test_a_process_killed_in_mid_run_costs_no_event_and_no_word(
    product: Product, model: ModelStub, victim: str
) -> None:
    undisturbed = await whole_history(product, model)
    model.bodies["all"].clear()
    standstill = Standstill(model, answer=3)
    key = chat_key(f"{victim} dies")
    async with bus_at(product.settings) as gateway:
        await order_start(gateway, key)
        watching = asyncio.create_task(events_shown(product.address, key))
        playing = asyncio.create_task(play_to_the_end(gateway, key))
        await asyncio.to_thread(standstill.reached.wait, 30)
        product.kill(victim)
        await asyncio.sleep(0.3)  # dead, and noticed as such
        await ready_again(product)
        standstill.go_on.set()
        facts = await playing
        async with asyncio.timeout(PATIENCE_SECONDS):
            shown = await watching
    assert told_of_any_chat(told(facts), key.chat) == undisturbed
    costs = [fact.event.cost for fact in facts if isinstance(fact.event, UsageRecorded)]
    assert costs == [COST_OF_A_CALL] * MODEL_CALLS
    assert [event.seq for event in shown] == list(range(1, len(facts) + 1))
    assert [event.type for event in shown] == [fact.envelope.type for fact in facts]
    assert len(distinct(model.bodies["all"])) == MODEL_CALLS
    assert f"{victim} was ended by SIGKILL" in product.said
    await kept_and_counted(product, key.chat, len(facts))
    await transcribed(product, key.chat, facts)


async def test_credentials_renewed_in_mid_run_cost_no_event_and_no_word(
    product: Product, model: ModelStub, tmp_path: Path
) -> None:
    undisturbed = await whole_history(product, model)
    before = tmp_path / "credentials"
    shutil.copytree(product.data / "credentials", before)
    processes = product.processes()
    standstill = Standstill(model, answer=3)
    key = chat_key("renewed")
    async with bus_at(product.settings) as gateway:
        await order_start(gateway, key)
        watching = asyncio.create_task(events_shown(product.address, key))
        playing = asyncio.create_task(play_to_the_end(gateway, key))
        await asyncio.to_thread(standstill.reached.wait, 30)
        assert await asyncio.to_thread(product.renew_credentials) == 0
        standstill.go_on.set()
        facts = await playing
        async with asyncio.timeout(PATIENCE_SECONDS):
            shown = await watching
    assert told_of_any_chat(told(facts), key.chat) == undisturbed
    assert [event.seq for event in shown] == list(range(1, len(facts) + 1))
    assert product.processes() == processes
    await kept_and_counted(product, key.chat, len(facts))
    await transcribed(product, key.chat, facts)
    await asyncio.to_thread(old_credentials_are_refused, product, before)


def old_credentials_are_refused(product: Product, before: Path) -> None:
    ca = product.data / "credentials" / "tls" / "ca.crt"
    for user in ("operator", "orchestrator", "transport"):
        seed = (before / "nats" / f"{user}.nk").read_text().strip()
        with pytest.raises(NoAnswerError, match="Authorization Violation"):
            request(product.nats_port, "$JS.API.INFO", {}, seed, ca)
    access = Credentials(product.data).operator_access()
    for user in ("admin", "persistence", "reader"):
        password = (before / "mongodb" / f"{user}.password").read_text()
        uri = access["MONGODB_URI"].replace("persistence@", f"{user}@")
        with (
            MongoClient[dict[str, object]](
                uri, password=password, tlsCAFile=str(ca), tls=True
            ) as old,
            pytest.raises(OperationFailure, match="Authentication failed"),
        ):
            old.admin.command("connectionStatus")
    old_certificate = (before / "tls" / "server.pem").read_text()
    mongo_port = int(access["MONGODB_URI"].rpartition(":")[2].partition("/")[0])
    shown = ssl.get_server_certificate(("127.0.0.1", mongo_port), ca_certs=str(ca))
    assert shown not in old_certificate
    assert shown in (product.data / "credentials" / "tls" / "server.pem").read_text()


MODEL_CALLS = 7
COST_OF_A_CALL = (10 * 1 + 5 * 2) / 1000

_undisturbed: list[Any] = []


async def whole_history(product: Product, model: ModelStub) -> list[Any]:
    """What a chat says that nobody disturbs, its own name taken out."""
    if not _undisturbed:
        model.hold = lambda _chat, _chunk: None
        key = chat_key("nobody dies")
        async with bus_at(product.settings) as gateway:
            await order_start(gateway, key)
            await play_to_the_end(gateway, key)
            _undisturbed.extend(told_of_any_chat(told(await history(gateway, key)), key.chat))
    return _undisturbed


def told_of_any_chat(facts: list[Any], chat: str) -> list[Any]:
    def renamed(value: Any) -> Any:
        match value:
            case str():
                return value.replace(chat, "*")
            case dict():
                hidden = {"seed", "question_id", "client_request_id"}
                return {k: renamed(v) for k, v in value.items() if k not in hidden}
            case list() | tuple():
                return [renamed(inner) for inner in value]
            case _:
                return value

    return [renamed((seq, type_, actor, body)) for seq, type_, actor, body in facts]


async def kept_and_counted(product: Product, chat: str, events: int) -> None:
    """Persistence and metrics arrive at the same chat, each in its own time."""
    sessions = f"{product.address}/api/sessions/list/acme.corp/56132"
    counted = f"http://127.0.0.1:{product.ports['metrics']}/metrics/perf/chats/{chat}"
    async with asyncio.timeout(PATIENCE_SECONDS), httpx.AsyncClient() as client:
        while True:
            listed = (await client.get(sessions)).json().get("sessions", [])
            session = next((s for s in listed if s["chat_id"] == chat), None)
            snapshot = (await client.get(counted)).json()
            kept = session is not None and session["last_sequence"] == events
            if kept and snapshot.get("ended_at"):
                break
            await asyncio.sleep(0.1)
    assert session is not None
    assert session["status"] == "completed"
    assert (snapshot["agent_turns"], snapshot["errors"]) == (3, 0)
    assert snapshot["prompt_tokens"] == 10 * MODEL_CALLS
    assert snapshot["cost"] == pytest.approx(MODEL_CALLS * COST_OF_A_CALL)


async def transcribed(product: Product, chat: str, facts: list[Fact]) -> None:
    """Transcript and statistics are read from MongoDB over HTTP."""
    expected = [message.to_ag2() for message in transcript(fact.event for fact in facts)]
    workflow = facts[0].envelope.workflow_name
    async with httpx.AsyncClient(base_url=product.address, timeout=20) as client:
        path = f"/api/chats/acme.corp/{quote(chat)}/messages"
        found = (await client.get(path, params={"user_id": "56132"})).json()
        stats = (await client.get(f"/api/workflows/acme.corp/{workflow}/stats")).json()
    assert found["messages"] == expected
    assert (found["next"], found["last_sequence"]) == (None, len(facts))
    assert stats["chats_by_status"]["completed"] >= 1
    assert stats["agent_turns"] >= 3


async def test_equal_starts_at_the_same_time_are_one_chat(product: Product) -> None:
    async with Client(product.address, app="acme.corp", user="56132") as client:
        starts = (client.start("HelloWorld", client_request_id="the same") for _ in range(8))
        started = await asyncio.gather(*starts)
    [chat] = {one.id for one in started}
    async with bus_at(product.settings) as gateway:
        facts = await history(gateway, chat_key(chat))
    assert [fact.envelope.type for fact in facts] == ["chat.started", "turn.speaker_selected"]


async def test_a_workflow_that_does_not_load_is_named_with_its_reason_and_spoils_no_other(
    product_with_broken_workflows: Product,
) -> None:
    address = product_with_broken_workflows.address
    async with httpx.AsyncClient(base_url=address) as client:
        offered = (await client.get("/api/workflows")).json()
        diagnostics = (await client.get("/api/workflows/diagnostics")).json()
    async with Client(address, app="a", user="u") as user:
        assert await start_status(user, "Broken") == (409, "workflow_name")
        assert await start_status(user, "Nowhere") == (404, "workflow_name")
        assert await start_status(user, "HelloWorld") == (200, None)
    assert {"Generator", "HelloWorld"} <= set(offered)
    assert "Broken" not in offered
    assert any(problem.startswith("agents.json: ") for problem in diagnostics["Broken"])


async def test_a_workflow_that_is_repaired_on_disk_can_be_started_without_a_restart(
    product_with_broken_workflows: Product, workflows: Path
) -> None:
    for section in ("workflow.json", "agents.json"):
        text = (workflows / "HelloWorld" / section).read_text()
        (workflows / "Repaired" / section).write_text(text.replace("HelloWorld", "Repaired"))
    address = product_with_broken_workflows.address
    async with (
        httpx.AsyncClient(base_url=address) as client,
        Client(address, app="a", user="u") as user,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        while (await start_status(user, "Repaired"))[0] == 409:  # noqa: ASYNC110  a server's doing
            await asyncio.sleep(0.05)
        assert await start_status(user, "Repaired") == (200, None)
        diagnostics = (await client.get("/api/workflows/diagnostics")).json()
    assert set(diagnostics) == {"Broken"}


async def start_status(user: Client, workflow: str) -> tuple[int, str | None]:
    """How a start is answered: the HTTP status and the field that is wrong."""
    try:
        await user.start(workflow)
    except ApiError as error:
        return error.status, error.field
    return 200, None


@pytest.fixture(scope="module")
def workflows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of four workflows two do not load, one of which a test repairs."""
    root = workflows_with_counted_effects(tmp_path_factory.mktemp("workflows"), "HelloWorld")
    for name in ("Broken", "Repaired"):
        (root / name).mkdir()
        manifest = (root / "HelloWorld" / "workflow.json").read_text()
        (root / name / "workflow.json").write_text(manifest)
        (root / name / "agents.json").write_text('{"agents": [{"nome": "Greeter"}]}')
    return root


@pytest.fixture(scope="module")
def product_with_broken_workflows(
    tmp_path_factory: pytest.TempPathFactory, workflows: Path
) -> Iterator[Product]:
    with running(tmp_path_factory.mktemp("broken"), WORKFLOWS_PATH=str(workflows)) as started:
        yield started


async def test_stopped_and_started_again_it_finds_every_chat_where_it_was(
    product: Product, model: ModelStub
) -> None:
    model.hold = lambda _chat, _chunk: None
    key = chat_key("left open")
    async with bus_at(product.settings) as gateway:
        await order_start(gateway, key)
        before = await play_until(gateway, key, "human.asked")
    assert product.stop()
    product.start()  # by this thread: a process ends with the thread that started it
    async with bus_at(product.settings) as gateway:
        assert told(await history(gateway, key)) == told(before)
        facts = await play_to_the_end(gateway, key)
    assert facts[-1].envelope.type == "chat.completed"
