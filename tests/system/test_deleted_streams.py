"""Streams, buckets, object stores and consumers deleted below the running product."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from nats.js.errors import NotFoundError

from contracts import subjects
from contracts.ids import ChatKey
from services.chassis.bus import Bus
from services.chassis.streams import definitions
from tests.system.product import Product, running
from tests.system.stage import bus_at, chat_key, order_start, play_to_the_end, play_until

pytestmark = [
    pytest.mark.system,
    pytest.mark.mongo,
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("product"),
]

LOGS = (subjects.EVENTS, subjects.COMMANDS)
"""What nothing else holds: with them chats are lost, and nothing but chats."""
OTHERS = sorted(str(one["name"]) for one in definitions(1) if one["name"] not in LOGS)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with running(tmp_path_factory.mktemp("product")) as started:
        yield started


@pytest.fixture
async def bus(product: Product) -> AsyncIterator[Bus]:
    async with bus_at(product.nats_url) as bus:
        yield bus


async def test_whatever_is_deleted_but_the_logs_costs_no_chat(product: Product, bus: Bus) -> None:
    ended, key = chat_key("has ended"), chat_key("goes on")
    await order_start(bus, ended)
    before = await play_to_the_end(bus, ended)
    await listed(product, ended, len(before))
    await order_start(bus, key)
    await play_until(bus, key, "human.asked")
    for stream in OTHERS:
        await bus.js.delete_stream(stream)
    await delete_consumers(bus)
    facts = await play_to_the_end(bus, key)
    assert facts[-1].envelope.type == "chat.completed"
    await are_there(bus, *OTHERS)
    await asyncio.to_thread(product.wait_until_whole)
    assert "streams are made again" in product.said
    await listed(product, key, len(facts))
    await listed(product, ended, len(before))
    await holds_values(bus, subjects.bucket_stream(subjects.PERF))
    await holds_values(bus, subjects.object_stream(subjects.MANIFESTS))
    async with httpx.AsyncClient(base_url=product.address) as client, asyncio.timeout(30):
        while "HelloWorld" not in (await client.get("/api/workflows")).json():  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_with_a_lost_log_the_product_begins_anew(product: Product, bus: Bus) -> None:
    for stream in LOGS:
        await bus.js.delete_stream(stream)
    await are_there(bus, *LOGS)
    await asyncio.to_thread(product.wait_until_whole)
    key = chat_key("begins")
    await order_start(bus, key)
    facts = await play_to_the_end(bus, key)
    assert facts[-1].envelope.type == "chat.completed"
    await listed(product, key, len(facts))
    await counted(product, key)


async def delete_consumers(bus: Bus) -> None:
    for stream in (*LOGS, subjects.LOOKUPS):
        try:
            for consumer in await bus.js.consumers_info(stream):
                await bus.js.delete_consumer(stream, consumer.name)
        except NotFoundError:
            continue


async def are_there(bus: Bus, *streams: str) -> None:
    async with asyncio.timeout(60):
        for stream in streams:
            while True:
                try:
                    await bus.js.stream_info(stream)
                    break
                except NotFoundError:
                    await asyncio.sleep(0.1)


async def holds_values(bus: Bus, stream: str) -> None:
    async with asyncio.timeout(30):
        while not (await bus.js.stream_info(stream)).state.messages:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def listed(product: Product, key: ChatKey, events: int) -> None:
    """Persistence has the chat, and its user's list shows it."""
    async with asyncio.timeout(40), httpx.AsyncClient(base_url=product.address) as client:
        while True:
            page = (await client.get("/api/sessions/list/acme.corp/56132")).json()
            found = [one for one in page.get("sessions", []) if one["chat_id"] == key.chat]
            if found and found[0]["last_sequence"] == events:
                return
            await asyncio.sleep(0.1)


async def counted(product: Product, key: ChatKey) -> None:
    url = f"http://127.0.0.1:{product.ports['metrics']}/metrics/perf/chats/{key.chat}"
    async with asyncio.timeout(40), httpx.AsyncClient() as client:
        while not (await client.get(url)).json().get("ended_at"):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
