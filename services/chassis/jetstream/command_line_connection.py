"""Connections of command line tools: the services' settings, but an unavailable NATS is an error."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway, open_gateway
from services.chassis.nats.access import access_of
from services.chassis.nats.connection import Connection
from services.chassis.settings import Settings
from services.chassis.tasks import cancel_and_wait

CONNECT_SECONDS = 3.0
"""How long a command line tool waits for NATS."""
CLOSE_SECONDS = 2.0


@asynccontextmanager
async def one_shot_connection(settings: Settings, name: str) -> AsyncIterator[Connection]:
    """A connection; streams are not checked. Raises NatsUnavailableError with the cause."""
    connection = Connection(access_of(settings, name), name)
    opening = asyncio.create_task(connection.open(), name=f"connect {name}")
    await asyncio.wait({opening}, timeout=CONNECT_SECONDS)
    if not opening.done():
        problem = connection.problem
        await cancel_and_wait(opening)  # a timeout cancels once, which nats-py may lose
        raise NatsUnavailableError(problem or "NATS does not answer")
    opening.result()
    try:
        yield connection
    finally:
        await connection.shut_down(CLOSE_SECONDS)


@asynccontextmanager
async def one_shot_gateway(settings: Settings, name: str) -> AsyncIterator[JetStreamGateway]:
    """The gateway over such a connection. Raises NatsUnavailableError."""
    async with one_shot_connection(settings, name) as connection:
        yield open_gateway(connection, settings.encryption_keys)
