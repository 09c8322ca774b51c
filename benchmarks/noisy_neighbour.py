"""What a noisy tenant costs the others: python -m benchmarks.noisy_neighbour [--rate 0.1] [--seconds 20]

Fifty quiet tenants begin RATE chats a second each. Then one more tenant sends a hundred times as much of
everything: chats whose model takes ten seconds for each call, messages, sockets and files. What is
measured is the time from a quiet tenant's start to the first word of its answer: without the noisy
tenant, with it, and with it where commands are taken first in, first out: the same code with one lane
and no share (FIRST_IN_FIRST_OUT).
"""

import argparse
import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import percentile
from benchmarks.load.runtime import LINE_BYTES, Size, running
from benchmarks.load.tenants import QUIET_APPS, Sent
from benchmarks.table import aligned
from infra.stack import ROOT

TIMES = 100
"""How many times its share the noisy tenant sends."""
SETTLE_SECONDS = 3.0
MOST_RATIO = 1.5
"""What the noisy tenant may cost the others: their 99th percentile in those without it."""
LEAST_GAIN = 20.0
"""How many times longer they wait where commands are taken first in, first out."""
FIRST_IN_FIRST_OUT = {
    "MAX_HELD_COMMANDS": "0",
    "MAX_OPEN_CHATS": "1",
    "MAX_APP_SHARE": "1",
    "MAX_MODEL_CALLS": "100000",
}
_HEAD = (
    "quiet tenants",
    "chats",
    "p50 ms",
    "p99 ms",
    "longest ms",
    "failed",
    "the noisy tenant sent",
)


@dataclass(frozen=True, slots=True)
class Phase:
    """One measurement: what the quiet tenants saw, and what the noisy one did meanwhile, if it was there."""

    name: str
    quiet: Sent
    noisy: Sent | None = None

    @property
    def p99(self) -> float:
        return percentile(self.quiet.first_word_ms, 99)

    def row(self) -> tuple[str, ...]:
        times = self.quiet.first_word_ms
        noisy = {} if self.noisy is None else {**self.noisy.sent, **self.noisy.failed}
        return (
            self.name,
            f"{len(times)}",
            *(f"{value:,.0f}" for value in (percentile(times, 50), self.p99, max(times))),
            f"{sum(self.quiet.failed.values())}",
            ", ".join(f"{count} {what}" for what, count in noisy.items()),
        )


async def main(rate: float, seconds: float) -> list[Phase]:
    """The three phases, in their order."""
    async with running(Size()) as runtime:
        (address,) = runtime.addresses
        await _phase("warm up", address, rate, SETTLE_SECONDS)
        alone = await _phase("alone", address, rate, seconds)
        beside = await _phase("beside a noisy tenant", address, rate, seconds, noisy=True)
    async with running(Size(), FIRST_IN_FIRST_OUT) as runtime:
        (address,) = runtime.addresses
        await _phase("warm up", address, rate, SETTLE_SECONDS)
        queued = await _phase("the same, first in first out", address, rate, seconds, noisy=True)
    return [alone, beside, queued]


async def _phase(
    name: str, address: str, rate: float, seconds: float, *, noisy: bool = False
) -> Phase:
    """The noisy tenant begins before the quiet ones are measured, and ends after them."""
    loud = (
        await _tenants("noisy", TIMES * rate, 2 * SETTLE_SECONDS + seconds, address)
        if noisy
        else None
    )
    quiet = await _tenants("quiet", QUIET_APPS * rate, seconds, address)
    if loud is not None:
        await _begin(loud)
        await asyncio.sleep(SETTLE_SECONDS)
    await _begin(quiet)
    sent = await _sent(quiet)
    return Phase(name, sent, None if loud is None else await _sent(loud))


async def _tenants(role: str, rate: float, seconds: float, address: str) -> Process:
    command = ("-m", "benchmarks.load.tenants", role, f"{rate}", f"{seconds}", address)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdin=PIPE, stdout=PIPE, cwd=ROOT, limit=LINE_BYTES
    )
    await _line(process)
    return process


async def _begin(process: Process) -> None:
    if process.stdin is not None:
        process.stdin.write(b"go\n")
        await process.stdin.drain()


async def _sent(process: Process) -> Sent:
    sent = Sent(**json.loads(await _line(process)))
    await process.wait()
    return sent


async def _line(process: Process) -> bytes:
    return b"" if process.stdout is None else await process.stdout.readline()


def verdict(phases: Sequence[Phase]) -> Mapping[str, tuple[float, bool]]:
    """Each aim: what was reached, and whether that is enough."""
    alone, beside, queued = (phase.p99 for phase in phases)
    return {
        f"p99 beside the noisy tenant / alone (at most {MOST_RATIO})": (
            beside / alone,
            beside / alone <= MOST_RATIO,
        ),
        f"p99 first in first out / fair (at least {LEAST_GAIN:g})": (
            queued / beside,
            queued / beside >= LEAST_GAIN,
        ),
    }


def report(phases: Sequence[Phase]) -> str:
    lines = [aligned([_HEAD, *(phase.row() for phase in phases)], {1, 2, 3, 4, 5}), ""]
    for aim, (reached, is_met) in verdict(phases).items():
        lines.append(f"{aim}: {reached:.2f}, {'yes' if is_met else 'NO'}")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.noisy_neighbour")
    parser.add_argument("--rate", type=float, default=0.1, help="chats of a quiet tenant a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each of three phases")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every time here")
    told = parser.parse_args()
    found = asyncio.run(main(told.rate, told.seconds))
    print(report(found))
    if told.json is not None:
        record = [{"phase": one.name, "first_word_ms": one.quiet.first_word_ms} for one in found]
        told.json.write_text(json.dumps(record) + "\n")
