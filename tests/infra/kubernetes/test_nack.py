"""NACK creates the streams, buckets and object stores that the Job of the services creates."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from os.path import relpath
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from nats.aio.client import Client

from docs.generators.nack import CONSUMERS
from infra.cluster_users import NACK, main, make_users
from infra.credentials.nats_users import OPERATOR
from infra.servers import NatsServer
from services.chassis.nats.access import access_of
from services.chassis.nats.connection import Connection
from services.chassis.settings import Settings
from services.chassis.streams.ensure import check_streams, ensure_streams
from services.chassis.streams.plan import COMPRESSION_SET
from tests.infra.kubernetes.nack import SCHEMAS, consumer_request, stream_request
from tests.infra.kubernetes.rendered import Object, of_kind, pod_specs, rendered
from tests.patience import PATIENCE_SECONDS
from tests.secured_nats import violations

pytestmark = pytest.mark.broker


class ClusterNats(NatsServer):
    """With the users of a cluster; of its own, for it loses all streams."""

    def __init__(self, folder: Path) -> None:
        self.users = make_users(folder / "users")
        configuration = relpath(self.users.configuration, folder / "nats")
        super().__init__(folder / "nats", options=f"include {configuration}\n")

    @asynccontextmanager
    async def signed_in(self, user: str) -> AsyncIterator[Client]:
        """With the inboxes of nats.go, which NACK has."""
        settings = Settings(
            nats_url=self.url,
            nats_nkey_seed_file=self.users.seed_file(user),
            nats_inbox_prefix="_INBOX",
        )
        nc = Connection(access_of(settings, user), user)
        await nc.open()
        try:
            yield nc
        finally:
            await nc.shut_down(1)


@pytest.fixture(scope="module")
def server(
    nats: NatsServer,  # noqa: ARG001  decides what happens without nats-server
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ClusterNats]:
    server = ClusterNats(tmp_path_factory.mktemp("cluster"))
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


async def test_nack_creates_what_the_job_creates(server: ClusterNats) -> None:
    async with server.signed_in(OPERATOR) as operator, server.signed_in(NACK) as nack:
        await ensure_streams(operator, replicas=1)
        by_job = await configurations(operator)
        for name in by_job:
            await operator.jetstream().delete_stream(name)
        await ask(nack, "$JS.API.INFO", {})  # as CreateKeyValue does
        for one in resources():
            await create(nack, {**stream_request(one), "num_replicas": 1})
        assert await configurations(operator) == by_job
        assert await check_streams(operator, replicas=1) == []


async def test_nack_creates_the_consumers_of_the_services(server: ClusterNats) -> None:
    async with server.signed_in(OPERATOR) as operator, server.signed_in(NACK) as nack:
        await ensure_streams(operator, replicas=1)
        js = operator.jetstream()
        for stream, config in CONSUMERS:
            await js.add_consumer(stream, config)
        by_services = await consumer_configurations(operator)
        for stream, config in CONSUMERS:
            await js.delete_consumer(stream, str(config.durable_name))
        for one in consumers():
            request = consumer_request(one)
            place = f"{request['stream_name']}.{request['config']['durable_name']}"
            await ask(nack, f"$JS.API.CONSUMER.DURABLE.CREATE.{place}", request)
        assert await consumer_configurations(operator) == by_services


async def test_nack_may_not_append_read_or_delete(server: ClusterNats) -> None:
    forbidden = (
        "mozaiks.evt.00.acme.chat.chat",
        "mozaiks.cmd.00.acme.chat.start_chat",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$JS.API.STREAM.PURGE.EVENTS",
        "$JS.API.CONSUMER.DELETE.EVENTS.persistence-events",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.persistence-events",
        "$JS.API.DIRECT.GET.EVENTS",
    )
    before = len(violations(server.child.log))
    async with server.signed_in(NACK) as nack:
        for subject in forbidden:
            await nack.publish(subject, b"{}")
        await nack.flush()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(violations(server.child.log)) < before + len(forbidden):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


def test_the_users_of_a_cluster_are_the_secrets_of_its_pods(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "users")]) == 0
    made = re.findall(r"secret generic (nats-\w+) --from-file=seed=(\S+)", capsys.readouterr().out)
    assert all(Path(file).read_text().startswith("SU") for _, file in made)
    referred = {
        source["secret"]["name"]
        for spec in pod_specs(rendered("production")).values()
        for volume in spec["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
    }
    accounts = of_kind(rendered("operators"), "Account")
    referred |= {one["spec"]["nkey"]["secret"]["name"] for one in accounts}
    assert {name for name, _ in made} == referred - {"nats-ca"}
    assert main([]) == 2


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
