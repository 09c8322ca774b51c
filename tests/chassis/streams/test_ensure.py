import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import nats as nats_client
import pytest
from nats.aio.client import Client
from nats.js.api import StorageType, StoreCompression, StreamConfig
from nats.js.errors import NotFoundError

from contracts import subjects
from infra.nats_cluster import NatsCluster
from infra.ports import free_port
from infra.servers import NatsServer
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.nats.unavailable import retry_until_available
from services.chassis.process.broker import build_broker, connected
from services.chassis.settings import Settings
from services.chassis.streams.__main__ import run
from services.chassis.streams.definitions import (
    COMPRESSED,
    MAX_CONSUMERS,
    _buckets,
    _object_stores,
    definitions,
)
from services.chassis.streams.ensure import Ensured, check_streams, ensure_streams
from services.chassis.streams.plan import COMPRESSION_SET, Missing
from services.metrics import app as metrics
from services.orchestrator import app as orchestrator
from services.persistence import app as persistence
from services.transport import app as transport
from tests.chassis.story import gateway_of

pytestmark = [pytest.mark.broker]
STREAMS = [
    subjects.COMMANDS,
    subjects.EVENTS,
    subjects.DELTAS,
    subjects.LOOKUPS,
    subjects.DEAD_LETTERS,
    subjects.BUSINESS,
    subjects.BUDGETS,
]
BUCKETS = [
    subjects.WORKFLOWS,
    subjects.CHATS,
    subjects.PERF,
    subjects.TICKETS,
    subjects.ATTEMPTS,
    subjects.ANSWERS,
    subjects.BUDGET_LIMITS,
    subjects.ERASURES,
    subjects.CHAT_KEYS,
    subjects.SNAPSHOTS,
]
OBJECTS = {f"OBJ_{name}" for name in (subjects.MANIFESTS, subjects.ATTACHMENTS, subjects.VALUES)}


NAMES = [str(one["name"]) for one in definitions(1)]


@asynccontextmanager
async def connection(*urls: str) -> AsyncIterator[Client]:
    nc = await nats_client.connect([*urls])
    try:
        yield nc
    finally:
        await nc.close()


async def configured(nc: Client) -> dict[str, StreamConfig]:
    found = await nc.jetstream().streams_info()
    return {str(one.config.name): one.config for one in found}


async def test_the_streams_and_buckets_exist_after_a_start(own_nats: NatsServer) -> None:
    async with gateway_of(own_nats) as gateway:
        found = await configured(gateway.nc)
    assert set(found) == {*STREAMS, *map(subjects.bucket_stream, BUCKETS), *OBJECTS}
    events = found[subjects.EVENTS]
    assert (events.allow_direct, events.max_age) == (True, 0)
    assert not events.allow_atomic  # a decision is one message
    assert all(found[name].max_consumers == MAX_CONSUMERS for name in STREAMS)


@pytest.mark.parametrize("app", [metrics, orchestrator, persistence, transport])
def test_a_service_needs_streams_that_are_defined(app: ModuleType) -> None:
    assert app.NEEDS
    assert set(app.NEEDS) <= set(NAMES)


async def test_four_services_that_start_at_once_agree_on_the_streams(own_nats: NatsServer) -> None:
    async def start() -> dict[str, StreamConfig]:
        async with connection(own_nats.url) as nc:
            await ensure_streams(nc, replicas=1)
            return await configured(nc)

    agreed = await asyncio.gather(*(start() for _ in range(4)))
    assert agreed == [await start()] * 4


async def test_after_ensure_nothing_differs(own_nats: NatsServer) -> None:
    async with connection(own_nats.url) as nc:
        before = await check_streams(nc, replicas=1)
        assert {one.stream for one in before} == {*NAMES}
        assert all(isinstance(one, Missing) for one in before)
        first = await ensure_streams(nc, replicas=1)
        assert set(first.changes) == {f"created {name}" for name in NAMES}
        assert await check_streams(nc, replicas=1) == []
        assert await ensure_streams(nc, replicas=1) == Ensured((), ())


async def test_buckets_are_created_as_the_client_library_creates_them(own_nats: NatsServer) -> None:
    async with connection(own_nats.url) as nc:
        js = nc.jetstream()
        for bucket in _buckets(1):
            await js.create_key_value(bucket)
        for store in _object_stores(1):
            await js.create_object_store(str(store.bucket), store)
        theirs = await configured(nc)
        for name in theirs:
            await js.delete_stream(name)
        await ensure_streams(nc, replicas=1)
        ours = await configured(nc)
    assert {name: comparable(ours[name]) for name in theirs} == {
        name: comparable(config) for name, config in theirs.items()
    }


def comparable(config: StreamConfig) -> StreamConfig:
    """Without compression, which is ours, and TTLs of messages, which no bucket of ours has.

    With TTLs a bucket could not be described for Kubernetes: NACK allows them with markers only.
    """
    metadata = {
        k: v
        for k, v in (config.metadata or {}).items()
        if k != COMPRESSION_SET and not k.startswith("_nats.")
    }
    return config.evolve(compression=None, metadata=metadata, allow_msg_ttl=None)


async def test_streams_of_an_earlier_release_are_compressed_until_an_operator_chooses_otherwise(
    own_nats: NatsServer,
) -> None:
    async with connection(own_nats.url) as nc:
        earlier = StreamConfig(name="EVENTS", subjects=[subjects.ALL_EVENTS], allow_direct=True)
        await nc.jetstream().add_stream(earlier)
        ensured = await ensure_streams(nc, replicas=1)
        assert "changed EVENTS.compression from none to s2" in ensured.changes
        found = await configured(nc)
        assert {name for name in found if is_compressed(found[name])} == set(COMPRESSED)
        none = StoreCompression.NONE
        await nc.jetstream().update_stream(replace(found[subjects.EVENTS], compression=none))
        assert await ensure_streams(nc, replicas=1) == Ensured((), ())
        assert not is_compressed((await configured(nc))[subjects.EVENTS])


def is_compressed(config: StreamConfig) -> bool:
    return config.compression == StoreCompression.S2.value


async def test_choices_of_an_operator_survive_every_ensure(own_nats: NatsServer) -> None:
    chosen: dict[str, Any] = {
        "max_age": 86_400.0,
        "max_bytes": 50_000_000,
        "max_consumers": 99,
        "description": "ours",
    }
    async with connection(own_nats.url) as nc:
        await ensure_streams(nc, replicas=1)
        for config in (await configured(nc)).values():
            theirs = {**(config.metadata or {}), "team": "core"}
            await nc.jetstream().update_stream(replace(config, **chosen, metadata=theirs))
        before = await configured(nc)
        assert await ensure_streams(nc, replicas=1) == Ensured((), ())
        assert await configured(nc) == before
        # Also where an update is due:
        events = before[subjects.EVENTS]
        await nc.jetstream().update_stream(replace(events, allow_direct=False))
        await ensure_streams(nc, replicas=1)
        assert await configured(nc) == before


async def test_a_smaller_limit_is_left_unchanged_too(own_nats: NatsServer) -> None:
    async with connection(own_nats.url) as nc:
        await ensure_streams(nc, replicas=1)
        before = (await configured(nc))[subjects.DELTAS]
        await nc.jetstream().update_stream(replace(before, max_age=300.0))
        assert await ensure_streams(nc, replicas=1) == Ensured((), ())
        assert (await configured(nc))[subjects.DELTAS].max_age == 300.0


async def test_missing_subjects_are_added_and_other_subjects_stay(
    own_nats: NatsServer,
) -> None:
    async with connection(own_nats.url) as nc:
        await nc.jetstream().add_stream(name=subjects.EVENTS, subjects=["theirs"])
        done = (await ensure_streams(nc, replicas=1)).changes
        assert f"changed EVENTS.subjects from theirs to theirs, {subjects.ALL_EVENTS}" in done
        assert "changed EVENTS.allow_direct from false to true" in done
        after = (await configured(nc))[subjects.EVENTS]
        assert after.subjects == ["theirs", subjects.ALL_EVENTS]
        assert after.allow_direct
        assert after.republish is not None


async def test_fields_that_cannot_be_changed_are_reported_by_name_and_left(
    own_nats: NatsServer,
) -> None:
    async with connection(own_nats.url) as nc:
        await nc.jetstream().add_stream(
            name=subjects.EVENTS, subjects=[subjects.ALL_EVENTS], storage=StorageType.MEMORY
        )
        left = (await ensure_streams(nc, replicas=1)).remaining
        assert [(one.stream, str(one)) for one in left] == [
            (
                "EVENTS",
                "EVENTS.storage is memory where file is defined, which an update cannot change",
            )
        ]
        after = (await configured(nc))[subjects.EVENTS]
        assert (after.storage, after.allow_direct) == (StorageType.MEMORY, True)


async def test_rejected_changes_are_reported_with_their_reason_and_the_others_are_made(
    own_nats: NatsServer,
) -> None:
    async with connection(own_nats.url) as nc:
        await nc.jetstream().add_stream(name=subjects.EVENTS, subjects=["theirs"])
        ensured = await ensure_streams(nc, replicas=3)
        refused = {one.stream: str(one) for one in ensured.remaining}
        reason = "replicas > 1 not supported in non-clustered mode"
        assert refused[subjects.EVENTS] == f"EVENTS.num_replicas is 1, 3 is needed: {reason}"
        assert refused[subjects.COMMANDS] == f"stream COMMANDS is missing: {reason}"
        assert subjects.ALL_EVENTS in ((await configured(nc))[subjects.EVENTS].subjects or [])


@pytest.mark.parametrize("name", ["KV_chats", "OBJ_manifests", "EVENTS"])
async def test_a_deleted_stream_is_created_again(own_nats: NatsServer, name: str) -> None:
    async with connection(own_nats.url) as nc:
        await ensure_streams(nc, replicas=1)
        await nc.jetstream().delete_stream(name)
        assert await check_streams(nc, replicas=1) == [Missing(name)]
        assert (await ensure_streams(nc, replicas=1)).changes == (f"created {name}",)


async def test_a_check_reads_only_the_streams_it_is_given(own_nats: NatsServer) -> None:
    async with connection(own_nats.url) as nc:
        assert await check_streams(nc, replicas=1, names=["EVENTS"]) == [Missing("EVENTS")]


async def test_a_jetstream_that_does_not_answer_is_an_error_that_names_the_stream(
    own_nats: NatsServer,
) -> None:
    async with connection(own_nats.url) as nc:
        await nc.close()
        with pytest.raises(NatsUnavailableError, match="INFO EVENTS: no answer"):
            await check_streams(nc, replicas=1)


@pytest.fixture
def cluster(nats_cluster: NatsCluster) -> Iterator[NatsCluster]:
    """The cluster without a stream, before and after."""
    asyncio.run(emptied(nats_cluster))
    yield nats_cluster
    asyncio.run(emptied(nats_cluster))


async def emptied(cluster: NatsCluster) -> None:
    async with connection(*cluster.urls) as nc:
        for name in {*NAMES, *await configured(nc)}:
            with suppress(NotFoundError):
                await retry_until_available(partial(nc.jetstream().delete_stream, name), "a stream")


async def test_on_a_cluster_every_stream_bucket_and_store_is_raised_and_never_lowered(
    cluster: NatsCluster,
) -> None:
    async def replicas() -> set[int | None]:
        # Each by its name: a list omits streams that are electing a leader.
        asked = [partial(nc.jetstream().stream_info, name) for name in NAMES]
        return {(await retry_until_available(one, "a stream")).config.num_replicas for one in asked}

    async with connection(*cluster.urls) as nc:
        await ensure_streams(nc, replicas=1)
        assert await replicas() == {1}
        ensured = await ensure_streams(nc, replicas=3)
        assert ensured.remaining == ()
        assert set(ensured.changes) == {
            f"changed {name}.num_replicas from 1 to 3" for name in NAMES
        }
        assert await replicas() == {3}
        # A service without STREAM_REPLICAS:
        settings = Settings(nats_url=cluster.nodes[0].url, drain_seconds=2, stream_replicas=1)
        async with connected(build_broker(settings, "test"), settings):
            assert await replicas() == {3}


def command(verb: str, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.chassis.streams", verb],
        env={**os.environ, "NATS_URL": url},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        cwd=Path(__file__).parents[3],
    )


def test_the_command_prints_what_differs_and_what_it_did(own_nats: NatsServer) -> None:
    before = command("check", own_nats.url)
    assert before.returncode == 1
    assert before.stdout.splitlines() == [f"stream {name} is missing" for name in NAMES]
    ensured = command("ensure", own_nats.url)
    assert ensured.returncode == 0
    assert ensured.stdout.splitlines() == [f"created {name}" for name in NAMES]
    after = command("check", own_nats.url)
    assert (after.returncode, after.stdout) == (0, "nothing differs\n")
    assert command("sweep", own_nats.url).returncode == 2


async def test_the_command_fails_where_it_could_not_finish(
    own_nats: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run("ensure", Settings(nats_url=own_nats.url, stream_replicas=3)) == 1
    assert "stream EVENTS is missing: replicas > 1 not supported" in capsys.readouterr().out
    nobody = Settings(nats_url=f"nats://u:sesame@127.0.0.1:{free_port()}")
    assert await run("ensure", nobody, wait_seconds=0.1) == 3
    said = capsys.readouterr().err
    assert "no answer from JetStream at NATS_URL" in said
    assert "sesame" not in said


async def test_a_start_keeps_stored_messages(own_nats: NatsServer) -> None:
    async with gateway_of(own_nats) as gateway:
        await (await gateway.key_values.bucket(subjects.PERF)).put("kept", b"kept")
    async with gateway_of(own_nats) as gateway:
        kept = await (await gateway.key_values.bucket(subjects.PERF)).get("kept")
    assert kept.value == b"kept"
