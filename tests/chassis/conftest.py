from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.chassis.story import Chat
from tests.disks import disk as disk
from tests.disks import disk_nats as disk_nats
from tests.gateway import connected_gateway


@pytest.fixture
async def gateway(nats: NatsServer) -> AsyncIterator[JetStreamGateway]:
    async with connected_gateway(nats.url) as gateway:
        yield gateway


@pytest.fixture
def chat(gateway: JetStreamGateway) -> Chat:
    return Chat(gateway)


@pytest.fixture
def own_nats(nats: NatsServer, tmp_path: Path) -> Iterator[NatsServer]:  # noqa: ARG001
    """A server of its own, for example to kill; `nats` decides what happens without nats-server."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def own_gateway(own_nats: NatsServer) -> AsyncIterator[JetStreamGateway]:
    async with connected_gateway(own_nats.url) as gateway:
        yield gateway
