import asyncio
from collections.abc import Awaitable, Callable

import nats as nats_client
import pytest
from nats.js import JetStreamContext

from infra.nats_cluster import NatsCluster, NoAnswerError, request
from infra.ports import free_port
from infra.servers import NatsServer

pytestmark = [pytest.mark.broker]
STREAM = "KEPT"


def with_jetstream(
    cluster: NatsCluster, act: Callable[[JetStreamContext], Awaitable[object]]
) -> object:
    async def connected() -> object:
        connection = await nats_client.connect(cluster.urls)
        try:
            return await act(connection.jetstream(timeout=20))
        finally:
            await connection.close()

    return asyncio.run(connected())


async def keep(js: JetStreamContext) -> None:
    await js.add_stream(name=STREAM, subjects=["kept"], num_replicas=3)
    await js.publish("kept", b"fact")


async def kept(js: JetStreamContext) -> bytes | None:
    return (await js.get_msg(STREAM, 1)).data


@pytest.fixture
def cluster(nats_cluster: NatsCluster) -> NatsCluster:
    """The cluster with one message on three replicas."""
    with_jetstream(nats_cluster, keep)
    nats_cluster.wait_until_current(STREAM)
    return nats_cluster


def test_a_stream_has_one_leader_and_two_followers(cluster: NatsCluster) -> None:
    leader, followers = cluster.stream_leader(STREAM), cluster.stream_followers(STREAM)
    assert len(followers) == 2
    assert {leader, *followers} == set(cluster.nodes)


def test_a_leader_steps_down_for_another_node(cluster: NatsCluster) -> None:
    before = cluster.stream_leader(STREAM)
    after = cluster.step_down(STREAM)
    assert after is not before
    assert with_jetstream(cluster, kept) == b"fact"


def test_a_paused_leader_is_replaced_and_catches_up(cluster: NatsCluster) -> None:
    paused = cluster.stream_leader(STREAM)
    paused.pause()
    try:
        with pytest.raises(TimeoutError):
            request(paused.port, f"$JS.API.STREAM.INFO.{STREAM}", {})
        assert cluster.stream_leader(STREAM) is not paused
        assert with_jetstream(cluster, kept) == b"fact"
    finally:
        paused.resume()
    cluster.wait_until_current(STREAM)


def test_a_killed_node_comes_back_with_its_name_and_data(cluster: NatsCluster) -> None:
    killed = cluster.stream_leader(STREAM)
    killed.kill()
    try:
        assert cluster.stream_leader(STREAM) is not killed
        assert with_jetstream(cluster, kept) == b"fact"
    finally:
        killed.start()
    cluster.wait_until_current(STREAM)
    assert killed in {cluster.stream_leader(STREAM), *cluster.stream_followers(STREAM)}


def test_all_nodes_killed_at_once_come_back_with_their_data(cluster: NatsCluster) -> None:
    cluster.kill()
    cluster.start()
    cluster.wait_until_current(STREAM)
    assert with_jetstream(cluster, kept) == b"fact"


def test_what_nobody_answers_is_said(cluster: NatsCluster, nats: NatsServer) -> None:
    with pytest.raises(NoAnswerError, match=r"STREAM\.INFO\.NONE.*stream not found"):
        cluster.stream_leader("NONE", seconds=0.2)
    with pytest.raises(NoAnswerError, match="nobody listens"):
        request(nats.port, "nobody.here", {})
    with pytest.raises(OSError, match="refused"):
        request(free_port(), "nobody.here", {})
