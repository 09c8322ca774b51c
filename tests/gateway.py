"""A connection to a test's nats-server, on which every stream is as it is defined."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from nats.aio.client import Client

from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.process.broker import build_broker, connected
from services.chassis.settings import Settings
from services.chassis.streams.definitions import definitions
from services.chassis.streams.ensure import ensure_streams
from services.chassis.streams.plan import differences


@asynccontextmanager
async def connected_gateway(nats: str | Settings) -> AsyncIterator[JetStreamGateway]:
    """The gateway of a service called "test"; missing or changed streams are ensured first.

    All streams are compared by one request: to ensure each of them takes longer than many a test.
    """
    given = _settings(nats) if isinstance(nats, str) else nats
    settings = given.model_copy(update={"ensure_streams": False, "drain_seconds": 2})
    async with connected(build_broker(settings, "test"), settings, needs=()) as gateway:
        if await _differ(gateway.nc):
            await ensure_streams(gateway.nc, replicas=1)
        yield gateway


@cache
def _settings(url: str) -> Settings:
    """To read them from the environment takes longer than to connect."""
    return Settings(nats_url=url)


async def _differ(nc: Client) -> bool:
    reply = json.loads((await nc.request("$JS.API.STREAM.LIST", b"{}", timeout=10)).data)
    found = {one["config"]["name"]: one["config"] for one in reply["streams"] or ()}
    wanted = definitions(1)
    return any(differences(one, found.get(one["name"])) for one in wanted)
