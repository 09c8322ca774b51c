"""Takeovers where the processes of a queue are connected to different nodes of a NATS cluster."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from infra.nats_cluster import NatsCluster
from services.chassis.settings import Settings
from tests.chassis.consumers.test_queue_consumer import give
from tests.chassis.consumers.test_takeover import Process, gateway_at, know_each_other, queue_of
from tests.chassis.story import until

pytestmark = [pytest.mark.broker]


@pytest.fixture
def cluster(nats_cluster: NatsCluster, tmp_path: Path) -> Iterator[NatsCluster]:  # noqa: ARG001
    """A cluster of its own, whose nodes may end; `nats_cluster` decides what happens without nats-server."""
    own = NatsCluster(tmp_path)
    own.start()
    yield own
    own.kill()


@pytest.fixture
async def processes(cluster: NatsCluster) -> AsyncIterator[list[Process]]:
    """One on each node, with room for one message."""
    async with AsyncExitStack() as stack:
        found = []
        for name, url in zip("abc", cluster.urls, strict=True):
            settings = Settings(nats_url=url, stream_replicas=3, drain_seconds=2)
            gateway = await stack.enter_async_context(gateway_at(settings))
            found.append(Process(name, gateway, queue_of(1)))
            stack.push_async_callback(found[-1].stop)
            await found[-1].start()
        await know_each_other(*found)
        yield found


async def test_a_process_on_another_node_is_taken_over(processes: list[Process]) -> None:
    await give(processes[0].gateway, "one", "two")
    await until(lambda: sum(len(one.held) for one in processes) == 2)
    (free,) = [one for one in processes if not one.held]
    gone, alive = [one for one in processes if one.held]
    await gone.kill()
    await until(lambda: bool(free.held))
    assert free.held == [(gone.texts()[0], 2)]
    assert len(alive.held) == 1


async def test_a_node_that_ends_makes_no_process_gone(
    cluster: NatsCluster, processes: list[Process], caplog: pytest.LogCaptureFixture
) -> None:
    await give(processes[0].gateway, "one", "two", "three")
    await until(lambda: all(len(one.held) == 1 for one in processes))
    await asyncio.to_thread(cluster.nodes[0].kill)
    await until(lambda: processes[0].gateway.nc.stats["reconnects"] == 1)
    await asyncio.sleep(2)
    assert [len(one.held) for one in processes] == [1, 1, 1]
    assert "is gone" not in caplog.text
