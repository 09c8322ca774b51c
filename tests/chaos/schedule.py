"""Which fault happens when: a pure function of the seed, so that a run can be repeated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

Kind = Literal[
    "kill service",
    "stop service",
    "pause service",
    "kill NATS node",
    "stop NATS node",
    "pause NATS node",
    "freeze NATS node",
    "kill all NATS nodes",
    "leader step-down",
    "disk full",
    "stream full",
    "kill MongoDB",
    "pause MongoDB",
    "MongoDB away",
    "viewer storm",
]

SERVICES = (
    "orchestrator-1",
    "orchestrator-2",
    "transport-1",
    "transport-2",
    "persistence",
    "metrics",
)
ROLES = ("leader of EVENTS", "leader of COMMANDS", "follower of EVENTS", "follower of COMMANDS")
"""Which NATS node, by its role at that moment."""
ASSETS = (
    "EVENTS",
    "COMMANDS",
    "DELTAS",
    "KV_chats",
    "COMMANDS orchestrator",
    "EVENTS persistence-events",
)
"""Streams, and consumers as `stream durable`."""
FULL = ("EVENTS",)
"""COMMANDS has timers: a stream with schedules cannot reject messages beyond its limit."""
TRANSPORTS = ("transport-1", "transport-2")

_TARGETS: Mapping[Kind, Sequence[str]] = {
    # Orchestrators decide: they are hit as often as all others together.
    "kill service": (*SERVICES, "orchestrator-1", "orchestrator-2"),
    "stop service": (*SERVICES, "orchestrator-1", "orchestrator-2"),
    "pause service": (*SERVICES, "orchestrator-1", "orchestrator-2"),
    "kill NATS node": ROLES,
    "stop NATS node": ROLES,
    "pause NATS node": ROLES,
    "freeze NATS node": ROLES,
    "kill all NATS nodes": ("all",),
    "leader step-down": ASSETS,
    "disk full": ROLES[:3],
    "stream full": FULL,
    "kill MongoDB": ("mongod",),
    "pause MongoDB": ("mongod",),
    "MongoDB away": ("mongod",),
    "viewer storm": TRANSPORTS,
}

_WEIGHTS: Mapping[Kind, int] = {
    "kill service": 24,
    "stop service": 12,
    "pause service": 14,
    "kill NATS node": 6,
    "stop NATS node": 4,
    "pause NATS node": 6,
    "freeze NATS node": 1,
    "kill all NATS nodes": 1,
    "leader step-down": 14,
    "disk full": 2,
    "stream full": 3,
    "kill MongoDB": 3,
    "pause MongoDB": 3,
    "MongoDB away": 3,
    "viewer storm": 6,
}

_LASTS: Mapping[Kind, tuple[float, float]] = {
    "pause service": (0.5, 8.0),
    "kill NATS node": (0.5, 3.0),
    "stop NATS node": (0.5, 3.0),
    "pause NATS node": (1.0, 8.0),
    "freeze NATS node": (20.0, 30.0),
    "kill all NATS nodes": (0.5, 2.0),
    "disk full": (3.0, 6.0),
    "stream full": (1.0, 5.0),
    "kill MongoDB": (0.2, 1.0),
    "pause MongoDB": (1.0, 6.0),
    "MongoDB away": (2.0, 8.0),
}
"""Seconds from the fault to its end; the others are over at once, and processes are restarted
by the harness."""

KINDS: tuple[Kind, ...] = tuple(_WEIGHTS)
TAKES_A_NODE: frozenset[Kind] = frozenset(
    {
        "kill NATS node",
        "stop NATS node",
        "pause NATS node",
        "freeze NATS node",
        "kill all NATS nodes",
        "disk full",
    }
)
"""At most one of these at a time: two nodes of three are the quorum."""
TAKES_MONGODB: frozenset[Kind] = frozenset({"kill MongoDB", "pause MongoDB", "MongoDB away"})
_RECOVERS: Mapping[str, float] = {"node": 12.0, "mongodb": 2.0, "full": 8.0}
"""Seconds without a fault of the same target afterwards, so that it is healthy before the next: a
cluster elects the leaders of two dozen streams and consumers, which on a busy machine takes ten."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of the product: `at` and `seconds` count from the beginning of the run."""

    number: int
    at: float
    kind: Kind
    target: str
    seconds: float = 0.0


def plan(
    seed: int, faults: int, seconds: float, kinds: Sequence[Kind] = KINDS
) -> tuple[Fault, ...]:
    """So many faults within so many seconds, ordered by time; they overlap where that is allowed."""
    random = Random(seed)
    times = sorted(random.uniform(0, seconds) for _ in range(faults))
    free_from: dict[str, float] = {}
    planned: list[Fault] = []
    for number, at in enumerate(times, 1):
        open_to = [kind for kind in kinds if free_from.get(_held(kind), 0.0) <= at]
        kind = random.choices(open_to, [_WEIGHTS[one] for one in open_to])[0]
        lasts = random.uniform(*_LASTS.get(kind, (0.0, 0.0)))
        fault = Fault(number, round(at, 3), kind, random.choice(_TARGETS[kind]), round(lasts, 3))
        planned.append(fault)
        if held := _held(kind):
            free_from[held] = at + lasts + _RECOVERS[held]
    return tuple(planned)


def _held(kind: Kind) -> str:
    """The targets that only one fault at a time may have; empty if any number may overlap."""
    if kind in TAKES_A_NODE:
        return "node"
    if kind in TAKES_MONGODB:
        return "mongodb"
    return "full" if kind == "stream full" else ""
