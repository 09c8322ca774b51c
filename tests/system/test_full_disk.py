"""The disk below NATS is full in mid-run: users are told, nothing is lost, and nobody has to help."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from contracts.codec import Fact
from contracts.events.run import RunClaimed
from tests.disks import SmallDisk, small_disk
from tests.system.model_stub import ModelStub, generator_script
from tests.system.product import Product
from tests.system.stage import (
    bus_at,
    chat_key,
    order_start,
    play_to_the_end,
    workflows_with_counted_effects,
)
from tests.system.viewer import events_shown

pytestmark = [
    pytest.mark.system,
    pytest.mark.mongo,
    pytest.mark.timeout(240),
]

MEGABYTES = 96


@pytest.fixture
def model() -> Iterator[ModelStub]:
    stub = ModelStub(generator_script)
    stub.start()
    yield stub
    stub.stop()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "data" / "nats", MEGABYTES) as found:
        yield found


@pytest.fixture
def effects(tmp_path: Path) -> Path:
    return tmp_path / "effects"


@pytest.fixture
def product(tmp_path: Path, disk: SmallDisk, model: ModelStub, effects: Path) -> Iterator[Product]:
    started = Product(
        tmp_path,
        OPENAI_API_KEY="sk-not-a-key",
        OPENAI_BASE_URL=model.base_url("all"),
        DEFAULT_LLM_MODEL="stub-model",
        WORKFLOWS_PATH=str(workflows_with_counted_effects(tmp_path, "HelloWorld")),
        SIDE_EFFECTS=str(effects),
    )
    started.start()
    try:
        yield started
    finally:
        disk.free()
        started.stop()


async def test_a_full_disk_is_said_and_a_freed_one_is_gone_on_with(
    product: Product, disk: SmallDisk, model: ModelStub, effects: Path
) -> None:
    undisturbed, key = chat_key("there is room"), chat_key("the disk is full")
    async with bus_at(product.settings) as gateway:
        await order_start(gateway, undisturbed)
        expected = kinds(await play_to_the_end(gateway, undisturbed))
        reached, go_on = threading.Event(), threading.Event()
        held = iter([False, False, False, True])

        def hold(_chat: str, chunk: int) -> None:
            if chunk == 1 and next(held, False):
                reached.set()
                go_on.wait(60)

        model.hold = hold
        await order_start(gateway, key)
        watching = asyncio.create_task(events_shown(product.address, key))
        playing = asyncio.create_task(play_to_the_end(gateway, key))
        await asyncio.to_thread(reached.wait, 60)
        disk.fill()
        go_on.set()
        async with asyncio.timeout(60), httpx.AsyncClient() as client:
            for service in ("orchestrator", "transport"):
                why = await waits_for(client, product, service)
                assert why.startswith("NATS cannot store: ")
                assert "EVENTS: no space left on device" in why
            start = f"{product.address}/api/chats/acme.corp/HelloWorld/start"
            refused = await client.post(start, json={"user_id": "u", "client_request_id": "r"})
            assert refused.status_code == 503
            assert "nothing can be stored at the moment" in refused.json()["detail"]
            assert "no space left" not in refused.text
            assert "it is started again once there is room" in product.said
            disk.free()
            await asyncio.to_thread(product.wait_until_whole)
            assert "nats-server stays in error though there is room" in product.said
            begun = await client.post(start, json={"user_id": "u", "client_request_id": "r"})
            assert begun.status_code in (200, 202)
        facts = await playing
        async with asyncio.timeout(60):
            shown = await watching
    assert kinds(facts) == expected
    assert [fact.envelope.seq for fact in facts] == list(range(1, len(facts) + 1))
    assert [event.seq for event in shown] == list(range(1, len(facts) + 1))
    done = done_by_tools(effects)
    assert len(done) == len(set(done)) > 0


def done_by_tools(effects: Path) -> list[str]:
    """The idempotency key of each tool, as often as it was run."""
    return effects.read_text().splitlines()


def kinds(facts: list[Fact]) -> list[tuple[str, str]]:
    lasting = [fact for fact in facts if not isinstance(fact.event, RunClaimed)]
    return [(fact.envelope.type, fact.envelope.actor) for fact in lasting]


async def waits_for(client: httpx.AsyncClient, product: Product, service: str) -> str:
    """What a service says of storing, as soon as it says anything."""
    while True:
        page = await client.get(f"http://127.0.0.1:{product.ports[service]}/ready")
        troubles = json.loads(page.text)["waiting_for"]
        if "storage" in troubles:
            assert page.status_code == 503
            return str(troubles["storage"])
        await asyncio.sleep(0.1)
