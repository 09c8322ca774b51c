"""Turns of new chats: how many a second, the CPU time of each, and how soon the user sees text."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks.figures import percentile
from benchmarks.peers.comparison import OURS, Comparison, PeerAim
from benchmarks.peers.contender import Contender, Turns
from benchmarks.peers.lineup import LANGGRAPH, Lineup, Repetitions

REPETITIONS = 3
TURNS = {1: 24, 16: 4, 64: 2}
"""Of each chat, by the number of chats at the same time."""
WARM_UP = 2
RATE_AIMS = {1: 1.3, 16: 2.0, 64: 2.5}
CPU_AIMS = {1: 1.0, 16: 0.6, 64: 0.5}
PACE_MILLISECONDS = 20.0
PACED_TURNS = 4

CpuParts = Mapping[str, float]
"""By the name of a process."""


async def warm_up(contender: Contender) -> None:
    chats = await contender.chats(WARM_UP)
    await contender.turns(chats, WARM_UP)
    await contender.leave(chats)
    await contender.settle()


async def measure(lineup: Lineup) -> list[Comparison]:
    """Turns/s, CPU per turn and the first token, repetitions of all contenders interleaved."""
    rates = {chats: Repetitions() for chats in TURNS}
    cpu = {chats: Repetitions() for chats in TURNS}
    first = {percent: Repetitions() for percent in (50, 99)}
    parts: defaultdict[int, list[CpuParts]] = defaultdict(list)
    for _ in range(REPETITIONS):
        for count, turns in TURNS.items():
            for contender in lineup.contenders:
                ran, spent = await run_turns(contender, count, turns)
                rates[count][contender.name].append(count * turns / ran.seconds)
                cpu[count][contender.name].append(sum(spent.values()))
                if contender is lineup.ours:
                    parts[count].append(spent)
                if count == 1:
                    for percent, values in first.items():
                        values[contender.name].append(1000 * percentile(ran.first, percent))
    return [
        *(_rate(count, values) for count, values in rates.items()),
        *(_cpu(count, values, parts[count]) for count, values in cpu.items()),
        *(_first(percent, values) for percent, values in first.items()),
    ]


async def run_turns(contender: Contender, count: int, turns: int) -> tuple[Turns, CpuParts]:
    """So many turns in each of so many new chats, and the milliseconds of CPU time of one turn."""
    chats = await contender.chats(count)
    ran, spent = await spend(contender, chats, turns)
    await contender.leave(chats)
    return ran, spent


async def spend(contender: Contender, chats: Sequence[str], turns: int) -> tuple[Turns, CpuParts]:
    """The same in chats that exist."""
    await contender.settle()
    before = contender.cpu_seconds()
    ran = await contender.turns(chats, turns)
    await contender.settle()
    after = contender.cpu_seconds()
    each = 1000 / (len(chats) * turns)
    return ran, {name: each * (spent - before[name]) for name, spent in after.items()}


def in_words(parts: Sequence[CpuParts]) -> str:
    """What each process took, the median over repetitions, the most first."""
    medians = {name: median(part[name] for part in parts) for name in parts[0]} if parts else {}
    ordered = sorted(medians.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {spent:.1f}" for name, spent in ordered)


def _rate(count: int, values: Repetitions) -> Comparison:
    aim = PeerAim(RATE_AIMS[count])
    return Comparison(f"turns, {_chats(count)}", "turns/s", values, aim, more_is_better=True)


def _cpu(count: int, values: Repetitions, parts: Sequence[CpuParts]) -> Comparison:
    aim = PeerAim(CPU_AIMS[count], LANGGRAPH)
    name = f"CPU of a turn, all processes, {_chats(count)}"
    return Comparison(name, "ms", values, aim, note=f"{OURS}: {in_words(parts)}")


def _first(percent: int, values: Repetitions) -> Comparison:
    aim = PeerAim(1.0) if percent == 50 else None
    return Comparison(f"first token, 1 chat, p{percent}", "ms", values, aim)


def _chats(count: int) -> str:
    return f"{count} chat{'s' * (count > 1)}"


async def measure_paced(lineup: Lineup) -> list[Comparison]:
    """What is added to a token on its way from the model to the user, where tokens come slowly."""
    lags = Repetitions()
    async with lineup.model.paced(PACE_MILLISECONDS):
        for _ in range(REPETITIONS):
            for contender in lineup.contenders:
                chats = await contender.chats(1)
                ran = await contender.turns(chats, PACED_TURNS)
                await contender.leave(chats)
                await contender.settle()
                lags[contender.name].append(1000 * percentile(ran.lags, 50))
    note = f"{PACE_MILLISECONDS:g} ms between two pieces of text"
    return [Comparison("added to a token, 1 chat, p50", "ms", lags, PeerAim(1.0), note=note)]
