"""A bus on a real NATS whose command queue is empty."""

import contextlib
from collections.abc import AsyncIterator

import pytest
from nats.js.errors import NotFoundError

from contracts import subjects
from infra.servers import NatsServer
from services.chassis.bus import Bus
from tests.orchestrator.world import bus_to


@pytest.fixture
async def bus(nats: NatsServer) -> AsyncIterator[Bus]:
    async with bus_to(nats.url) as bus:
        yield bus


@pytest.fixture
async def queue(bus: Bus) -> AsyncIterator[Bus]:
    """The bus with nothing and nobody at the command queue, before and after."""
    await _empty(bus)
    yield bus
    await _empty(bus)


async def _empty(bus: Bus) -> None:
    with contextlib.suppress(NotFoundError):
        await bus.js.delete_consumer(subjects.COMMANDS, "orchestrator")
    await bus.js.purge_stream(subjects.COMMANDS)
