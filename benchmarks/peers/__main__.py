"""Measure ours beside its peers: python -m benchmarks.peers [ROW ...] [--peers NAME ...] [--json FILE]"""

import argparse
import asyncio
import json
import logging
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from benchmarks.peers.comparison import FLOOR, OURS, Comparison, table
from benchmarks.peers.library import Library, library
from benchmarks.peers.lineup import AGNO, DBOS, LANGGRAPH, Lineup
from benchmarks.peers.model import model
from benchmarks.peers.ours import ours
from benchmarks.peers.place import InstallError
from benchmarks.peers.rows import long_chats, pipeline, recovery, rest, start, turns
from infra.servers import MissingServerError, StartError

Measure = Callable[[Lineup], Awaitable[list[Comparison]]]

ROWS: dict[str, Measure] = {
    "rest": rest.measure,
    "turns": turns.measure,
    "tokens": turns.measure_paced,
    "start": start.measure,
    "long": long_chats.measure,
    "pipeline": pipeline.measure,
    "recovery": recovery.measure,
}
"""In this order: memory is weighed before anything has grown, and processes are killed at the end."""


@dataclass(frozen=True, slots=True)
class Peer:
    program: str
    stores: bool = True


PEERS = {
    LANGGRAPH: Peer("langgraph"),
    DBOS: Peer("dbos"),
    AGNO: Peer("agno"),
    FLOOR: Peer("ag2", stores=False),
}


def main() -> None:
    arguments = _arguments()
    logging.disable(logging.WARNING)
    peers = [name for name in PEERS if name in arguments.peers]
    try:
        measured = asyncio.run(
            _measured(arguments.rows or list(ROWS), peers, arguments.sync_interval)
        )
    except (InstallError, MissingServerError, StartError) as error:
        sys.exit(f"bench-peers: {error}")
    print(f"{_machine()}; medians of interleaved repetitions; ratio: ours divided by the peer's")
    print("A turn that has ended is in:")
    for name, words in measured.durability.items():
        print(f"  {name}: {words}")
    print(f"\n{table(measured.rows, [OURS, *peers])}")
    if arguments.json is not None:
        record = {
            "machine": _machine(),
            "durability": measured.durability,
            "rows": [row.record() for row in measured.rows],
        }
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")
    if measured.failed:
        sys.exit(f"bench-peers: not measured: {', '.join(measured.failed)}; the reasons are above")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description="Ours beside its peers, with one model."
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument(
        "--peers", nargs="*", default=list(PEERS), choices=list(PEERS), metavar="NAME"
    )
    parser.add_argument(
        "--sync-interval", help="of ours: `always`, or a time that nats-server reads, as 10s"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every repetition here")
    arguments = parser.parse_args()
    if unknown := set(arguments.rows) - set(ROWS):
        parser.error(f"no row {', '.join(sorted(unknown))}: {', '.join(ROWS)}")
    return arguments


@dataclass(slots=True)
class Measured:
    """What a turn that has ended is stored in, by contender; rows, and names of those that failed."""

    durability: dict[str, str]
    rows: list[Comparison]
    failed: list[str]


async def _measured(
    rows: Sequence[str], peers: Sequence[str], sync_interval: str | None
) -> Measured:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(_folder())
        lineup = await _started(stack, folder, peers, sync_interval)
        measured = Measured({one.name: one.durability for one in lineup.contenders}, [], [])
        for name in ROWS:
            if name in rows:
                with _timed(name):
                    await _measure(name, lineup, measured)
    return measured


async def _measure(name: str, lineup: Lineup, measured: Measured) -> None:
    """One that fails leaves the others: a whole run takes minutes."""
    try:
        measured.rows += await ROWS[name](lineup)
    except Exception:  # noqa: BLE001  reported here, and by the exit code
        traceback.print_exc()
        measured.failed.append(name)


async def _started(
    stack: AsyncExitStack, folder: Path, peers: Sequence[str], sync_interval: str | None
) -> Lineup:
    stub = await stack.enter_async_context(model(folder))
    with _timed(f"start of {OURS}"):
        product = await stack.enter_async_context(ours(folder, stub.url, sync_interval))
        await turns.warm_up(product)
    running: list[Library] = []
    for name in peers:
        with _timed(f"start of {name}"):
            peer = PEERS[name]
            made = library(name, peer.program, folder, stub.url, stores=peer.stores)
            running.append(await stack.enter_async_context(made))
            await turns.warm_up(running[-1])
    return Lineup(product, running, stub)


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder that every user may enter: PostgreSQL runs as another one."""
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as place:
        Path(place).chmod(0o755)
        yield Path(place)


@contextmanager
def _timed(name: str) -> Iterator[None]:
    began = perf_counter()
    print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
    yield
    print(f"{perf_counter() - began:.0f} s", file=sys.stderr)


def _machine() -> str:
    return f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {platform.machine()}"


if __name__ == "__main__":
    main()
