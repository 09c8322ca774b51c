"""Turns per second of one and of two orchestrators and transports: python -m benchmarks.scale

Every process is pinned to cores: an orchestrator has a core of its own, the other processes run
elsewhere as far as there are cores. The cost per turn of each process says what a core of it carries
on any machine, and so where a further orchestrator or transport no longer helps.
"""

import argparse
import asyncio
import os
from collections.abc import Sequence
from statistics import median

from benchmarks.load.placement import SHARED, Load, limit, placement, sharing_ends
from benchmarks.load.runtime import CLIENTS, MODEL, MONGO, NATS, Measured, Size, running

SIZES = (Size(1, 1), Size(2, 1), Size(2, 2))
CHATS = 48
SECONDS = 15
ROUNDS = 3
OTHERS = (NATS, MONGO, MODEL, CLIENTS)
HEAD = "  process          cores  ms/turn   used  waited  turns/s a core"


async def main(chats: int, seconds: int, rounds: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    found: dict[Size, list[Measured]] = {size: [] for size in SIZES}
    for _ in range(rounds):
        for size in SIZES:
            found[size].append(await _measured(size, cores, chats, seconds))
    print(f"{len(cores)} cores, {chats} chats, {rounds} x {seconds} s; medians of the rounds")
    alone = median(one.rate for one in found[SIZES[0]])
    for size, loads in found.items():
        print(f"\n{_report(size, cores, loads, alone)}")


async def _measured(size: Size, cores: Sequence[int], chats: int, seconds: int) -> Measured:
    async with running(size) as runtime:
        return await runtime.load(chats, seconds, _pins(size, cores))


def _pins(size: Size, cores: Sequence[int]) -> dict[str, frozenset[int]]:
    labels = [label for label, _ in size.services()]
    orchestrators = [label for label in labels if label.startswith("orchestrator")]
    transports = [label for label in labels if label.startswith("transport")]
    rest = [label for label in labels if not label.startswith(SHARED)]
    return placement(cores, orchestrators, transports, [*rest, *OTHERS])


def _report(size: Size, cores: Sequence[int], measured: Sequence[Measured], alone: float) -> str:
    loads = {label: _load(label, size, measured) for label in measured[0].times}
    services = {label.split()[0]: load for label, load in loads.items() if label not in OTHERS}
    rate, cost = median(one.rate for one in measured), median(one.cost for one in measured)
    title = (
        f"orchestrators {size.orchestrators}, transports {size.transports}: {rate:.1f} turns/s, "
        f"{rate / alone:.2f} of one of each; {cost:.1f} ms of processor per turn"
    )
    pins = _pins(size, cores)
    rows = [_row(label, _names(pins[label]), load) for label, load in loads.items()]
    ends = [limit(loads), sharing_ends(services)]
    return "\n".join([title, HEAD, *rows, *(f"  {line}" for line in ends)])


def _row(label: str, cores: str, load: Load) -> str:
    return (
        f"  {label:<16}{cores:>6}{load.cost:>9.1f}{load.used:>7.0%}{load.waited:>8.0%}"
        f"{load.most:>16.0f}"
    )


def _load(label: str, size: Size, measured: Sequence[Measured]) -> Load:
    alike = [service for one, service in size.services() if service == label.split()[0]]
    return Load(
        median(one.cost_of(label) for one in measured),
        median(one.times[label].used / one.answered.seconds for one in measured),
        median(one.times[label].waited / one.answered.seconds for one in measured),
        of=max(len(alike), 1),
    )


def _names(cores: frozenset[int]) -> str:
    ordered = sorted(cores)
    return f"{ordered[0]}-{ordered[-1]}" if len(ordered) > 1 else str(ordered[0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    parser.add_argument("--chats", type=int, default=CHATS)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    asyncio.run(main(given.chats, given.seconds, given.rounds))
