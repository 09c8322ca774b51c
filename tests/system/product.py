"""The whole product as `make run` starts it, on free ports, with a way to kill each of its processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from infra.child_process import Child
from infra.credentials.embedded import Credentials
from infra.ports import free_port
from infra.stack import waiting_for
from services.chassis.settings import Settings
from tests.forked import ForkedChild
from tests.secured_nats import violations
from tests.system.demo_provider import demo_provider
from tests.system.stage import ROOT

SERVICES = ("transport", "metrics", "orchestrator", "persistence")


READY_SECONDS = 180.0
MAX_COMM = 15
"""Characters of a process's name that Linux keeps."""


class Product:
    """`python -m infra` as a process of ours.

    Its services are forked from it: to start them, as StartedProduct does, takes four times as long.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        self.ports = {name: free_port() for name in SERVICES}
        self.nats_port = free_port()
        self.data = folder / "data"
        given = {f"{name.upper()}_PORT": str(port) for name, port in self.ports.items()}
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "PYTHONPATH")}
        variables = {
            **kept,
            **given,
            "NATS_PORT": str(self.nats_port),
            "DATA_DIR": str(self.data),
            **environment,
        }
        self._run = self._child(folder / "run.log", variables)

    def _child(self, log: Path, variables: dict[str, str]) -> Child:
        return ForkedChild("make run", "tests.system.forking_infra", log, variables)

    @property
    def settings(self) -> Settings:
        """The operator's of its NATS."""
        access = Credentials(self.data).operator_access()
        return Settings.model_validate({name.lower(): value for name, value in access.items()})

    @property
    def violations(self) -> list[str]:
        """What services were not permitted to do in NATS so far, each subject once."""
        return violations(self.data / "logs" / "nats-server.log")

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.ports['transport']}"

    @property
    def said(self) -> str:
        """What `make run` has printed so far."""
        return self._run.written()

    def start(self) -> None:
        self._run.start()
        self.wait_until_whole()

    def ensure_whole(self) -> None:
        """The same where it runs already: whatever became of it in an earlier test is over."""
        if self._run.running:
            self.wait_until_whole()
        else:
            self.start()

    def wait_until_whole(self) -> None:
        """Raises StartError, with the end of its log, when it takes too long."""
        self._run.wait_until(self.is_whole, READY_SECONDS)

    def stop(self) -> bool:
        """Whether it ended by itself, as Ctrl-C would have it."""
        return self._run.stop(40)

    def is_whole(self) -> bool:
        return self.address in self.said and all(not waiting_for(p) for p in self.ports.values())

    def processes(self) -> set[int]:
        """The pids of everything that it runs."""
        return set(_children(self._run.pid))

    def renew_credentials(self) -> int:
        """As an operator does it, beside the running product: the exit code."""
        return subprocess.run(
            [sys.executable, "-m", "infra.rotate"],
            env={**os.environ, "DATA_DIR": str(self.data)},
            cwd=ROOT,
            check=False,
            timeout=90,
        ).returncode

    def kill(self, name: str) -> None:
        """SIGKILL to one of its processes: a service, `nats-server` or `mongod`."""
        self.send_signal(name, signal.SIGKILL)

    def send_signal(self, name: str, number: signal.Signals) -> None:
        """A signal to one of its processes. Raises LookupError where it does not run."""
        module = f"services.{name}" if name in SERVICES else name
        # The command of what is forked is that of the fork server, which names all services.
        wanted = f" -m {module}" if name in SERVICES else name
        for pid in _children(self._run.pid):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            forked = Path(f"/proc/{pid}/comm").read_text().strip()
            if wanted in command or forked == module[:MAX_COMM]:
                os.kill(pid, number)
                return
        raise LookupError(f"{name} does not run: {self.said[-2000:]}")


class StartedProduct(Product):
    """As `make run` starts it, with each service a program."""

    def _child(self, log: Path, variables: dict[str, str]) -> Child:
        command = [sys.executable, "-m", "infra"]
        return Child("make run", command, log, environment=variables, folder=ROOT)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def running(
    folder: Path, kind: type[Product] = Product, /, **environment: str
) -> Iterator[Product]:
    """With a model that answers by the lines of `demo.json`, where the environment names no other."""
    with _provider(environment) as named:
        product = kind(folder, **named, **environment)
        product.start()
        try:
            yield product
        finally:
            product.stop()
        assert not product.violations, "infra/nats_permissions.json lacks what a service does"


@contextmanager
def _provider(environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    if "OPENAI_API_KEY" in environment:
        yield {}
        return
    workflows = Path(environment.get("WORKFLOWS_PATH", ROOT / "workflows"))
    delay = float(environment.get("DEMO_WORD_DELAY_SECONDS", "0.02"))
    with demo_provider(workflows, delay) as stub:
        yield {"OPENAI_API_KEY": "sk-not-a-key", "OPENAI_BASE_URL": stub.base_url("demo")}
