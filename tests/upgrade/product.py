"""The product in two releases: nats-server, mongod, and two processes of each service."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import nats
from nats.aio.client import Client

from infra.child_process import Child
from infra.ports import free_port
from infra.servers import MongoServer, NatsServer
from infra.stack import waiting_for
from tests.chaos.processes import Ending
from tests.chaos.workflow import write_workflows
from tests.upgrade.plan import READERS_FIRST, REPLICAS, Release, Replacement

READY_SECONDS = 120.0
STOP_SECONDS = 30.0
DRAIN_SECONDS = 5
ENSURE_SECONDS = 60.0
PRE_STOP_SECONDS = 1.0
"""Between a process that is no longer given to clients and its SIGTERM, as a preStop hook does."""
LOOK_SECONDS = 0.1


class Product:
    """All processes. `releases` are the folders with the files of each release."""

    def __init__(self, folder: Path, releases: Mapping[Release, Path]) -> None:
        self.releases = releases
        self.effects = folder / "effects"
        self.transports: list[str] = []
        """Host and port of those that clients are given; the list itself changes."""
        self.endings: list[Ending] = []
        self._logs = folder / "logs"
        self._logs.mkdir(parents=True)
        self.effects.touch()
        self._workflows = write_workflows(folder, releases["old"] / "workflows")
        self._nats = NatsServer(folder / "nats", log=self._logs / "nats.log")
        self._mongo = MongoServer(folder / "mongodb", log=self._logs / "mongod.log")
        self._processes: dict[tuple[str, int], tuple[Child, int]] = {}

    @property
    def servers(self) -> dict[str, str]:
        """The variables that name the servers."""
        return {"NATS_URL": self._nats.url, "MONGODB_URI": self._mongo.uri}

    async def start(self) -> None:
        """Return when every process of the old release is ready. Raises StartError."""
        await asyncio.gather(
            asyncio.to_thread(self._nats.start), asyncio.to_thread(self._mongo.start)
        )
        await self.ensure_streams("old")
        wanted = [Replacement(n, r, "old") for n in READERS_FIRST for r in range(1, REPLICAS + 1)]
        await asyncio.gather(*map(self._start, wanted))

    async def ensure_streams(self, release: Release) -> None:
        """Create and upgrade streams as this release wants them. Raises StartError."""
        command = [sys.executable, "-m", "services.chassis.streams", "ensure"]
        ensure = Child(
            "streams",
            command,
            self._logs / "streams.log",
            environment={**_own(), **self.servers},
            folder=self.releases[release],
        )
        await asyncio.to_thread(ensure.run_to_end, ENSURE_SECONDS)

    async def replace(self, step: Replacement) -> float:
        """Start the new process, stop the old one; how many seconds it took. Raises StartError."""
        began = time.monotonic()
        old, port = self._processes[step.service, step.replica]
        await self._start(step)
        if step.service == "transport":
            self.transports.remove(_address(port))
        await asyncio.sleep(PRE_STOP_SECONDS)
        await self._stop(old)
        return time.monotonic() - began

    async def stop(self) -> None:
        """Stop everything and keep the logs."""
        for process, _ in self._processes.values():
            process.ask_to_stop()
        for process, _ in self._processes.values():
            await asyncio.to_thread(process.stop, STOP_SECONDS)
        await asyncio.to_thread(self._mongo.kill)
        await asyncio.to_thread(self._nats.kill)

    @property
    def ended(self) -> list[str]:
        """Processes that have ended by themselves."""
        running = (process for process, _ in self._processes.values())
        return [f"{one.name} {one.ending}: {one.tail(5)}" for one in running if not one.running]

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Client]:
        """A connection for the harness."""
        nc = await nats.connect(self._nats.url, max_reconnect_attempts=-1)
        try:
            yield nc
        finally:
            await nc.close()

    async def _start(self, step: Replacement) -> None:
        port = free_port()
        name = f"{step.service}-{step.replica}-{step.to}"
        process = Child(
            name,
            [sys.executable, "-m", f"services.{step.service}"],
            self._logs / f"{name}.log",
            environment=self._environment(step.service, port),
            folder=self.releases[step.to],
        )
        await asyncio.to_thread(process.start)
        ready = lambda: not waiting_for(port)  # noqa: E731
        await asyncio.to_thread(process.wait_until, ready, READY_SECONDS)
        self._processes[step.service, step.replica] = (process, port)
        if step.service == "transport":
            self.transports.append(_address(port))

    async def _stop(self, process: Child) -> None:
        asked = time.time()
        await asyncio.to_thread(process.ask_to_stop)
        by_itself = await asyncio.to_thread(process.stop, STOP_SECONDS)
        code = 0 if process.ending == "ended with code 0" else -1
        now = time.time()
        number = signal.SIGTERM if by_itself else signal.SIGKILL
        self.endings.append(
            Ending(process.name, process.pid, code, number, now, began=True, seconds=now - asked)
        )

    def _environment(self, service: str, port: int) -> dict[str, str]:
        return {
            **_own(),
            **self.servers,
            "ENSURE_STREAMS": "false",
            f"{service.upper()}_PORT": str(port),
            "WORKFLOWS_PATH": str(self._workflows),
            "SIDE_EFFECTS": str(self.effects),
            "DEMO_WORD_DELAY_SECONDS": "0.01",
            "RATE_PER_USER": "0",
            "RATE_PER_APP": "0",
            "DRAIN_SECONDS": str(DRAIN_SECONDS),
        }


def _own() -> dict[str, str]:
    """Of this process's variables those that have nothing to do with where its code is."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR")
    return {name: value for name, value in os.environ.items() if name in kept}


def _address(port: int) -> str:
    return f"127.0.0.1:{port}"
