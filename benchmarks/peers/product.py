"""The whole product as `make run` starts it: nats-server, mongod and four services, restarted when they end."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.load.workflow import write_workflow
from benchmarks.peers import processes
from infra.child_process import Child
from infra.credentials.embedded import OPERATOR, Credentials
from infra.credentials.mongo_users import ADMIN
from infra.plan import SERVICES
from infra.ports import LOOPBACK, free_port
from infra.stack import ROOT, waiting_for
from services.chassis.settings import Settings

START_SECONDS = 120.0
STOP_SECONDS = 40.0
SERVERS = ("nats-server", "mongod")
ORCHESTRATOR = "orchestrator"
_KEPT = ("PATH", "HOME", "LANG", "PYTHONPATH")
_DEPLOYED = {"ENVIRONMENT": "production", "RATE_PER_USER": "0", "RATE_PER_APP": "0"}
"""No folder is watched, and one machine may be as many users as it likes."""


class Product:
    """`python -m infra` as a child process, on free ports, with its data in `folder`."""

    def __init__(self, folder: Path, model_url: str, sync_interval: str | None) -> None:
        self.sync_interval = sync_interval
        self.data = folder / "data"
        self.ports = {name: free_port() for name in SERVICES}
        self.nats_port = free_port()
        self.mongo_port = free_port()
        self._folder = folder
        self._credentials = Credentials(self.data)
        self._workflows = folder / "workflows"
        self._shared = {
            **{name: value for name, value in os.environ.items() if name in _KEPT},
            **_DEPLOYED,
            "OPENAI_API_KEY": "none",
            "OPENAI_BASE_URL": model_url,
            "DEFAULT_LLM_MODEL": "stub-model",
            "WORKFLOWS_PATH": str(self._workflows),
        }
        sync = {"NATS_SYNC_INTERVAL": sync_interval} if sync_interval else {}
        self.child = Child(
            "make run",
            [sys.executable, "-m", "infra"],
            folder / "run.log",
            environment={
                **self._shared,
                **self._addresses(),
                **sync,
                "DATA_DIR": str(self.data),
            },
            folder=ROOT,
        )

    @property
    def settings(self) -> Settings:
        """The operator's of its NATS."""
        seed = self._credentials.nats.seed_file(OPERATOR)
        return Settings(nats_url=f"nats://{LOOPBACK}:{self.nats_port}", nats_nkey_seed_file=seed)

    @property
    def mongodb_uri(self) -> str:
        """Of the user who may do everything, with its password."""
        password = self._credentials.mongo.password_file(ADMIN).read_text()
        return f"mongodb://{ADMIN}:{password}@{LOOPBACK}:{self.mongo_port}/?authSource=admin"

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.ports['transport']}"

    def start(self) -> None:
        """Return once everything is ready. Raises StartError."""
        write_workflow(self._workflows)
        self.child.start()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Raises StartError."""
        self.child.wait_until(self._is_ready, START_SECONDS)

    def stop(self) -> None:
        self.child.stop(STOP_SECONDS)

    def processes(self) -> dict[str, int]:
        """The pid of each process by its name, without the one that starts and watches the others."""
        running = {pid: processes.command(pid) for pid in processes.tree(self.child.pid)[1:]}
        return {
            name: pid
            for pid, command in running.items()
            for name in (*SERVICES, *SERVERS)
            if f"services.{name}" in command or f"/{name} " in command
        }

    def kill_orchestrator(self) -> None:
        """SIGKILL; the product starts it again. Raises KeyError where it does not run."""
        os.kill(self.processes()[ORCHESTRATOR], signal.SIGKILL)

    async def restart_orchestrator(self) -> None:
        """SIGKILL; return once another one is ready. Raises StartError."""
        before = self.processes()[ORCHESTRATOR]
        self.kill_orchestrator()
        while self.processes().get(ORCHESTRATOR, before) == before:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await asyncio.to_thread(self.wait_until_ready)

    @asynccontextmanager
    async def standby(self) -> AsyncIterator[None]:
        """A second orchestrator, ready. Raises StartError."""
        port = free_port()
        own = {
            "NATS_URL": self.settings.nats_url,
            "ORCHESTRATOR_PORT": str(port),
            **self._credentials.environment_of(ORCHESTRATOR),
        }
        child = Child(
            "standby",
            [sys.executable, "-m", f"services.{ORCHESTRATOR}"],
            self._folder / f"standby-{port}.log",
            environment={**self._shared, **own, "ENSURE_STREAMS": "false"},
            folder=ROOT,
        )
        child.start()
        try:
            await asyncio.to_thread(child.wait_until, lambda: not waiting_for(port), START_SECONDS)
            yield
        finally:
            await asyncio.to_thread(child.stop)

    def _addresses(self) -> Mapping[str, str]:
        services = {f"{name.upper()}_PORT": str(port) for name, port in self.ports.items()}
        return services | {
            "PORT": str(self.ports["transport"]),
            "NATS_PORT": str(self.nats_port),
            "MONGO_PORT": str(self.mongo_port),
        }

    def _is_ready(self) -> bool:
        return self.address in self.child.written() and not any(
            waiting_for(port) for port in self.ports.values()
        )
