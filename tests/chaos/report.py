"""The table of a run, and its violations in detail."""

from collections import Counter
from collections.abc import Sequence

from tests.chaos.audit import Violation, repeated_in_doubt
from tests.chaos.facts import Collected, Done
from tests.chaos.schedule import Fault

DETAILED = 10
"""Violations of each kind that are shown in full."""


def table(seed: int, schedule: Sequence[Fault], collected: Collected) -> str:
    """Fault kind, how many were planned and done, and chats in flight when they began."""
    planned = Counter(fault.kind for fault in schedule)
    rows = [
        _row(kind, count, [one for one in collected.done if one.fault.kind == kind])
        for kind, count in sorted(planned.items(), key=lambda item: -item[1])
    ]
    rows.append(_row("all", len(schedule), collected.done))
    heading = f"| {'fault':<20} | planned | done | chats in flight (mean) |"
    rule = f"|{'-' * 22}|---------|------|------------------------|"
    return "\n".join([f"seed {seed}", heading, rule, *rows, "", *_counts(collected)])


def _row(kind: str, planned: int, done: Sequence[Done]) -> str:
    well = [one for one in done if not one.trouble]
    chats = sum(one.chats for one in well) / len(well) if well else 0.0
    return f"| {kind:<20} | {planned:>7} | {len(well):>4} | {chats:>22.1f} |"


def _counts(collected: Collected) -> list[str]:
    events = sum(len(log) for log in collected.logs.values())
    shown = sum(len(watcher.shown) for watcher in collected.watchers)
    takeovers = sum(
        one.event.envelope.type == "run.claimed" for log in collected.logs.values() for one in log
    )
    watched = f"watchers {len(collected.watchers)}, events shown {shown}"
    doubtful = f"repeated in doubt {repeated_in_doubt(collected)}"
    traced = ", ".join(f"{name} {count}" for name, count in collected.tracebacks.items())
    return [
        f"chats {len(collected.logs)}, events {events}, {watched}",
        f"runs taken over {takeovers}, service endings {len(collected.endings)}",
        f"tool runs {len(collected.executions)}, {doubtful}",
        f"tracebacks in logs: {traced or 'none'}",
    ]


def violations_by_kind(violations: Sequence[Violation]) -> str:
    if not violations:
        return "violations: 0"
    kinds = Counter(violation.kind for violation in violations)
    rows = [f"  {kind:<32} {count}" for kind, count in kinds.most_common()]
    return "\n".join([f"violations: {len(violations)}", *rows])


def details(violations: Sequence[Violation]) -> str:
    """The first of each kind in full."""
    seen: Counter[str] = Counter()
    lines = []
    for one in violations:
        seen[one.kind] += 1
        if seen[one.kind] <= DETAILED:
            lines.append(f"{one.kind}: {one.where}: {one.found}")
    return "\n".join(lines)


def not_done(done: Sequence[Done]) -> str:
    """The faults that could not be made, or not completely."""
    return "\n".join(
        f"not done: fault {one.fault.number} ({one.fault.kind}, {one.target}): {one.trouble}"
        for one in done
        if one.trouble
    )
