"""Runs the product from the root file systems of its images, through a chat, to SIGTERM."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import httpx

from infra.child_process import never
from infra.images.build import config_of, readable, root_of, run
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
    config: Path

    def command(self, service: Service, *words: str) -> list[str]:
        sandbox = (sys.executable, "-m", "infra.images.sandbox")
        return [*sandbox, service, str(self.root), str(self.config), *words]


def require_sandbox() -> None:
    """Raises UnavailableError where this machine does not let bubblewrap make a sandbox."""
    if os.geteuid() != 0:
        raise UnavailableError("only root can mount the root file systems of images")
    probe = ("bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--unshare-pid")
    try:
        done = subprocess.run(
            [*probe, "--", "true"],
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UnavailableError(f"bubblewrap cannot be started: {error}") from error
    if done.returncode:
        raise UnavailableError(f"bubblewrap can make no sandbox here: {done.stderr.strip()}")


def trial() -> Mapping[Service, Run]:
    """Run all four services and one chat. Raises TrialError, StartError, ImageError."""
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="mozaiks-trial-")))
        shutil.copytree(ROOT / "workflows", folder / "workflows")
        readable(folder / "workflows")
        images = {name: opened.enter_context(_mounted(name, folder)) for name in SERVICES}
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


def _require_healthy(service: Service, plan: Plan, image: _Image) -> None:
    config = config_of(service)
    check = sandbox_command(
        config,
        str(image.root),
        {f"{service.upper()}_PORT": str(plan.ports[service])},
        [],
        _words_of(config),
    )
    done = subprocess.run(check, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    if done.returncode:
        raise TrialError(f"the health check of {service} fails: {done.stderr.strip()}")


def _words_of(config: ImageConfig) -> tuple[str, ...]:
    kind, *words = config.health_check
    if kind != "CMD":
        raise TrialError(f"a health check needs a shell, which images do not have: {kind}")
    return tuple(words)


async def _chat(address: str) -> None:
    """The console's page, one chat from its start to its end, and its row in the list that MongoDB keeps.

    Raises TrialError, and TimeoutError after CHAT_SECONDS.
    """
    async with asyncio.timeout(CHAT_SECONDS), Client(address, app="trial", user="ana") as client:
        async with httpx.AsyncClient(base_url=address) as http:
            page = await http.get("/")
        if page.status_code != HTTPStatus.OK or "<html" not in page.text:
            raise TrialError(f"the transport has no console: {page.status_code} {page.text[:300]}")
        chat = await client.start(WORKFLOW, "What can run anywhere?")
        statuses = [frame.status async for frame in chat.stream()]
        if statuses[-1] != COMPLETED:
            raise TrialError(f"the chat ended with status {statuses[-1]}")
        await _until_archived(client, chat.id)


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
