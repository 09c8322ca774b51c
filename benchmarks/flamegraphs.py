"""Flame graphs of the four services under a load of turns: python -m benchmarks.flamegraphs

Writes for each service, into .cache/flamegraphs, a flame graph (`.svg`, for a browser) and its
collapsed stacks (`.txt`, which https://www.speedscope.app reads), and prints the share of each group
of modules in the time that the service executes Python: threads that hold the interpreter lock. A
thread in a system call does not, and would count while it waits for a core on a busy machine; the part
of system calls is measured by the kernel and printed besides.
"""

import argparse
import asyncio
import sysconfig
from collections.abc import Awaitable, Sequence
from pathlib import Path

from benchmarks.flamegraph_svg import svg
from benchmarks.load.runtime import Measured, Runtime, Size, running
from benchmarks.stack_shares import Share, group_of, read_stacks, shares, short_names, top, working
from infra.child_process import Child, StartError
from infra.plan import SERVICES
from infra.stack import ROOT

FOLDER = ROOT / ".cache" / "flamegraphs"
SAMPLES_PER_SECOND = 100
CHATS = 16
SECONDS = 60
WRITE_SECONDS = 30.0
GROUPS = 20
LEAST_SHARE = 0.015
PTRACE = (
    "py-spy may not read other processes here: run as root, or give the container CAP_SYS_PTRACE"
)


async def main(chats: int, seconds: int) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    async with running(Size(), program=("-m", "benchmarks.load.traceable")) as runtime:
        measured = await _record(runtime, chats, seconds)
    print(f"{measured.answered.turns} turns of {chats} chats; files in {FOLDER}")
    for service in SERVICES:
        print(f"\n{_cost(service, measured)}")
        print(_report(service))


def _cost(service: str, measured: Measured) -> str:
    times = measured.times[service]
    in_calls = times.in_system_calls / times.used if times.used else 0.0
    return (
        f"{service}: {measured.cost_of(service):.1f} ms of processor per turn, "
        f"{in_calls:.0%} of it in system calls"
    )


async def _record(runtime: Runtime, chats: int, seconds: int) -> Measured:
    """One load, with every service sampled at the same time."""
    recorders = [_recorder(name, runtime.pids[name], seconds) for name in SERVICES]
    limit = seconds + WRITE_SECONDS
    async with runtime.clients(chats, seconds) as clients:
        recording = asyncio.gather(*(asyncio.to_thread(one.run_to_end, limit) for one in recorders))
        try:
            return await runtime.measure(clients)
        finally:
            await _recorded(recording)


async def _recorded(recording: Awaitable[object]) -> None:
    try:
        await recording
    except StartError as error:
        raise SystemExit(f"{error}\n{PTRACE}") from error


def _recorder(service: str, pid: int, seconds: int) -> Child:
    program = Path(sysconfig.get_path("scripts")) / "py-spy"
    command = [
        *(
            str(program),
            "record",
            "--pid",
            str(pid),
            "--format",
            "raw",
            "--full-filenames",
            "--gil",
        ),
        *("--rate", str(SAMPLES_PER_SECOND), "--duration", str(seconds)),
        *("--output", str(FOLDER / f"{service}.txt")),
    ]
    return Child(f"py-spy of {service}", command, FOLDER / f"{service}.log")


def _report(service: str) -> str:
    stacks = working(read_stacks((FOLDER / f"{service}.txt").read_text()))
    (FOLDER / f"{service}.svg").write_text(svg(service, short_names(stacks, str(ROOT))))
    return _table(shares(stacks, lambda frame: group_of(frame, str(ROOT))))


def _table(found: Sequence[Share]) -> str:
    rows = [("modules", "own", "with callees")]
    rows += [
        (share.group, f"{share.own:.0%}", f"{share.inclusive:.0%}")
        for share in top(found, GROUPS, LEAST_SHARE)
    ]
    width = max(len(row[0]) for row in rows)
    return "\n".join(f"  {group:<{width}}  {own:>4}  {whole:>12}" for group, own, whole in rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flamegraphs")
    parser.add_argument("--chats", type=int, default=CHATS)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    given = parser.parse_args()
    asyncio.run(main(given.chats, given.seconds))
