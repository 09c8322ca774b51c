"""Metrics as a NATS user of its own, with the rights to what it reads and writes and no others."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats as nats_client
import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient

from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.streams.ensure import ensure_streams
from services.metrics.app import build_app
from services.metrics.settings import Settings
from tests.metrics.story import append, chat, decisions_of

pytestmark = [pytest.mark.broker]
TIMEOUT_SECONDS = 60.0
ALLOWED = [
    *("$JS.API.STREAM.INFO.EVENTS", "$JS.API.STREAM.INFO.KV_perf"),
    *(
        "$JS.API.CONSUMER.CREATE.EVENTS.metrics-1.mozaiks.evt.>",
        "$JS.API.CONSUMER.INFO.EVENTS.metrics-1",
    ),
    "$JS.API.CONSUMER.MSG.NEXT.EVENTS.metrics-1",
    *("$JS.API.DIRECT.GET.KV_perf.>", "$KV.perf.>", "$JS.API.DIRECT.GET.EVENTS"),
    "_INBOX_metrics.>",  # the service's own, by which it hears that it is heard
]
USERS = f"""
authorization {{ users: [
  {{user: operator, password: o}}
  {{user: metrics, password: m, permissions: {{
    publish: {json.dumps(ALLOWED)}
    subscribe: "_INBOX_metrics.>"
  }}}}
] }}
"""


def url_of(server: NatsServer, user: str) -> str:
    return f"nats://{user}:{user[0]}@127.0.0.1:{server.port}"


@pytest.fixture
def guarded(nats: NatsServer, tmp_path: Path) -> Iterator[NatsServer]:  # noqa: ARG001
    server = NatsServer(tmp_path / "nats", options=USERS)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def operator(guarded: NatsServer) -> AsyncIterator[JetStreamGateway]:
    nc = await nats_client.connect(url_of(guarded, "operator"))
    await ensure_streams(nc, replicas=1)
    yield JetStreamGateway(nc)
    await nc.close()


async def test_without_permission_to_create_streams_it_starts_and_counts(
    operator: JetStreamGateway, guarded: NatsServer
) -> None:
    await append(operator, decisions_of(chat()))
    settings = Settings(nats_url=url_of(guarded, "metrics"), ensure_streams=False, drain_seconds=2)
    app, _ = build_app(settings)
    async with AsyncTestClient[Litestar](app) as client, asyncio.timeout(TIMEOUT_SECONDS):  # type: ignore[arg-type]
        while (await client.get("/metrics/perf/aggregate")).json()["total_agent_turns"] < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    # Its last save, too, went through:
    assert (await (await operator.key_values.bucket("perf")).get("state")).value


@pytest.mark.parametrize("verb", ["CREATE", "UPDATE", "DELETE", "PURGE"])
async def test_the_same_user_may_not_change_a_stream(guarded: NatsServer, verb: str) -> None:
    refusals: asyncio.Queue[str] = asyncio.Queue()

    async def hear(trouble: Exception) -> None:
        refusals.put_nowait(str(trouble))

    nc = await nats_client.connect(url_of(guarded, "metrics"), error_cb=hear)
    try:
        await nc.publish(f"$JS.API.STREAM.{verb}.EVENTS", b"")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert "permissions violation" in (await refusals.get()).lower()
    finally:
        await nc.close()
