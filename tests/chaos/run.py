"""One run: the product, its users, the schedule of faults, healing, and the audit."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.chaos import collect
from tests.chaos.audit import Violation, audit
from tests.chaos.facts import Collected, Logged
from tests.chaos.faults import Faults
from tests.chaos.product import Product
from tests.chaos.report import details, not_done, table, violations_by_kind
from tests.chaos.schedule import KINDS, Fault, Kind, plan
from tests.chaos.users import Users
from tests.chaos.workflow import read_executions

HEAL_SECONDS = 90.0
EQUAL_SECONDS = 60.0
"""How long commands, archive, read models and metrics may trail a log without new events."""


@dataclass(frozen=True, slots=True)
class Options:
    """`patience` is how many seconds a user waits for one chat, whatever happens."""

    seed: int
    faults: int
    seconds: float
    chats: int
    folder: Path
    patience: float = 240.0
    kinds: Sequence[Kind] = KINDS


@dataclass(frozen=True, slots=True)
class Outcome:
    schedule: tuple[Fault, ...]
    collected: Collected
    violations: tuple[Violation, ...]
    abandoned: int

    def text(self, seed: int) -> str:
        parts = (
            table(seed, self.schedule, self.collected),
            f"chats that did not end within a user's patience {self.abandoned}",
            not_done(self.collected.done),
            violations_by_kind(self.violations),
            details(self.violations),
        )
        return "\n".join(part for part in parts if part)


async def run(options: Options) -> Outcome:
    """Raises StartError and TimeoutError where the product does not start at all."""
    schedule = plan(options.seed, options.faults, options.seconds, options.kinds)
    product = Product(options.folder, disks=any(one.kind == "disk full" for one in schedule))
    try:
        await product.start()
        users = Users(product.transports, options.seed, options.chats, options.patience)
        faults = Faults(product, users, options.seed)
        living = asyncio.create_task(users.run(), name="users")
        doing = asyncio.create_task(faults.run(schedule), name="faults")
        try:
            await asyncio.wait([living, doing], return_when=asyncio.FIRST_COMPLETED)
            await doing
            users.no_more()
            not_ready = await product.wait_until_ready(HEAL_SECONDS)
            await living
        finally:
            for task in (living, doing):
                task.cancel()
            await asyncio.gather(living, doing, return_exceptions=True)
        collected = await _collected(product, users, faults, not_ready)
    finally:
        await product.stop()
    violations = tuple(audit(collected))
    _write(options, collected, violations)
    return Outcome(schedule, collected, violations, len(users.abandoned))


async def _collected(
    product: Product, users: Users, faults: Faults, not_ready: list[str]
) -> Collected:
    endings = [ending for service in product.services.values() for ending in service.endings]
    async with product.connection() as nc:

        async def left() -> list[str]:
            return await collect.commands_left(nc)

        commands_left = await collect.settled(left, EQUAL_SECONDS)
        stream = await collect.read_events(nc)

        async def verified() -> list[str]:
            return await collect.said_by("services.persistence.verify", product.servers)

        async def audited() -> list[str]:
            return await collect.said_by("services.orchestrator.audit", product.servers)

        async def metrics() -> list[str]:
            return await collect.metrics_differences(product.ports["metrics"], stream.messages)

        return Collected(
            logs=stream.logs,
            not_counted=stream.not_counted,
            watchers=tuple(users.watchers),
            accepted=tuple(users.accepted),
            executions=read_executions(product.effects),
            done=tuple(faults.done),
            endings=tuple(endings),
            commands_left=commands_left,
            letters=await collect.dead_letters(nc),
            not_ready=tuple(not_ready),
            verified=await collect.settled(verified, EQUAL_SECONDS),
            audited=await collect.settled(audited, EQUAL_SECONDS),
            metrics=await collect.settled(metrics, EQUAL_SECONDS),
            tracebacks=collect.tracebacks(product.logs),
        )


def _write(options: Options, collected: Collected, violations: Sequence[Violation]) -> None:
    """The data for an investigation: the faults, and the logs of the chats."""
    with (options.folder / "faults.jsonl").open("w") as lines:
        for one in collected.done:
            lines.write(json.dumps(asdict(one)) + "\n")
    with (options.folder / "endings.jsonl").open("w") as lines:
        for ending in collected.endings:
            lines.write(json.dumps(asdict(ending)) + "\n")
    with (options.folder / "violations.jsonl").open("w") as lines:
        for violation in violations:
            lines.write(json.dumps(asdict(violation)) + "\n")
    chats = options.folder / "chats"
    chats.mkdir()
    for key, log in collected.logs.items():
        text = "\n".join(_line(one) for one in log)
        (chats / f"{key.chat}.log").write_text(text + "\n")


def _line(one: Logged) -> str:
    envelope = one.event.envelope
    at = time.strftime("%H:%M:%S", time.gmtime(one.stored))
    return (
        f"{at}.{int(one.stored % 1 * 1000):03} @{one.position} #{envelope.seq} {envelope.type} "
        f"by {envelope.runner} cause {envelope.cause} {json.dumps(envelope.body)[:300]}"
    )
