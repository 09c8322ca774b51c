"""How much a deployment needs for so many chats a day, and what breaks first: python -m infra.simulate

A model of a few multiplications over measured coefficients (infra/scaling_coefficients.json, which
`python -m benchmarks.coefficients --write` measures). docs/scaling.md shows its table.
"""

import argparse
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

COEFFICIENTS = Path(__file__).with_name("scaling_coefficients.json")
DAY = 24 * 3600
GB = 1e9
MOST_STREAMS = 16
"""Over which the events of an installation can be spread."""
VOLUMES = (1_000, 100_000, 10_000_000)
"""Chats a day."""


@dataclass(frozen=True, slots=True)
class Check:
    """A second load, which the coefficients are not taken from."""

    turns_per_second: float
    cores_measured: float
    log_bytes_per_second_measured: float


@dataclass(frozen=True, slots=True)
class Coefficients:
    """What was measured. A turn is a message of a user, a tool call, and an answer of 100 words.

    `cpu_ms_per_turn` has the four services, `nats-server` with one replica, and `mongod`.
    """

    machine: str
    measured_at: str
    cpu_ms_per_turn: Mapping[str, float]
    events_per_turn: float
    messages_per_turn: float
    log_bytes_per_turn: float
    mongo_bytes_per_turn: float
    ram_bytes_per_subject: float
    ram_kb_per_socket: float
    stream_messages_per_second: float
    check: Check


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What no measurement says: how people use it, and how full a machine may be."""

    turns_per_chat: float = 5
    peak: float = 3
    """The busiest hour, in means."""
    open_seconds: float = 1200
    """How long the page of a chat stays open."""
    days_in_log: float = 90
    """EVENTS_MAX_AGE."""
    subjects_per_chat: float = 2
    """In EVENTS, with business events; after days_in_log one message of each chat stays."""
    utilisation: float = 0.6
    """Of a core, or of memory, at the peak: the rest is for a lost machine."""
    node_ram_gb: float = 16
    node_disk_gb: float = 1000
    transport_ram_gb: float = 1


@dataclass(frozen=True, slots=True)
class Demand:
    """What so many chats a day need. Rates are those of the peak; cores are used cores."""

    chats_per_day: float
    turns_per_second: float
    messages_per_second: float
    events_per_second: float
    sockets: float
    cores: Mapping[str, float]
    socket_ram_gb: float
    log_gb_per_day: float
    mongo_gb_per_day: float
    subject_ram_gb_per_day: float


@dataclass(frozen=True, slots=True)
class Deployment:
    """How many processes, streams of events and cores of NATS nodes carry a demand.

    `installations` is over how many of them, each with a NATS and a MongoDB of its own, the apps have to
    be divided; everything else is the sum of all.
    """

    installations: int
    processes: Mapping[str, int]
    streams: int
    node_cores: int
    mongo_cores: int
    log_disk_gb: float
    """Per replica, for the days in the log."""
    subject_ram_gb: float
    """Per replica, for a year of chats, whose last message stays."""


def demand(chats_per_day: float, c: Coefficients, a: Assumptions) -> Demand:
    turns_per_day = chats_per_day * a.turns_per_chat
    turns = turns_per_day / DAY * a.peak
    sockets = chats_per_day * a.open_seconds / DAY * a.peak
    return Demand(
        chats_per_day=chats_per_day,
        turns_per_second=turns,
        messages_per_second=turns * c.messages_per_turn,
        events_per_second=turns * c.events_per_turn,
        sockets=sockets,
        cores={name: turns * ms / 1000 for name, ms in c.cpu_ms_per_turn.items()},
        socket_ram_gb=sockets * c.ram_kb_per_socket * 1000 / GB,
        log_gb_per_day=turns_per_day * c.log_bytes_per_turn / GB,
        mongo_gb_per_day=turns_per_day * c.mongo_bytes_per_turn / GB,
        subject_ram_gb_per_day=chats_per_day * a.subjects_per_chat * c.ram_bytes_per_subject / GB,
    )


def loads_of_the_smallest(d: Demand, c: Coefficients, a: Assumptions) -> dict[str, float]:
    """How full the smallest deployment would be: one process each, one stream, EVENTS for ever.

    1 is full: a core that is used as far as it may, a stream that takes no more, or a disk or memory that
    is full within a year.
    """
    services = ("orchestrator", "transport", "persistence", "metrics")
    year = 365
    return {
        **{name: d.cores[name] / a.utilisation for name in services},
        "sockets of one transport": d.socket_ram_gb / a.transport_ram_gb / a.utilisation,
        "one stream of events": d.messages_per_second
        / c.stream_messages_per_second
        / a.utilisation,
        "disk of a NATS node in a year": d.log_gb_per_day * year / a.node_disk_gb,
        "memory of a NATS node for subjects in a year": (
            d.subject_ram_gb_per_day * year / a.node_ram_gb / a.utilisation
        ),
    }


def breaks_first(loads: Mapping[str, float]) -> list[str]:
    """What is more than full, the worst first."""
    return sorted((name for name, load in loads.items() if load > 1), key=lambda n: -loads[n])


def deployment(d: Demand, c: Coefficients, a: Assumptions) -> Deployment:
    """At least two of each service: one may be lost, or replaced by another release."""

    def processes(name: str) -> int:
        return max(2, math.ceil(d.cores[name] / a.utilisation))

    by_sockets = math.ceil(d.socket_ram_gb / a.transport_ram_gb / a.utilisation)
    streams = d.messages_per_second / c.stream_messages_per_second / a.utilisation
    alone = max(d.cores["metrics"] / a.utilisation, streams / MOST_STREAMS)
    cells = max(1, math.ceil(alone))
    return Deployment(
        installations=cells,
        processes={
            "orchestrator": processes("orchestrator"),
            "transport": max(processes("transport"), by_sockets),
            "persistence": processes("persistence"),
            "metrics": 2 * cells,  # each counts the whole log of its installation
        },
        streams=cells * spread(streams / cells),
        node_cores=max(1, math.ceil(d.cores["nats-server"] / a.utilisation)),
        mongo_cores=max(1, math.ceil(d.cores["mongod"] / a.utilisation)),
        log_disk_gb=d.log_gb_per_day * a.days_in_log,
        subject_ram_gb=d.subject_ram_gb_per_day * 365,
    )


def spread(streams: float) -> int:
    """The next number of streams over which events can be spread; MOST_STREAMS at most."""
    return next((n for n in (1, 2, 4, 8) if n >= streams), MOST_STREAMS)


def load() -> Coefficients:
    read = json.loads(COEFFICIENTS.read_text())
    return Coefficients(**{**read, "check": Check(**read["check"])})


def table(c: Coefficients, a: Assumptions, volumes: Iterable[float] = VOLUMES) -> str:
    """The Markdown tables of docs/scaling.md."""
    rows = [(d := demand(n, c, a), deployment(d, c, a)) for n in volumes]
    demands = [
        "| chats a day | turns/s | events/s | sockets | orchestrators | transports | persistence | metrics | NATS, each node | MongoDB | log | MongoDB grows |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(_demand_row(d) for d, _ in rows),
    ]
    needed = [
        "| chats a day | breaks first in the smallest | installations | orchestrators | transports | persistence | metrics | streams of events | cores of a NATS node | cores of MongoDB | disk of a NATS node | its memory for subjects, a year |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(_needed_row(d, one, c, a) for d, one in rows),
    ]
    return "\n".join([*demands, "", *needed])


def figures(c: Coefficients, a: Assumptions) -> str:
    """The coefficients as one asks for them, as a Markdown table."""
    rows = [
        *(
            (f"events/s of a core: {name}", f"{_number(1000 * c.events_per_turn / ms)}")
            for name, ms in c.cpu_ms_per_turn.items()
        ),
        ("bytes of a chat in the log", f"{_number(c.log_bytes_per_turn * a.turns_per_chat)}"),
        ("bytes of a chat in MongoDB", f"{_number(c.mongo_bytes_per_turn * a.turns_per_chat)}"),
        ("memory of a million subjects", f"{_number(c.ram_bytes_per_subject)} MB"),
        ("sockets in a GB", f"{_number(1e6 / c.ram_kb_per_socket)}"),
        ("messages/s of a core into one stream", f"{_number(c.stream_messages_per_second)}"),
    ]
    return "\n".join(
        ["| figure | value |", "|---|---|", *(f"| {one} | {two} |" for one, two in rows)]
    )


def _demand_row(d: Demand) -> str:
    services = ("orchestrator", "transport", "persistence", "metrics", "nats-server", "mongod")
    cores = " | ".join(_number(d.cores[name]) for name in services)
    return (
        f"| {d.chats_per_day:,.0f} | {_number(d.turns_per_second)} | {_number(d.events_per_second)} | "
        f"{d.sockets:,.0f} | {cores} | {_number(d.log_gb_per_day)} GB/day | "
        f"{_number(d.mongo_gb_per_day)} GB/day |"
    )


def _needed_row(d: Demand, one: Deployment, c: Coefficients, a: Assumptions) -> str:
    loads = loads_of_the_smallest(d, c, a)
    broken = [f"{name} ({_number(loads[name])} x)" for name in breaks_first(loads)[:4]]
    counts = " | ".join(f"{count:,}" for count in one.processes.values())
    return (
        f"| {d.chats_per_day:,.0f} | {', '.join(broken) or 'nothing'} | {one.installations} | {counts} | {one.streams} | "
        f"{one.node_cores} | {one.mongo_cores} | {_number(one.log_disk_gb)} GB | "
        f"{_number(one.subject_ram_gb)} GB |"
    )


def _number(value: float) -> str:
    """Two digits: no coefficient is known better."""
    if value == 0:
        return "0"
    digits = 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:,.{max(digits, 0)}f}"


def check(c: Coefficients) -> dict[str, tuple[float, float]]:
    """What the model says of the second load, beside what was measured: cores, and bytes a second."""
    turns = c.check.turns_per_second
    return {
        "cores": (turns * sum(c.cpu_ms_per_turn.values()) / 1000, c.check.cores_measured),
        "bytes/s of the log": (
            turns * c.log_bytes_per_turn,
            c.check.log_bytes_per_second_measured,
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m infra.simulate")
    parser.add_argument("chats", nargs="*", type=float, help="chats a day", default=VOLUMES)
    c, a = load(), Assumptions()
    print(f"{figures(c, a)}\n\n{table(c, a, parser.parse_args().chats)}")
    print(f"\ncoefficients of {c.measured_at}, {c.machine}")
    for name, (modelled, found) in check(c).items():
        print(f"{name} of a second load: {_number(modelled)} modelled, {_number(found)} measured")


if __name__ == "__main__":
    main()
