"""The product as a person starts it: each of its processes may die in mid-run, and nothing is lost."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.events.turn import UsageRecorded
from tests.system.model_stub import ModelStub, one_tool_at_a_time
from tests.system.product import Product, running
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
from tests.system.viewer import Viewer

pytestmark = [
    pytest.mark.system,
    pytest.mark.mongo,
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("product"),
]

MID_STREAM = 2
"""The chunk before which the model stands still until the killed process is back."""


@pytest.fixture(scope="module")
def model() -> Iterator[ModelStub]:
    stub = ModelStub(one_tool_at_a_time)
    stub.start()
    yield stub
    stub.stop()


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, model: ModelStub) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("product")
    given = {
        "OPENAI_API_KEY": "sk-not-a-key",
        "OPENAI_BASE_URL": model.base_url("all"),
        "DEFAULT_LLM_MODEL": "stub-model",
        "MODEL_PRICING_JSON": '{"stub-model": {"prompt": 1, "completion": 2}}',
    }
    with running(folder, **given) as started:
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
    async with bus_at(product.nats_url) as bus:
        await order_start(bus, key)
        viewer = Viewer(product.address, key)
        watching = asyncio.create_task(viewer.watch_to_the_end())
        playing = asyncio.create_task(play_to_the_end(bus, key))
        await asyncio.to_thread(standstill.reached.wait, 30)
        product.kill(victim)
        await asyncio.sleep(0.3)  # dead, and noticed as such
        await ready_again(product)
        standstill.go_on.set()
        facts = await playing
        async with asyncio.timeout(30):
            await watching
    assert told_of_any_chat(told(facts), key.chat) == undisturbed
    costs = [fact.event.cost for fact in facts if isinstance(fact.event, UsageRecorded)]
    assert costs == [COST_OF_A_CALL] * MODEL_CALLS
    assert [event["seq"] for event in viewer.seen] == list(range(1, len(facts) + 1))
    assert [event["type"] for event in viewer.seen] == [fact.envelope.type for fact in facts]
    assert len(distinct(model.bodies["all"])) == MODEL_CALLS
    assert f"{victim} was ended by SIGKILL" in product.said
    await kept_and_counted(product, key.chat, len(facts))


MODEL_CALLS = 7
COST_OF_A_CALL = (10 * 1 + 5 * 2) / 1000

_undisturbed: list[Any] = []


async def whole_history(product: Product, model: ModelStub) -> list[Any]:
    """What a chat says that nobody disturbs, its own name taken out."""
    if not _undisturbed:
        model.hold = lambda _chat, _chunk: None
        key = chat_key("nobody dies")
        async with bus_at(product.nats_url) as bus:
            await order_start(bus, key)
            await play_to_the_end(bus, key)
            _undisturbed.extend(told_of_any_chat(told(await history(bus, key)), key.chat))
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
    async with asyncio.timeout(30), httpx.AsyncClient() as client:
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


async def test_equal_starts_at_the_same_time_are_one_chat(product: Product) -> None:
    url = f"{product.address}/api/chats/acme.corp/HelloWorld/start"
    body = {"user_id": "56132", "client_request_id": "the same"}
    async with httpx.AsyncClient() as client:
        answers = await asyncio.gather(*(client.post(url, json=body) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    [chat] = {answer.json()["chat_id"] for answer in answers}
    async with bus_at(product.nats_url) as bus:
        facts = await history(bus, chat_key(chat))
    assert [fact.envelope.type for fact in facts] == ["chat.started", "turn.speaker_selected"]


async def test_a_workflow_that_does_not_load_is_named_with_its_reason_and_spoils_no_other(
    product_with_a_broken_workflow: Product,
) -> None:
    address = product_with_a_broken_workflow.address
    async with httpx.AsyncClient(base_url=address) as client:
        offered = (await client.get("/api/workflows")).json()
        diagnostics = (await client.get("/api/workflows/diagnostics")).json()
        refused = await client.post("/api/chats/a/Broken/start", json={"user_id": "u"})
        unknown = await client.post("/api/chats/a/Nowhere/start", json={"user_id": "u"})
        started = await client.post("/api/chats/a/HelloWorld/start", json={"user_id": "u"})
    assert {"Generator", "HelloWorld"} <= set(offered)
    assert "Broken" not in offered
    assert any(problem.startswith("agents.json: ") for problem in diagnostics["Broken"])
    assert 400 <= refused.status_code < 500
    assert "workflow_name" in refused.json()["detail"]
    assert (unknown.status_code, started.status_code) == (404, 200)


async def test_a_workflow_that_is_repaired_on_disk_can_be_started_without_a_restart(
    product_with_a_broken_workflow: Product, tmp_path: Path
) -> None:
    workflows = tmp_path / "workflows"
    for section in ("workflow.json", "agents.json"):
        text = (workflows / "HelloWorld" / section).read_text()
        (workflows / "Broken" / section).write_text(text.replace("HelloWorld", "Broken"))
    address = product_with_a_broken_workflow.address
    async with httpx.AsyncClient(base_url=address) as client, asyncio.timeout(20):
        while (await _begun(client, "Broken")).status_code == 409:  # noqa: ASYNC110  a server's doing
            await asyncio.sleep(0.05)
        assert (await _begun(client, "Broken")).status_code == 200
        diagnostics = (await client.get("/api/workflows/diagnostics")).json()
    assert diagnostics == {}


async def _begun(client: httpx.AsyncClient, workflow: str) -> httpx.Response:
    return await client.post(f"/api/chats/a/{workflow}/start", json={"user_id": "u"})


@pytest.fixture
def product_with_a_broken_workflow(tmp_path: Path) -> Iterator[Product]:
    workflows = workflows_with_counted_effects(tmp_path)
    broken = workflows / "Broken"
    broken.mkdir()
    (broken / "workflow.json").write_text((workflows / "HelloWorld/workflow.json").read_text())
    (broken / "agents.json").write_text('{"agents": [{"nome": "Greeter"}]}')
    with running(tmp_path, WORKFLOWS_PATH=str(workflows)) as started:
        yield started


async def test_stopped_and_started_again_it_finds_every_chat_where_it_was(
    tmp_path: Path, model: ModelStub
) -> None:
    model.hold = lambda _chat, _chunk: None
    given = {"OPENAI_API_KEY": "sk-not-a-key", "OPENAI_BASE_URL": model.base_url("again")}
    product = Product(tmp_path, **given)
    await asyncio.to_thread(product.start)
    key = chat_key("left open")
    try:
        async with bus_at(product.nats_url) as bus:
            await order_start(bus, key)
            before = await play_until(bus, key, "human.asked")
        assert await asyncio.to_thread(product.stop)
        await asyncio.to_thread(product.start)
        async with bus_at(product.nats_url) as bus:
            assert told(await history(bus, key)) == told(before)
            facts = await play_to_the_end(bus, key)
        assert facts[-1].envelope.type == "chat.completed"
    finally:
        await asyncio.to_thread(product.stop)
