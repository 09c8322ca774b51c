"""NACK creates the streams, buckets and object stores that the Job of the services creates."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import nats as nats_client
import pytest
from nats.aio.client import Client

from docs.generators.nack import CONSUMERS
from infra.servers import NatsServer
from services.chassis.streams.ensure import check_streams, ensure_streams
from services.chassis.streams.plan import COMPRESSION_SET
from tests.infra.kubernetes.nack import SCHEMAS, consumer_request, stream_request
from tests.infra.kubernetes.rendered import Object, of_kind, rendered

pytestmark = pytest.mark.broker


@pytest.fixture
def server(nats: NatsServer, tmp_path: Path) -> Iterator[NatsServer]:  # noqa: ARG001
    """Of its own, for it loses all streams; `nats` decides what happens without nats-server."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.stop()


def resources() -> list[Object]:
    return of_kind(rendered("operators"), "Stream", "KeyValue", "ObjectStore")


def consumers() -> list[Object]:
    return of_kind(rendered("operators"), "Consumer")


def test_the_objects_are_what_nack_accepts_and_keep_what_is_stored() -> None:
    accounts = of_kind(rendered("operators"), "Account")
    for one in (*resources(), *consumers(), *accounts):
        assert one["apiVersion"] == "jetstream.nats.io/v1beta2"
        jsonschema.validate(one["spec"], SCHEMAS[one["kind"]])
    (account,) = (one["metadata"]["name"] for one in accounts)
    for one in (*resources(), *consumers()):
        assert one["spec"]["preventDelete"] is True
        assert one["spec"]["account"] == account
    assert all(one["spec"]["replicas"] == 3 for one in resources())


def test_a_misspelt_field_is_found() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "EVENTS", "max_age": "1h"}, SCHEMAS["Stream"])


def test_nack_takes_the_place_of_the_job() -> None:
    objects = rendered("operators")
    assert not of_kind(objects, "Job")
    assert of_kind(rendered("production"), "Job")
    assert not of_kind(rendered("production"), "Stream")


async def test_nack_creates_what_the_job_creates(server: NatsServer) -> None:
    nc = await nats_client.connect(server.url)
    try:
        await ensure_streams(nc, replicas=1)
        by_job = await configurations(nc)
        for name in by_job:
            await nc.jetstream().delete_stream(name)
        for one in resources():
            await create(nc, {**stream_request(one), "num_replicas": 1})
        by_nack = await configurations(nc)
        assert by_nack == by_job
        assert await check_streams(nc, replicas=1) == []
    finally:
        await nc.close()


async def test_nack_creates_the_consumers_of_the_services(server: NatsServer) -> None:
    nc = await nats_client.connect(server.url)
    try:
        await ensure_streams(nc, replicas=1)
        js = nc.jetstream()
        for stream, config in CONSUMERS:
            await js.add_consumer(stream, config)
        by_services = await consumer_configurations(nc)
        for stream, config in CONSUMERS:
            await js.delete_consumer(stream, str(config.durable_name))
        for one in consumers():
            request = consumer_request(one)
            place = f"{request['stream_name']}.{request['config']['durable_name']}"
            await ask(nc, f"$JS.API.CONSUMER.DURABLE.CREATE.{place}", request)
        assert await consumer_configurations(nc) == by_services
    finally:
        await nc.close()


async def consumer_configurations(nc: Client) -> dict[str, Any]:
    found = {}
    for stream in {stream for stream, _ in CONSUMERS}:
        for one in (await ask(nc, f"$JS.API.CONSUMER.LIST.{stream}", {}))["consumers"]:
            config = one["config"]
            kept = {k: v for k, v in config["metadata"].items() if not is_of_job_or_server(k)}
            # nats-py names a durable consumer twice, jsm.go once: the server takes the one for the other.
            found[config.pop("name", one["name"])] = {**config, "metadata": kept}
    return found


async def create(nc: Client, request: dict[str, Any]) -> None:
    await ask(nc, f"$JS.API.STREAM.CREATE.{request['name']}", request)


async def ask(nc: Client, subject: str, request: dict[str, Any]) -> dict[str, Any]:
    reply = await nc.request(subject, json.dumps(request).encode())
    answer: dict[str, Any] = json.loads(reply.data)
    assert "error" not in answer, (subject, answer["error"])
    return answer


async def configurations(nc: Client) -> dict[str, dict[str, Any]]:
    """Each stream as the server has it, without the mark of the Job that it has set the compression.

    A KeyValue of NACK has no metadata. The mark only says that another compression is the operator's.
    """
    answer = json.loads((await nc.request("$JS.API.STREAM.LIST", b"")).data)
    found = {}
    for stream in answer["streams"]:
        config = stream["config"]
        kept = {k: v for k, v in config.pop("metadata", {}).items() if not is_of_job_or_server(k)}
        found[config["name"]] = {**config, "metadata": kept}
    return found


def is_of_job_or_server(key: str) -> bool:
    return key == COMPRESSION_SET or key.startswith("_nats.")
