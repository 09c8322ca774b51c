"""Where measurements happen: a nats-server, connections to it, and services as processes."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import nats
from nats.aio.client import Client

from contracts import subjects
from contracts.catalogue import GENERAL, WorkflowCard
from infra.child_process import Child
from infra.ports import free_port
from infra.servers import NatsServer
from infra.stack import ROOT, waiting_for
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.process.broker import build_broker, connected
from services.chassis.settings import Settings

READY_SECONDS = 30.0
GENERAL_CARD = WorkflowCard(name=GENERAL, pattern="DefaultPattern", general=True)
"""An orchestrator publishes this card last: without it a transport is not ready."""


@contextmanager
def nats_server(sync_interval: str | None = None) -> Iterator[NatsServer]:
    """A server of our own, in another process, with a store that is thrown away.

    `sync_interval` is how often it syncs to disk; the server's own default where none is given.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        server = NatsServer(Path(folder) / "nats", sync_interval=sync_interval)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@asynccontextmanager
async def gateway(server: NatsServer) -> AsyncIterator[JetStreamGateway]:
    """The gateway as a service has it, with the streams and what makes a transport ready."""
    settings = Settings(nats_url=server.url)
    async with connected(build_broker(settings, "benchmark"), settings) as connection:
        bucket = await connection.key_values.bucket(subjects.WORKFLOWS)
        await bucket.put(subjects.workflow_key(GENERAL), GENERAL_CARD.model_dump_json().encode())
        yield connection


@asynccontextmanager
async def plain(server: NatsServer) -> AsyncIterator[Client]:
    """A connection as nats-py gives it."""
    client = await nats.connect(server.url)
    try:
        yield client
    finally:
        await client.close()


class Process:
    """One service as a process on a free port."""

    def __init__(self, name: str, server: NatsServer, environment: Mapping[str, str]) -> None:
        self.port = free_port()
        variables = {
            **os.environ,
            "NATS_URL": server.url,
            "OPENAI_API_KEY": "",  # only the demo model is free, and the same for everyone
            f"{name.upper()}_PORT": str(self.port),
            **environment,
        }
        command = [sys.executable, "-m", f"services.{name}"]
        log = server.folder / f"{name}-{self.port}.log"
        self._child = Child(name, command, log, environment=variables, folder=ROOT)

    async def start(self) -> None:
        """Return once it is ready. Raises StartError."""
        self._child.start()
        await asyncio.to_thread(
            self._child.wait_until, lambda: not waiting_for(self.port), READY_SECONDS
        )

    @property
    def pid(self) -> int:
        return self._child.pid

    def kill(self) -> None:
        self._child.kill()

    def pause(self) -> None:
        self._child.pause()

    def resume(self) -> None:
        self._child.resume()

    async def stop(self) -> None:
        await asyncio.to_thread(self._child.stop)


@asynccontextmanager
async def process(
    name: str, server: NatsServer, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Process]:
    """A service that is ready, and stopped at the end if it still runs."""
    started = Process(name, server, environment or {})
    try:
        await started.start()
        yield started
    finally:
        await started.stop()
