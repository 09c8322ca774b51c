"""The product under test: three nats-servers, mongod, and six services, kept running."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
from nats.aio.client import Client

from infra.nats_cluster import NatsCluster
from infra.ports import free_port
from infra.servers import MongoServer
from infra.stack import waiting_for
from services.chassis.streams.ensure import ensure_streams
from tests.chaos.processes import ServiceProcess
from tests.chaos.workflow import write_workflows

REPLICAS = 3
DISK = "256m"
"""Of each nats-server, where it is to become full."""
LOOK_SECONDS = 0.1
READY_SECONDS = 90.0
DRAIN_SECONDS = 5


class Product:
    """All processes. `disks` requests a small disk for each nats-server, and then says
    whether there are any: not every machine allows to mount one."""

    def __init__(self, folder: Path, *, disks: bool) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.effects = folder / "effects"
        self.logs.mkdir(parents=True)
        self.effects.touch()
        self.disks = disks and _mount_disks(folder / "nats")
        self.cluster = NatsCluster(folder / "nats", size=REPLICAS)
        self.mongo = MongoServer(folder / "mongodb", log=self.logs / "mongod.log")
        self.services: dict[str, ServiceProcess] = {}
        self.ports: dict[str, int] = {}
        self._watch: asyncio.Task[None] | None = None

    @property
    def transports(self) -> list[str]:
        """Their host and port."""
        ports = [port for name, port in self.ports.items() if name.startswith("transport")]
        return [f"127.0.0.1:{port}" for port in ports]

    @property
    def servers(self) -> dict[str, str]:
        """The variables that name the servers."""
        return {"NATS_URL": ",".join(self.cluster.urls), "MONGODB_URI": self.mongo.uri}

    async def start(self) -> None:
        """Return when every service is ready. Raises StartError, TimeoutError."""
        workflows = await asyncio.to_thread(write_workflows, self.folder)
        await asyncio.gather(
            asyncio.to_thread(self.cluster.start), asyncio.to_thread(self.mongo.start)
        )
        async with self.connection() as nc:
            await ensure_streams(nc, replicas=REPLICAS)
        for name, module in _MODULES.items():
            self._add(name, module, workflows)
        for service in self.services.values():
            await asyncio.to_thread(service.start)
        self._watch = asyncio.create_task(self._keep_running(), name="supervisor")
        if waiting := await self.wait_until_ready(READY_SECONDS):
            raise TimeoutError("; ".join(waiting))

    async def wait_until_ready(self, seconds: float) -> list[str]:
        """What is not ready after so many seconds, and why."""
        deadline = time.monotonic() + seconds
        while True:
            waiting = [
                f"{name} waits for {why}"
                for name, port in self.ports.items()
                if (why := await asyncio.to_thread(waiting_for, port))
            ]
            if not waiting or time.monotonic() > deadline:
                return waiting
            await asyncio.sleep(0.2)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Client]:
        """A connection to the cluster for the harness."""
        nc = await nats.connect(self.cluster.urls, max_reconnect_attempts=-1)
        try:
            yield nc
        finally:
            await nc.close()

    async def stop(self) -> None:
        """Stop everything and keep the logs."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        for service in self.services.values():
            await asyncio.to_thread(service.end)
        await asyncio.to_thread(self.cluster.kill)
        await asyncio.to_thread(self.mongo.kill)
        for number, node in enumerate(self.cluster.nodes, 1):
            if node.child.log.exists():
                shutil.copy(node.child.log, self.logs / f"nats-{number}.log")
        if self.disks:
            for node in self.cluster.nodes:
                _mount("umount", str(node.folder))

    def _add(self, name: str, module: str, workflows: Path) -> None:
        port = self.ports[name] = free_port()
        environment = {
            **self.servers,
            "STREAM_REPLICAS": str(REPLICAS),
            "ENSURE_STREAMS": "false",
            f"{module.upper()}_PORT": str(port),
            "WORKFLOWS_PATH": str(workflows),
            "SIDE_EFFECTS": str(self.effects),
            "DEMO_WORD_DELAY_SECONDS": "0.01",
            "RATE_PER_USER": "0",
            "RATE_PER_APP": "0",
            "DRAIN_SECONDS": str(DRAIN_SECONDS),
            "LOG_LEVEL": "INFO",
        }
        log = self.logs / f"{name}.log"
        self.services[name] = ServiceProcess(name, module, environment, log)

    async def _keep_running(self) -> None:
        while True:
            for service in self.services.values():
                await asyncio.to_thread(service.look)
            await asyncio.sleep(LOOK_SECONDS)


_MODULES = {
    "orchestrator-1": "orchestrator",
    "orchestrator-2": "orchestrator",
    "transport-1": "transport",
    "transport-2": "transport",
    "persistence": "persistence",
    "metrics": "metrics",
}


def _mount_disks(folder: Path) -> bool:
    """A small file system below each node's folder; false where this machine allows none."""
    mounted: list[str] = []
    for number in range(1, REPLICAS + 1):
        place = folder / f"node{number}"
        place.mkdir(parents=True)
        if not _mount("mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(place)):
            for earlier in mounted:
                _mount("umount", earlier)
            return False
        mounted.append(str(place))
    return True


def _mount(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
