"""The processes of the whole runtime under a load of turns: servers, services, model and clients."""

import asyncio
import json
import os
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.load.clients import Answered
from benchmarks.load.process_times import Times, pin, times_of
from benchmarks.load.workflow import write_workflow
from infra.child_process import Child
from infra.ports import LOOPBACK, answers, free_port
from infra.servers import MongoServer, NatsServer
from infra.stack import ROOT, waiting_for

READY_SECONDS = 60.0
LINE_BYTES = 2**24
CLIENTS = "clients"
MODEL = "model"
NATS = "nats-server"
MONGO = "mongod"
NO_PINS: Mapping[str, frozenset[int]] = {}


class ClientsEndedError(Exception):
    """The clients ended before they had talked; their own error is on the standard error."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many processes the services have that share their work."""

    orchestrators: int = 1
    transports: int = 1

    def services(self) -> list[tuple[str, str]]:
        """The label of each process and its service."""
        return [
            *_labels("orchestrator", self.orchestrators),
            *_labels("transport", self.transports),
            ("persistence", "persistence"),
            ("metrics", "metrics"),
        ]


def _labels(service: str, count: int) -> list[tuple[str, str]]:
    labels = [f"{service} {number}" for number in range(1, count + 1)] if count > 1 else [service]
    return [(label, service) for label in labels]


@dataclass(frozen=True, slots=True)
class Measured:
    """What the clients counted, and what each process used meanwhile, by its label."""

    answered: Answered
    times: Mapping[str, Times]

    @property
    def rate(self) -> float:
        """Turns per second."""
        return self.answered.turns / self.answered.seconds

    @property
    def cost(self) -> float:
        """Milliseconds of processor per turn of all servers and services."""
        return sum(self.cost_of(label) for label in self.times if label not in (MODEL, CLIENTS))

    def cost_of(self, label: str) -> float:
        """Milliseconds of processor per turn of one process."""
        return 1000 * self.times[label].used / max(self.answered.turns, 1)


class Runtime:
    """Running processes: `pids` by label; the clients start with each load."""

    def __init__(
        self,
        addresses: Sequence[str],
        pids: Mapping[str, int],
        nats_url: str = "",
        mongodb_uri: str = "",
    ) -> None:
        self.addresses = addresses
        self.pids = pids
        self.nats_url = nats_url
        self.mongodb_uri = mongodb_uri

    async def load(
        self, chats: int, seconds: float, pins: Mapping[str, frozenset[int]] = NO_PINS
    ) -> Measured:
        """New chats that talk for so long; a process in `pins` runs on these cores only."""
        async with self.clients(chats, seconds) as clients:
            return await self.measure(clients, pins)

    @asynccontextmanager
    async def clients(self, chats: int, seconds: float) -> AsyncIterator[Process]:
        """Clients that have had one turn each, and wait."""
        command = ("-m", "benchmarks.load.clients", str(chats), str(seconds), *self.addresses)
        clients = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdin=PIPE, stdout=PIPE, cwd=ROOT, limit=LINE_BYTES
        )
        try:
            await _line(clients)
            yield clients
        finally:
            if clients.returncode is None:
                clients.kill()
            await clients.wait()

    async def measure(
        self, clients: Process, pins: Mapping[str, frozenset[int]] = NO_PINS
    ) -> Measured:
        """Let the clients talk, and count what every process uses meanwhile."""
        pids = {**self.pids, CLIENTS: clients.pid}
        for label, cores in pins.items():
            pin(pids[label], cores)
        before = {label: times_of(pid) for label, pid in pids.items()}
        answered = await _talk(clients)
        return Measured(
            answered, {label: times_of(pid) - before[label] for label, pid in pids.items()}
        )


async def _talk(clients: Process) -> Answered:
    if clients.stdin is None:
        raise ClientsEndedError
    clients.stdin.write(b"go\n")
    return Answered(**json.loads(await _line(clients)))


async def _line(clients: Process) -> bytes:
    line = b"" if clients.stdout is None else await clients.stdout.readline()
    if not line:
        raise ClientsEndedError
    return line


@asynccontextmanager
async def running(
    size: Size,
    environment: Mapping[str, str] | None = None,
    program: Sequence[str] = ("-m",),
) -> AsyncIterator[Runtime]:
    """The whole runtime, ready, with data of its own that is thrown away.

    Python runs each service as `program` says, its module being the last argument. `environment` is
    for every service. Raises StartError.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        write_workflow(folder / "workflows")
        async with AsyncExitStack() as stack:
            nats = NatsServer(folder / "nats")
            mongo = MongoServer(folder / "mongodb")
            for server in (nats, mongo):
                stack.push_async_callback(asyncio.to_thread, server.stop)
                server.start()
            model, model_port = _model(folder)
            await _start(stack, model, partial(answers, model_port))
            pids = {NATS: nats.child.pid, MONGO: mongo.child.pid, MODEL: model.pid}
            variables = {
                **os.environ,
                **_environment(nats, mongo, folder, model_port),
                **(environment or {}),
            }
            addresses: list[str] = []
            for label, service in size.services():
                port = free_port()
                child = Child(
                    label,
                    [sys.executable, *program, f"services.{service}"],
                    folder / f"{label}.log",
                    environment={**variables, f"{service.upper()}_PORT": str(port)},
                    folder=ROOT,
                )
                await _start(stack, child, partial(_is_ready, port))
                pids[label] = child.pid
                if service == "transport":
                    addresses.append(f"http://{LOOPBACK}:{port}")
            yield Runtime(addresses, pids, nats.url, mongo.uri)


def _model(folder: Path) -> tuple[Child, int]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.load.model", str(port)]
    return Child(MODEL, command, folder / "model.log", folder=ROOT), port


def _environment(
    nats: NatsServer, mongo: MongoServer, folder: Path, model_port: int
) -> dict[str, str]:
    return {
        "NATS_URL": nats.url,
        "MONGODB_URI": mongo.uri,
        "WORKFLOWS_PATH": str(folder / "workflows"),
        "ENVIRONMENT": "production",  # no folder is watched
        "OPENAI_API_KEY": "sk-stub",
        "OPENAI_BASE_URL": f"http://{LOOPBACK}:{model_port}/v1",
        "DEFAULT_LLM_MODEL": "stub-model",
        "RATE_PER_USER": "0",
        "RATE_PER_APP": "0",
        "LOG_LEVEL": "WARNING",
    }


def _is_ready(port: int) -> bool:
    return not waiting_for(port)


async def _start(stack: AsyncExitStack, child: Child, ready: Callable[[], bool]) -> None:
    child.start()
    stack.push_async_callback(asyncio.to_thread, child.stop)
    await asyncio.to_thread(child.wait_until, ready, READY_SECONDS)
