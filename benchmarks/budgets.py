"""Budgets: what a turn costs that is held and settled, beside the same turn without a limit."""

import asyncio
from collections.abc import Sequence
from time import perf_counter

from benchmarks import chats, stage
from benchmarks.figures import Aim, Figure
from benchmarks.turn import (
    Case,
    FixedWorkflows,
    build_runner,
    cases_of_turns,
    cost,
    opened,
    run,
    runnable,
)
from contracts.budgets import Account, AppBudget, Limit
from contracts.ids import AppId
from contracts.prices import PRICES
from infra.servers import NatsServer
from services.chassis.budgets.ledgers import BudgetLedgers
from services.chassis.budgets.limits import BudgetLimits
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.runtime.chat_budget import Budgets
from services.orchestrator.runtime.runner import Runner

REPETITIONS = 7
TURNS = 24
TOGETHER = 64
"""Chats of one app at the same time, in two processes."""
LIMITS = tuple(
    Limit(scope=scope, unit="tokens", period="day", hard=1e12) for scope in ("app", "user")
)
UNLIMITED_AIM = Aim(ratio=1.05)


async def measure(server: NatsServer) -> list[Figure]:
    case = cases_of_turns()[0]
    async with stage.gateway(server) as gateway:
        plain = build_runner(gateway, [case])
        free = _runner(gateway, case, {})
        limited = _runner(gateway, case, {chats.APP: AppBudget(limits=LIMITS)})
        other = _runner(gateway, case, {chats.APP: AppBudget(limits=LIMITS)})
        return [
            await _alone(case, free, plain, "a turn without a limit", UNLIMITED_AIM),
            await _alone(case, limited, plain, "a turn with limits of app and user", None),
            await _latency(case, limited, plain),
            await _together(case, [limited, other], [plain, build_runner(gateway, [case])]),
            await _opening(gateway),
        ]


def _runner(gateway: JetStreamGateway, case: Case, set_for: dict[AppId, AppBudget]) -> Runner:
    budgets = Budgets(BudgetLimits(gateway, set_for), BudgetLedgers(gateway), PRICES, chats.clock)
    workflows = FixedWorkflows({case.workflow: runnable(case)})
    return Runner(gateway, workflows, chats.clock, "bench", budgets=budgets)


async def _alone(case: Case, ours: Runner, floor: Runner, name: str, aim: Aim | None) -> Figure:
    costs: dict[Runner, list[float]] = {ours: [], floor: []}
    for _ in range(REPETITIONS):
        for runner, found in costs.items():
            waiting = [await opened(case, runner) for _ in range(TURNS)]
            found.append(await cost([run(runner, chat) for chat in waiting]))
    return Figure(f"{name}: CPU", "ms", costs[ours], costs[floor], aim)


async def _latency(case: Case, ours: Runner, floor: Runner) -> Figure:
    times: dict[Runner, list[float]] = {ours: [], floor: []}
    for _ in range(REPETITIONS):
        for runner, found in times.items():
            waiting = [await opened(case, runner) for _ in range(TURNS)]
            began = perf_counter()
            for chat in waiting:
                await run(runner, chat)()
            found.append(1000 * (perf_counter() - began) / TURNS)
    return Figure("a turn with limits of app and user: time", "ms", times[ours], times[floor])


async def _together(case: Case, ours: Sequence[Runner], floor: Sequence[Runner]) -> Figure:
    """Turns a second where two processes hold and settle in the same accounts."""
    rates: list[float] = []
    floors: list[float] = []
    for _ in range(REPETITIONS):
        for runners, found in ((ours, rates), (floor, floors)):
            waiting = [(one, await opened(case, one)) for one in runners for _ in range(TOGETHER)]
            began = perf_counter()
            await asyncio.gather(*(run(runner, chat)() for runner, chat in waiting))
            found.append(len(waiting) / (perf_counter() - began))
    name = f"{2 * TOGETHER} turns at once, two processes, one account"
    return Figure(name, "/s", rates, floors, more_is_better=True)


async def _opening(gateway: JetStreamGateway) -> Figure:
    """How long a process that knows nothing takes to know the balance of an account."""
    times: list[float] = []
    for _ in range(REPETITIONS):
        began = perf_counter()
        await BudgetLedgers(gateway).read(Account(chats.APP, "app"))
        times.append(1000 * (perf_counter() - began))
    return Figure("an account with thousands of entries is opened", "ms", times)
