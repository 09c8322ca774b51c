"""One run: users chat without a pause while each process is replaced, and back; then the audit."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import collect
from tests.chaos.audit import Violation, audit, repeated_in_doubt
from tests.chaos.facts import Collected, Done
from tests.chaos.processes import Ending
from tests.chaos.run import EQUAL_SECONDS
from tests.chaos.schedule import Fault
from tests.chaos.users import Users
from tests.chaos.workflow import read_executions
from tests.upgrade.plan import Replacement, upgrade
from tests.upgrade.product import Product
from tests.upgrade.releases import ROOT, check_out, event_versions, unknown_to


@dataclass(frozen=True, slots=True)
class Options:
    """`seconds` is how long all processes are of one release, `patience` how long a user waits."""

    commit: str
    folder: Path
    chats: int = 6
    seconds: float = 10.0
    seed: int = 1
    patience: float = 240.0
    rollback: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done and found. `refused` counts requests that were not answered, by the reason."""

    commit: str
    steps: tuple[tuple[Replacement, float], ...]
    collected: Collected
    violations: tuple[Violation, ...]
    abandoned: int
    refused: dict[str, int]
    unknown: tuple[str, ...]

    def text(self) -> str:
        logs = self.collected.logs
        events = sum(len(log) for log in logs.values())
        kinds = ", ".join(f"{count} {why}" for why, count in sorted(self.refused.items()))
        lines = [
            f"from {self.commit[:12]} to this one, and what follows the upgrade",
            "event versions that the old release leaves to the new one: "
            + (", ".join(self.unknown) or "none"),
            *(f"{one.service}-{one.replica} -> {one.to}: {took:.1f} s" for one, took in self.steps),
            f"chats {len(logs)}, events {events}, in one chain of digests each",
            f"viewers {len(self.collected.watchers)}",
            f"requests that were refused and tried again: {kinds or 'none'}",
            f"tool calls that a stop left in doubt and that ran again {repeated_in_doubt(self.collected)}",
            f"chats that did not end within a user's patience {self.abandoned}",
            f"violations {len(self.violations)}",
            *(f"  {one.kind}  {one.where}  {one.found}" for one in self.violations),
        ]
        return "\n".join(lines)


async def run(options: Options) -> Outcome:
    """Raises MissingReleaseError, and StartError where a process of either release does not start."""
    old = options.folder / "release"
    commit = await asyncio.to_thread(check_out, options.commit, old)
    unknown = unknown_to(
        await asyncio.to_thread(event_versions, old), await asyncio.to_thread(event_versions, ROOT)
    )
    product = Product(options.folder, {"old": old, "new": ROOT})
    steps: list[tuple[Replacement, float]] = []
    try:
        await product.start()
        users = Users(product.transports, options.seed, options.chats, options.patience)
        living = asyncio.create_task(users.run(), name="users")
        try:
            await asyncio.sleep(options.seconds)
            await product.ensure_streams("new")
            steps += await _replaced(product, upgrade("new"), options.seconds)
            if options.rollback:
                steps += await _replaced(product, upgrade("old"), options.seconds)
            users.no_more()
            await living
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
        ended = product.ended
        collected = await _collected(product, users, "old" if options.rollback else "new")
    finally:
        await product.stop()
    violations = audit(collected)
    violations += [Violation("process ended by itself", "all", one) for one in ended]
    return Outcome(
        commit,
        tuple(steps),
        collected,
        tuple(violations),
        len(users.abandoned),
        dict(users.refused),
        tuple(unknown),
    )


async def _replaced(
    product: Product, plan: Sequence[Replacement], seconds: float
) -> list[tuple[Replacement, float]]:
    done = [(step, await product.replace(step)) for step in plan]
    await asyncio.sleep(seconds)
    return done


def _as_fault(ending: Ending) -> Done:
    """A stop: a tool that ran in the process at that moment is in doubt, and runs again elsewhere."""
    began = ending.at - ending.seconds
    fault = Fault(0, began, "stop service", ending.service)
    return Done(fault, ending.service, ending.pid, began, ending.at, 0)


async def _collected(product: Product, users: Users, release: str) -> Collected:
    folder = product.releases["old" if release == "old" else "new"]
    async with product.connection() as nc:

        async def left() -> list[str]:
            return await collect.commands_left(nc)

        async def verified() -> list[str]:
            return await collect.said_by("services.persistence.verify", product.servers, folder)

        async def audited() -> list[str]:
            return await collect.said_by("services.orchestrator.audit", product.servers, folder)

        commands_left = await collect.settled(left, EQUAL_SECONDS)
        stream = await collect.read_events(nc)
        return Collected(
            logs=stream.logs,
            not_counted=stream.not_counted,
            watchers=tuple(users.watchers),
            accepted=tuple(users.accepted),
            executions=read_executions(product.effects),
            endings=tuple(product.endings),
            done=tuple(map(_as_fault, product.endings)),
            commands_left=commands_left,
            letters=await collect.dead_letters(nc),
            verified=await collect.settled(verified, EQUAL_SECONDS),
            audited=await collect.settled(audited, EQUAL_SECONDS),
        )
