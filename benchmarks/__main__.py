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

from benchmarks import (
    access,
    append,
    budgets,
    console,
    deltas,
    encryption,
    fork,
    live,
    long_chat,
    long_turn,
    memory,
    model_client,
    open_chat,
    open_pages,
    played_chat,
    projection,
    rest,
    resume,
    snapshot_resume,
    sockets,
    stage,
    stop,
    subjects,
    takeover,
    tracing,
    turn,
    workflows,
)
from benchmarks.figures import Figure
from benchmarks.table import table
from infra.servers import NatsServer

Measure = Callable[[NatsServer], Awaitable[list[Figure]]]

MEASUREMENTS: dict[str, Measure] = {
    "append": append.measure,
    "live": live.measure,
    "deltas": deltas.measure,
    "resume": resume.measure,
    "snapshots": snapshot_resume.measure,
    "open_chat": open_chat.measure,
    "turn": turn.measure,
    "tracing": tracing.measure,
    "budgets": budgets.measure,
    "model_client": model_client.measure,
    "projection": projection.measure,
    "long_chat": long_chat.measure,
    "long_turn": long_turn.measure,
    "fork": fork.measure,
    "takeover": takeover.measure,
    "stop": stop.measure,
    "subjects": subjects.measure,
    "workflows": workflows.measure,
    "played_chat": played_chat.measure,
    "sockets": sockets.measure,
    "memory": memory.measure,
    "rest": rest.measure,
    "encryption": encryption.measure,
    "access": access.measure,
    "console": console.measure,
    "open_pages": open_pages.measure,
}


def main() -> None:
    told = _arguments()
    logging.disable(logging.WARNING)
    figures: list[Figure] = []
    for name in told.names or MEASUREMENTS:
        figures += _measured(name, told.sync_interval)
    print(f"{_machine()}; ratio: ours in floors, the median over interleaved repetitions")
    print(f"{acknowledgement(told.sync_interval)}\n")
    print(table(figures))
    if told.json is not None:
        told.json.write_text(json.dumps(_record(figures, told.sync_interval), indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ours and its floor.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every repetition here")
    parser.add_argument(
        "--sync-interval",
        metavar="TIME",
        help="how often nats-server syncs to disk: `always`, or a time as 10s",
    )
    told = parser.parse_args()
    if unknown := set(told.names) - set(MEASUREMENTS):
        parser.error(f"no measurement {', '.join(sorted(unknown))}: {', '.join(MEASUREMENTS)}")
    return told


def acknowledgement(sync_interval: str | None) -> str:
    """What an acknowledgement of JetStream means in this run."""
    if sync_interval == "always":
        durable = "synced to disk (sync_interval: always)"
    else:
        interval = sync_interval or "the server's default of 2m"
        durable = f"written to the file system, synced to disk later (sync_interval: {interval})"
    return f"an acknowledged message is {durable}, on 1 replica"


def _measured(name: str, sync_interval: str | None) -> Sequence[Figure]:
    """The figures of one measurement, on a server of its own."""
    began = perf_counter()
    print(f"measuring {name} ...", end=" ", file=sys.stderr, flush=True)
    with stage.nats_server(sync_interval) as server:
        figures = asyncio.run(_run(MEASUREMENTS[name], server))
    print(f"{perf_counter() - began:.0f} s", file=sys.stderr)
    return figures


async def _run(measure: Measure, server: NatsServer) -> list[Figure]:
    return await measure(server)


def _machine() -> str:
    return f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {platform.machine()}"


def _record(figures: Sequence[Figure], sync_interval: str | None) -> dict[str, Any]:
    return {
        "machine": _machine(),
        "acknowledgement": acknowledgement(sync_interval),
        "figures": [figure.record() for figure in figures],
    }


if __name__ == "__main__":
    main()
