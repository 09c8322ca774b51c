import asyncio
from dataclasses import replace

import nats as nats_client
import pytest
from nats.aio.client import Client
from nats.js.api import StreamConfig

from contracts import subjects
from infra.servers import NatsServer
from services.chassis.streams import LEASE_SECONDS, MAX_CONSUMERS, ensure_streams
from tests.chassis.story import bus_of

pytestmark = [pytest.mark.broker]
STREAMS = [
    subjects.COMMANDS,
    subjects.EVENTS,
    subjects.DELTAS,
    subjects.LOOKUPS,
    subjects.DEAD_LETTERS,
]
BUCKETS = [
    subjects.LEASES,
    subjects.WORKFLOWS,
    subjects.CHATS,
    subjects.PERF,
    subjects.TICKETS,
    subjects.TRIES,
    subjects.ANSWERS,
]
OBJECTS = {f"OBJ_{name}" for name in (subjects.MANIFESTS, subjects.ATTACHMENTS)}


async def configured(nc: Client) -> dict[str, StreamConfig]:
    found = await nc.jetstream().streams_info()
    return {str(one.config.name): one.config for one in found}


async def test_the_streams_and_buckets_are_there_after_a_start(own_nats: NatsServer) -> None:
    async with bus_of(own_nats) as bus:
        found = await configured(bus.nc)
    assert set(found) == {*STREAMS, *map(subjects.bucket_stream, BUCKETS), *OBJECTS}
    events = found[subjects.EVENTS]
    assert (events.allow_direct, events.allow_atomic, events.max_age) == (True, True, 0)
    assert all(found[name].max_consumers == MAX_CONSUMERS for name in STREAMS)
    assert found[subjects.bucket_stream(subjects.LEASES)].max_age == LEASE_SECONDS


async def test_four_at_once_and_again_later_agree_on_the_streams(own_nats: NatsServer) -> None:
    async def start() -> dict[str, StreamConfig]:
        nc = await nats_client.connect(own_nats.url)
        try:
            await ensure_streams(nc, replicas=1)
            return await configured(nc)
        finally:
            await nc.close()

    agreed = await asyncio.gather(*(start() for _ in range(4)))
    assert agreed == [await start()] * 4


async def test_a_stream_that_was_changed_is_made_equal_again(own_nats: NatsServer) -> None:
    async with bus_of(own_nats) as bus:
        before = (await configured(bus.nc))[subjects.DELTAS]
        await bus.js.update_stream(replace(before, max_age=300.0))
        assert (await configured(bus.nc))[subjects.DELTAS].max_age == 300.0
        await ensure_streams(bus.nc, replicas=1)
        assert (await configured(bus.nc))[subjects.DELTAS] == before


async def test_a_start_leaves_what_is_stored_alone(own_nats: NatsServer) -> None:
    async with bus_of(own_nats) as bus:
        await (await bus.bucket(subjects.PERF)).put("kept", b"kept")
    async with bus_of(own_nats) as bus:
        kept = await (await bus.bucket(subjects.PERF)).get("kept")
    assert kept.value == b"kept"
