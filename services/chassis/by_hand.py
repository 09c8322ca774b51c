"""The connection of a command that somebody runs by hand: the services' own settings, but no patience."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.chassis.bus import Bus
from services.chassis.connection import Connection
from services.chassis.direct_get import UnavailableError
from services.chassis.ending import end
from services.chassis.nats_access import access_of
from services.chassis.settings import Settings

CONNECT_SECONDS = 3.0
"""How long a command waits for NATS before it says that there is none."""
LEAVE_SECONDS = 2.0


@asynccontextmanager
async def connection_by_hand(settings: Settings, name: str) -> AsyncIterator[Connection]:
    """A connection; no stream is asked for. Raises UnavailableError, which says what is in the way."""
    connection = Connection(access_of(settings, name), name)
    opening = asyncio.create_task(connection.open(), name=f"connect {name}")
    await asyncio.wait({opening}, timeout=CONNECT_SECONDS)
    if not opening.done():
        trouble = connection.trouble
        await end(opening)  # a timeout cancels once, which nats-py may lose
        raise UnavailableError(trouble or "NATS does not answer")
    opening.result()
    try:
        yield connection
    finally:
        await connection.leave(LEAVE_SECONDS)


@asynccontextmanager
async def bus_by_hand(settings: Settings, name: str) -> AsyncIterator[Bus]:
    """The bus over such a connection. Raises UnavailableError."""
    async with connection_by_hand(settings, name) as connection:
        yield Bus(connection)
