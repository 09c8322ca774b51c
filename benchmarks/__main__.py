"""Run the measurements: python -m benchmarks [NAME ...] [--json FILE]"""

import argparse
import asyncio
import json
import logging
import os
import platform
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import append, live, memory, resume, sockets, stage, takeover, turn, workflows
from benchmarks.figures import Figure
from benchmarks.table import table
from infra.servers import NatsServer

Measure = Callable[[NatsServer], Awaitable[list[Figure]]]

MEASUREMENTS: dict[str, Measure] = {
    "append": append.measure,
    "live": live.measure,
    "resume": resume.measure,
    "turn": turn.measure,
    "takeover": takeover.measure,
    "workflows": workflows.measure,
    "sockets": sockets.measure,
    "memory": memory.measure,
}


def main() -> None:
    told = _arguments()
    logging.disable(logging.WARNING)
    figures: list[Figure] = []
    for name in told.names or MEASUREMENTS:
        figures += _measured(name)
    print(f"{_machine()}; ratio: ours in floors, the median over interleaved repetitions\n")
    print(table(figures))
    if told.json is not None:
        told.json.write_text(json.dumps(_record(figures), indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ours and its floor.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every repetition here")
    told = parser.parse_args()
    if unknown := set(told.names) - set(MEASUREMENTS):
        parser.error(f"no measurement {', '.join(sorted(unknown))}: {', '.join(MEASUREMENTS)}")
    return told


def _measured(name: str) -> Sequence[Figure]:
    """The figures of one measurement, on a server of its own."""
    began = perf_counter()
    print(f"measuring {name} ...", end=" ", file=sys.stderr, flush=True)
    with stage.nats_server() as server:
        figures = asyncio.run(_run(MEASUREMENTS[name], server))
    print(f"{perf_counter() - began:.0f} s", file=sys.stderr)
    return figures


async def _run(measure: Measure, server: NatsServer) -> list[Figure]:
    return await measure(server)


def _machine() -> str:
    return f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {platform.machine()}"


def _record(figures: Sequence[Figure]) -> dict[str, Any]:
    return {"machine": _machine(), "figures": [figure.record() for figure in figures]}


if __name__ == "__main__":
    main()
