import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nats as nats_client
import pytest
from nats.js import JetStreamContext
from pymongo import MongoClient, WriteConcern

from infra.child_process import StartError
from infra.nats_cluster import request
from infra.servers import MongoServer, NatsServer, Routes, nats_config

JOURNALED = WriteConcern(j=True)


def test_the_configuration_says_where_and_how_often() -> None:
    text = nats_config(name="n", port=4222, store=Path("/d"), sync_interval="always")
    assert 'listen: "127.0.0.1:4222"' in text
    assert 'store_dir: "/d"' in text
    assert "sync_interval: always" in text
    assert "sync_interval" not in nats_config(
        name="n", port=1, store=Path("/d"), sync_interval=None
    )


def test_the_configuration_of_a_node_names_its_cluster_and_its_peers() -> None:
    routes = Routes("c", 6001, (6001, 6002))
    text = nats_config(name="n", port=1, store=Path("/d"), sync_interval=None, routes=routes)
    assert 'name: "c"' in text
    assert 'listen: "127.0.0.1:6001"' in text
    assert 'routes: ["nats://127.0.0.1:6001", "nats://127.0.0.1:6002"]' in text


async def _with_jetstream(server: NatsServer, *, publish: bool) -> int:
    connection = await nats_client.connect(server.url)
    try:
        js: JetStreamContext = connection.jetstream()
        await js.add_stream(name="KEPT", subjects=["kept"])
        if publish:
            await js.publish("kept", b"fact")
        return (await js.stream_info("KEPT")).state.messages
    finally:
        await connection.close()


@pytest.mark.broker
@pytest.mark.parametrize("violent", [False, True])
def test_nats_keeps_its_port_and_its_messages(
    nats: NatsServer, tmp_path: Path, *, violent: bool
) -> None:
    assert nats.child.running  # the session's own: a second server lives beside it
    server = NatsServer(tmp_path / "nats")
    server.start()
    try:
        port = server.port
        assert asyncio.run(_with_jetstream(server, publish=True)) == 1
        if violent:
            server.kill()
        server.restart()
        assert server.port == port
        assert asyncio.run(_with_jetstream(server, publish=False)) == 1
    finally:
        server.stop()


@pytest.mark.broker
def test_nats_on_a_taken_port_fails_by_name_with_the_end_of_its_log(
    nats: NatsServer, tmp_path: Path
) -> None:
    with pytest.raises(StartError, match=r"(?s)nats-server ended.*address already in use"):
        NatsServer(tmp_path / "second", port=nats.port).start()


@pytest.mark.broker
def test_a_paused_nats_answers_nothing_goes_on_and_can_be_stopped(
    nats: NatsServer, tmp_path: Path
) -> None:
    assert nats.child.running
    server = NatsServer(tmp_path / "nats")
    server.start()
    try:
        server.pause()
        with pytest.raises(TimeoutError):
            request(server.port, "$JS.API.INFO", {})
        server.resume()
        assert request(server.port, "$JS.API.INFO", {})["streams"] == 0
        server.pause()
        assert server.child.stop(20)
    finally:
        server.kill()


@pytest.mark.mongo
@pytest.mark.parametrize("violent", [False, True])
def test_mongo_keeps_its_port_and_its_documents(
    mongo: MongoServer, tmp_path: Path, *, violent: bool
) -> None:
    assert mongo.child.running
    server = MongoServer(tmp_path / "mongo")
    server.start()
    try:
        port = server.port
        with MongoClient[dict[str, str]](server.uri) as client:
            client.get_database("d", write_concern=JOURNALED).c.insert_one({"_id": "fact"})
        if violent:
            server.kill()
        server.restart()
        assert server.port == port
        with MongoClient[dict[str, str]](server.uri) as client:
            assert client.d.c.find_one() == {"_id": "fact"}
    finally:
        server.stop()


@pytest.mark.mongo
def test_mongo_on_a_taken_port_fails_by_name(mongo: MongoServer, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="mongod ended"):
        MongoServer(tmp_path / "second", port=mongo.port).start()


@pytest.mark.mongo
def test_mongo_takes_the_operations_of_hundreds_of_connections_at_a_time(
    mongo: MongoServer,
) -> None:
    many = 300
    with (
        MongoClient[dict[str, int]](mongo.uri, maxPoolSize=many) as client,
        ThreadPoolExecutor(many) as threads,
    ):
        numbers = client.hundreds.c
        list(threads.map(lambda number: numbers.insert_one({"_id": number}), range(many)))
        found = list(threads.map(lambda number: numbers.find_one({"_id": number}), range(many)))
        client.drop_database("hundreds")
    assert found == [{"_id": number} for number in range(many)]
