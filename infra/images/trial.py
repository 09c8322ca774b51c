"""Runs the product from the root file systems of its images, through a chat, to SIGTERM."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import httpx

from infra.child_process import never
from infra.images.build import readable, root_of, run
from infra.images.plan import ImageConfig, image_name, sandbox_command, weaknesses
from infra.images.programs import UnavailableError
from infra.plan import SERVICES, Plan, Service, build_plan
from infra.ports import free_ports
from infra.stack import ROOT, Stack
from mozaiks_client import Client

WORKFLOW = "Brainstorm"
COMPLETED = 1
CHAT_SECONDS = 120.0
PROBE_SECONDS = 60.0
POLL_SECONDS = 0.1


class TrialError(Exception):
    """A service does not do in its image what it does outside; the message says what."""


@dataclass(frozen=True, slots=True)
class Run:
    """How one service ran in its image; seconds from the start of the process, and from SIGTERM."""

    ready: float
    stopped: float
    code: int


@dataclass(frozen=True, slots=True)
class _Image:
    root: Path
    config_file: Path

    @property
    def config(self) -> ImageConfig:
        return ImageConfig.of(self.config_file.read_text())

    def command(self, service: Service, *words: str) -> list[str]:
        sandbox = (sys.executable, "-m", "infra.images.sandbox")
        return [*sandbox, service, str(self.root), str(self.config_file), *words]


def require_root() -> None:
    """Raises UnavailableError."""
    if os.geteuid() != 0:
        raise UnavailableError("only root can mount the root file systems of images")


def trial() -> Mapping[Service, Run]:
    """Run all four services and one chat.

    Raises UnavailableError where this machine lets bubblewrap make no sandbox; TrialError, StartError,
    ImageError, TimeoutError.
    """
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="mozaiks-trial-")))
        shutil.copytree(ROOT / "workflows", folder / "workflows")
        readable(folder / "workflows")
        images = {name: opened.enter_context(_mounted(name, folder)) for name in SERVICES}
        _require_sandbox(images["transport"])
        environ = _environment(folder)
        plan = build_plan(environ)
        said: list[str] = []
        stack = Stack(
            plan,
            environ,
            said.append,
            command_of=lambda name: images[name].command(name),
            ensure=images["orchestrator"].command(
                "orchestrator", "python3", "-m", "services.chassis.streams", "ensure"
            ),
        )
        try:
            stack.start(never)
            for name in SERVICES:
                _require_no_privilege(name, plan)
                _require_healthy(name, plan, images[name])
            asyncio.run(_chat(plan.address))
        finally:
            stack.stop()
        if said:
            raise TrialError("\n".join(said))
        return {name: _ended(name, plan) for name in SERVICES}


@contextmanager
def _mounted(service: Service, folder: Path) -> Iterator[_Image]:
    config = folder / f"{service}.json"
    config.write_text(run("buildah", "inspect", "--type", "image", image_name(service)))
    with root_of(image_name(service)) as root:
        yield _Image(root, config)


def _environment(folder: Path) -> dict[str, str]:
    """Variables of the product, and none of whoever runs this."""
    *ports, nats = free_ports(len(SERVICES) + 1)
    return {
        "PATH": os.environ["PATH"],
        "DATA_DIR": str(folder / "data"),
        "SECURE": "true",
        "NATS_PORT": str(nats),
        "WORKFLOWS_PATH": "/workflows",
        "SANDBOX_WORKFLOWS": str(folder / "workflows"),
        **{f"{name.upper()}_PORT": str(port) for name, port in zip(SERVICES, ports, strict=True)},
        "PORT": str(ports[0]),
    }


def _require_no_privilege(service: Service, plan: Plan) -> None:
    process = Path("/proc") / _said(service, plan, r"pid (\d+)")
    found = weaknesses((process / "status").read_text(), (process / "mountinfo").read_text())
    if found:
        raise TrialError(f"{service} has privileges in its image: {', '.join(found)}")


def _require_sandbox(image: _Image) -> None:
    """Its Python has compiled what is in the image: where it does not start now, bubblewrap may not."""
    done = _run_beside(image, {}, ("python3", "-I", "-c", "pass"))
    if done.returncode:
        raise UnavailableError(f"bubblewrap can make no sandbox here: {done.stderr.strip()}")


def _require_healthy(service: Service, plan: Plan, image: _Image) -> None:
    kind, *words = image.config.health_check
    if kind != "CMD":
        raise TrialError(f"a health check needs a shell, which images do not have: {kind}")
    done = _run_beside(image, {f"{service.upper()}_PORT": str(plan.ports[service])}, words)
    if done.returncode:
        raise TrialError(f"the health check of {service} fails: {done.stderr.strip()}")


def _run_beside(
    image: _Image, environ: Mapping[str, str], words: Sequence[str]
) -> subprocess.CompletedProcess[str]:
    """Another command in a sandbox of the same image."""
    command = sandbox_command(image.config, str(image.root), environ, [], words)
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
    )


async def _chat(address: str) -> None:
    """The console's page, one chat from its start to its end, and its row in the list that MongoDB keeps.

    Raises TrialError, and TimeoutError after CHAT_SECONDS.
    """
    async with asyncio.timeout(CHAT_SECONDS), Client(address, app="trial", user="ana") as client:
        await _require_console(address)
        chat = await client.start(WORKFLOW, "What can run anywhere?")
        statuses = [frame.status async for frame in chat.stream()]
        if statuses[-1] != COMPLETED:
            raise TrialError(f"the chat ended with status {statuses[-1]}")
        await _until_archived(client, chat.id)


async def _require_console(address: str) -> None:
    """Its page, and every file that the page names."""
    async with httpx.AsyncClient(base_url=address, timeout=PROBE_SECONDS) as http:
        page = await http.get("/")
        files = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
        answers = [page, *[await http.get(file) for file in files]]
    wrong = [f"{one.url} {one.status_code}" for one in answers if one.status_code != HTTPStatus.OK]
    if wrong or not files:
        raise TrialError(f"the transport has no console: {wrong or page.text[:300]}")


async def _until_archived(client: Client, chat_id: str) -> None:
    while True:
        if any(
            [row.status == "completed" async for row in client.chats() if row.chat_id == chat_id]
        ):
            return
        await asyncio.sleep(POLL_SECONDS)


def _ended(service: Service, plan: Plan) -> Run:
    ready = _said(service, plan, r"ready after ([\d.]+) s")
    code = _said(service, plan, r"ended with code (-?\d+)")
    stopped = _said(service, plan, r"([\d.]+) s after SIGTERM")
    if code != "0":
        raise TrialError(
            f"{service} ended with code {code} after SIGTERM\n{_log(service, plan)[-3000:]}"
        )
    return Run(float(ready), float(stopped), int(code))


def _said(service: Service, plan: Plan, pattern: str) -> str:
    """What the sandbox of a service has printed. Raises TrialError where it has not."""
    log = _log(service, plan)
    if found := re.search(rf"^sandbox: .*?{pattern}", log, re.MULTILINE):
        return found[1]
    raise TrialError(f"{service} in its image: no line like {pattern!r}\n{log[-3000:]}")


def _log(service: Service, plan: Plan) -> str:
    return (plan.logs / f"{service}.log").read_text(errors="replace")
