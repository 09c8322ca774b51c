"""Which process runs on which cores, and which of them limits the rate. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SATURATED = 0.9
"""A process that uses or waits for a core for so much of the time can hardly do more."""

SHARED = ("orchestrator", "transport")
"""Services of which several processes share the work."""

Cores = frozenset[int]


def placement(
    cores: Sequence[int], apart: Sequence[str], next_apart: Sequence[str], rest: Sequence[str]
) -> dict[str, Cores]:
    """The cores of each process.

    Each process of `apart` has one core; the others run elsewhere as long as there is a core left, and
    on all cores otherwise. Of `next_apart` each has one of its own where then at least one is left.
    """
    placed = {label: frozenset({cores[n % len(cores)]}) for n, label in enumerate(apart)}
    left = list(cores[len(apart) :]) or list(cores)
    if len(left) > len(next_apart) and len(cores) > len(apart):
        placed |= {label: frozenset({left.pop(0)}) for label in next_apart}
    shared = frozenset(left)
    return placed | {label: placed.get(label, shared) for label in (*next_apart, *rest)}


@dataclass(frozen=True, slots=True)
class Load:
    """One process under a load.

    `cost` are milliseconds of processor for each turn of all clients; `used` is the part of the time
    in which it used a core, `waited` that in which it was ready to run and waited for one. `of` is the
    number of processes that share its work.
    """

    cost: float
    used: float
    waited: float
    of: int = 1

    @property
    def most(self) -> float:
        """Turns per second that it carries where it has a core for itself."""
        return 1000 / (self.of * self.cost) if self.cost else float("inf")

    @property
    def wanted(self) -> float:
        return self.used + self.waited


def limit(loads: Mapping[str, Load]) -> str:
    """One sentence: which process limits the rate."""
    label, load = max(loads.items(), key=lambda item: item[1].wanted)
    wants = f"used a core for {load.used:.0%} of the time and waited for one for {load.waited:.0%}"
    if load.wanted < SATURATED:
        return f"No process is saturated; {label} comes nearest: it {wants}."
    if load.used < load.waited:
        return f"The cores are saturated, not one process: {label} {wants}."
    return f"{label} is saturated: it {wants}."


def sharing_ends(services: Mapping[str, Load]) -> str:
    """One sentence: up to which rate another process of a service that can share its work helps.

    `services` are those of our services; each of their processes has one busy thread.
    """
    alone = {label: load for label, load in services.items() if label not in SHARED}
    label, load = max(alone.items(), key=lambda item: item[1].cost)
    return (
        f"More orchestrators and transports help up to {load.most:.0f} turns/s, "
        f"where one core is full of {label}."
    )
