from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from infra.servers import NatsServer
from services.chassis.bus import Bus
from tests.chassis.story import Chat, bus_of
from tests.disks import disk as disk
from tests.disks import disk_nats as disk_nats


@pytest.fixture
async def bus(nats: NatsServer) -> AsyncIterator[Bus]:
    async with bus_of(nats) as bus:
        yield bus


@pytest.fixture
def chat(bus: Bus) -> Chat:
    return Chat(bus)


@pytest.fixture
def own_nats(nats: NatsServer, tmp_path: Path) -> Iterator[NatsServer]:  # noqa: ARG001
    """A server to kill, or to have for oneself; `nats` decides what happens where there is none."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def own_bus(own_nats: NatsServer) -> AsyncIterator[Bus]:
    async with bus_of(own_nats) as bus:
        yield bus
