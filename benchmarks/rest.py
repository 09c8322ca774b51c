"""Memory at rest: every process of the runtime before any chat, beside Python with the same libraries."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figures import Aim, Figure
from benchmarks.load.runtime import MODEL, Size, running
from benchmarks.process_memory import Memory, read_memory, shares
from infra.plan import SERVICES
from infra.servers import NatsServer
from infra.stack import ROOT

SETTLE_SECONDS = 5.0
AIM = Aim(limit=350)
_OURS = ("services", "contracts", "workflows", "__main__", "__mp_main__")
_LOADED = """
import sys
import services.chassis.process.server, services.{service}.app
print(*(name for name in sys.modules if name.partition(".")[0] not in {ours}))
"""
_BARE = """
import importlib, sys
for name in sys.stdin.readline().split():
    try:
        importlib.import_module(name)
    except Exception:  # a part that cannot be imported by itself
        pass
print("ready", flush=True)
sys.stdin.readline()
"""


async def measure(_: NatsServer) -> list[Figure]:
    async with running(Size()) as runtime:
        await asyncio.sleep(SETTLE_SECONDS)
        found = {label: _memory(pid) for label, pid in runtime.pids.items() if label != MODEL}
    with _bare({service: _libraries(service) for service in SERVICES}) as pids:
        floors = shares({service: _memory(pid) for service, pid in pids.items()})
    ours = shares(found)
    resident = {label: f"resident {memory.resident:.0f} MB" for label, memory in found.items()}
    total = f"resident {sum(memory.resident for memory in found.values()):.0f} MB"
    return [
        *(
            Figure(
                f"memory at rest: {label}",
                "MB",
                [size],
                [floors[label]] if label in floors else (),
                note=resident[label],
            )
            for label, size in ours.items()
        ),
        Figure("memory at rest: all processes", "MB", [sum(ours.values())], aim=AIM, note=total),
    ]


def _memory(pid: int) -> Memory:
    return read_memory(Path(f"/proc/{pid}/smaps").read_text())


def _libraries(service: str) -> str:
    """Every module that a service has imported and that is not ours, in one line."""
    program = _LOADED.format(service=service, ours=_OURS)
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


@contextmanager
def _bare(libraries: Mapping[str, str]) -> Iterator[Mapping[str, int]]:
    """Processes that have imported these modules and do nothing, by service: their pids."""
    started: dict[str, subprocess.Popen[str]] = {}
    try:
        for service, names in libraries.items():
            started[service] = subprocess.Popen(
                [sys.executable, "-c", _BARE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            _send(started[service], names.strip())
        for process in started.values():
            _wait(process)
        yield {service: process.pid for service, process in started.items()}
    finally:
        for process in started.values():
            process.communicate("\n")


def _send(process: "subprocess.Popen[str]", line: str) -> None:
    if process.stdin is not None:
        process.stdin.write(f"{line}\n")
        process.stdin.flush()


def _wait(process: "subprocess.Popen[str]") -> None:
    if process.stdout is None or not process.stdout.readline():
        raise RuntimeError("a bare Python has ended")
