"""A gateway to a real NATS with an empty command queue, and strict checks of every model call."""

import contextlib
from collections.abc import AsyncIterator

import pytest
from nats.js.errors import NotFoundError

from contracts import subjects
from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.gateway import connected_gateway
from tests.strict_model_calls import strict_model_calls

__all__ = ["strict_model_calls"]


@pytest.fixture
async def gateway(nats: NatsServer) -> AsyncIterator[JetStreamGateway]:
    async with connected_gateway(nats.url) as gateway:
        yield gateway


@pytest.fixture
async def queue(gateway: JetStreamGateway) -> AsyncIterator[JetStreamGateway]:
    """The gateway with an empty command queue without consumers, before and after the test."""
    await _empty(gateway)
    yield gateway
    await _empty(gateway)


async def _empty(gateway: JetStreamGateway) -> None:
    with contextlib.suppress(NotFoundError):
        await gateway.js.delete_consumer(subjects.COMMANDS, "orchestrator")
    await gateway.js.purge_stream(subjects.COMMANDS)
