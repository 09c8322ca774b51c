"""A transport in this process, as many as a test wants, over a real NATS."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any

import pytest
import uvicorn

from infra.servers import NatsServer
from services.chassis.bus import Bus
from services.chassis.process import Front, build_broker, connected
from services.transport.app import Settings, build_app, socket_options
from tests.disks import disk as disk
from tests.disks import disk_nats as disk_nats
from tests.transport.story import Chat

Open = Callable[..., Awaitable[str]]


class _Quiet(uvicorn.Server):
    def capture_signals(self) -> Any:
        return nullcontext()  # the test's own process keeps its signals


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[tuple[str, uvicorn.Server]]:
    app, probes = build_app(settings)
    door = socket.create_server(("127.0.0.1", 0))
    door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio sees to its own only
    front = Front(app, probes, give_up=pytest.fail, left=lambda: 10.0)
    config = uvicorn.Config(
        front,
        lifespan="on",
        log_config=None,
        timeout_graceful_shutdown=3,
        **socket_options(settings),
    )
    server = _Quiet(config)
    serving = asyncio.create_task(server.serve(sockets=[door]))
    while not (server.started and front.started):
        if serving.done():
            serving.result()
        await asyncio.sleep(0.01)
    try:
        yield f"127.0.0.1:{door.getsockname()[1]}", server
    finally:
        probes.draining()  # as the real one does, before it stops
        server.should_exit = True
        await asyncio.wait_for(serving, 20)


@pytest.fixture
async def bus(nats: NatsServer) -> AsyncIterator[Bus]:
    settings = Settings(nats_url=nats.url)
    async with connected(build_broker(settings, "test"), settings) as bus:
        yield bus


@pytest.fixture
def chat(bus: Bus) -> Chat:
    return Chat(bus)


@pytest.fixture
async def open_transport(nats: NatsServer) -> AsyncIterator[Open]:
    """Start a transport; the answer is its host and port."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> str:
            given = {"nats_url": nats.url, "handshake_seconds": 0.05, "start_wait_seconds": 0.3}
            told = Settings(**{**given, **settings})
            address, _ = await stack.enter_async_context(running(told))
            return address

        yield start


@pytest.fixture
async def transport(open_transport: Open) -> str:
    return await open_transport()
