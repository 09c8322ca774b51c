"""Streams, buckets, object stores and consumers deleted below the running product."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from nats.js.errors import NotFoundError

from contracts import subjects
from contracts.ids import ChatKey
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.streams.definitions import definitions
from tests.patience import PATIENCE_SECONDS
from tests.system.product import Product
from tests.system.stage import bus_at, chat_key, order_start, play_to_the_end, play_until

pytestmark = [
    pytest.mark.system,
    pytest.mark.mongo,
    pytest.mark.timeout(240),
]

LOGS = (subjects.EVENTS, subjects.COMMANDS)
"""What nothing else holds: with them chats are lost, and nothing but chats."""
OTHERS = sorted(str(one["name"]) for one in definitions(1) if one["name"] not in LOGS)


@pytest.fixture
def product(demo_product: Product) -> Product:
    return demo_product


@pytest.fixture
async def gateway(product: Product) -> AsyncIterator[JetStreamGateway]:
    async with bus_at(product.settings) as gateway:
        yield gateway


async def test_whatever_is_deleted_but_the_logs_costs_no_chat(
    product: Product, gateway: JetStreamGateway
) -> None:
    ended, key = chat_key("has ended"), chat_key("goes on")
    await order_start(gateway, ended)
    before = await play_to_the_end(gateway, ended)
    await listed(product, ended, len(before))
    await order_start(gateway, key)
    await play_until(gateway, key, "human.asked")
    for stream in OTHERS:
        await gateway.js.delete_stream(stream)
    await delete_consumers(gateway)
    facts = await play_to_the_end(gateway, key)
    assert facts[-1].envelope.type == "chat.completed"
    await are_there(gateway, *OTHERS)
    await asyncio.to_thread(product.wait_until_whole)
    assert "streams are made again" in product.said
    await listed(product, key, len(facts))
    await listed(product, ended, len(before))
    await holds_values(gateway, subjects.bucket_stream(subjects.PERF))
    await holds_values(gateway, subjects.object_stream(subjects.MANIFESTS))
    async with (
        httpx.AsyncClient(base_url=product.address) as client,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        while "HelloWorld" not in (await client.get("/api/workflows")).json():  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_with_a_lost_log_the_product_begins_anew(
    product: Product, gateway: JetStreamGateway
) -> None:
    for stream in LOGS:
        await gateway.js.delete_stream(stream)
    await are_there(gateway, *LOGS)
    await asyncio.to_thread(product.wait_until_whole)
    key = chat_key("begins")
    await order_start(gateway, key)
    facts = await play_to_the_end(gateway, key)
    assert facts[-1].envelope.type == "chat.completed"
    await listed(product, key, len(facts))
    await counted(product, key)


async def delete_consumers(gateway: JetStreamGateway) -> None:
    for stream in (*LOGS, subjects.LOOKUPS):
        try:
            for consumer in await gateway.js.consumers_info(stream):
                await gateway.js.delete_consumer(stream, consumer.name)
        except NotFoundError:
            continue


async def are_there(gateway: JetStreamGateway, *streams: str) -> None:
    async with asyncio.timeout(60):
        for stream in streams:
            while True:
                try:
                    await gateway.js.stream_info(stream)
                    break
                except NotFoundError:
                    await asyncio.sleep(0.1)


async def holds_values(gateway: JetStreamGateway, stream: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (await gateway.js.stream_info(stream)).state.messages:  # noqa: ASYNC110
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
