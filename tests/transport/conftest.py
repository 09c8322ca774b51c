"""Transports in this process over a real NATS: one that tests share, and as many as a test wants."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, nullcontext
from http.client import HTTPConnection
from typing import Any

import pytest
import uvicorn
from anyio.from_thread import BlockingPortal, start_blocking_portal

from contracts import subjects
from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.process.asgi_front import AsgiFront
from services.chassis.process.server import protected
from services.transport.app import build_app, socket_options
from services.transport.chats import catalogue
from services.transport.settings import Settings
from tests.disks import disk as disk
from tests.disks import disk_nats as disk_nats
from tests.gateway import connected_gateway
from tests.transport.story import GENERAL_CARD, Chat, cut_sockets, publish_cards

READY_SECONDS = 60.0
QUICK: dict[str, Any] = {"resume_handshake_seconds": 0.05, "start_wait_seconds": 0.3}
"""Settings of every transport here: short timeouts for what clients may delay."""
Open = Callable[..., Awaitable[str]]


class _Quiet(uvicorn.Server):
    def capture_signals(self) -> Any:
        return nullcontext()  # the test's own process keeps its signals

    async def main_loop(self) -> None:
        await self.on_tick(0)  # for the headers of every answer
        while not self.should_exit:  # noqa: ASYNC110  uvicorn looks ten times a second
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[tuple[str, uvicorn.Server]]:
    app, probes = build_app(settings)
    server_socket = socket.create_server(("127.0.0.1", 0))
    # asyncio sets this only on sockets that it opens itself.
    server_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    front = AsgiFront(app, probes, give_up=pytest.fail, seconds_left=lambda: 10.0)
    config = uvicorn.Config(
        protected(front, settings),
        lifespan="on",
        log_config=None,
        timeout_graceful_shutdown=3,
        **socket_options(settings),
    )
    server = _Quiet(config)
    serving = asyncio.create_task(server.serve(sockets=[server_socket]))
    while not (server.started and front.started):
        if serving.done():
            serving.result()
        await asyncio.sleep(0.01)
    try:
        yield f"127.0.0.1:{server_socket.getsockname()[1]}", server
    finally:
        probes.draining()  # as the real one does, before it stops
        server.should_exit = True
        await asyncio.wait_for(serving, 20)


class SharedTransport:
    """A transport in its own thread, for tests that need no settings of their own.

    Its event loop is not the tests': it outlives each of theirs. One that is no longer ready after a
    test is left for a new one.
    """

    def __init__(self, portal: BlockingPortal, settings: Settings) -> None:
        self._portal = portal
        self._settings = settings
        self._running = ExitStack()
        self._address: str | None = None

    def address(self) -> str:
        """The host and port of a transport that is ready."""
        if self._address is None or not _is_ready(self._address):
            self.stop()
            opened = self._portal.wrap_async_context_manager(running(self._settings))
            self._address, _ = self._running.enter_context(opened)
        return self._address

    def stop(self) -> None:
        self._address = None
        self._running.close()


def _is_ready(address: str) -> bool:
    asking = HTTPConnection(address, timeout=READY_SECONDS)
    try:
        asking.request("GET", "/ready")
        return asking.getresponse().status == 200
    except OSError:
        return False
    finally:
        asking.close()


@contextmanager
def shared(**settings: Any) -> Iterator[SharedTransport]:
    with start_blocking_portal() as portal, pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "CACHE_SECONDS", 0.0)  # what is on offer differs from test to test
        transport = SharedTransport(portal, Settings(**QUICK, **settings))
        try:
            yield transport
        finally:
            transport.stop()


@pytest.fixture
async def gateway(nats: NatsServer) -> AsyncIterator[JetStreamGateway]:
    """A connection to the server that all tests share; no other test's workflow is published."""
    async with connected_gateway(nats.url) as gateway:
        await gateway.js.purge_stream(subjects.bucket_stream(subjects.WORKFLOWS))
        await publish_cards(gateway, GENERAL_CARD)  # a transport without a catalogue is not ready
        yield gateway


@pytest.fixture
def chat(gateway: JetStreamGateway) -> Chat:
    return Chat(gateway)


@pytest.fixture
async def open_transport(nats: NatsServer) -> AsyncIterator[Open]:
    """Start a transport with the settings of a test; returns its host and port."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> str:
            transport_settings = Settings(**{"nats_url": nats.url, **QUICK, **settings})
            address, _ = await stack.enter_async_context(running(transport_settings))
            return address

        yield start
        await cut_sockets()


@pytest.fixture(scope="session")
def shared_transport(nats: NatsServer) -> Iterator[SharedTransport]:
    with shared(nats_url=nats.url) as transport:
        yield transport


@pytest.fixture
async def transport(
    shared_transport: SharedTransport,
    gateway: JetStreamGateway,  # noqa: ARG001
) -> AsyncIterator[str]:
    """Host and port of the transport that tests share; `gateway` creates its streams."""
    yield shared_transport.address()
    await cut_sockets()
