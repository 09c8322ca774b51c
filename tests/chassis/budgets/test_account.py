"""Ledgers on a real server: what several processes store there at once adds up, also after crashes."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from contracts import subjects
from contracts.budget_ledger import Balance, Granted, Held, Occupied, Refused, Settled, hold
from contracts.budgets import Account, AppBudget, Limit
from contracts.ids import AppId, new_message_id
from services.chassis.budgets.account import BALANCE_EVERY, Decided
from services.chassis.budgets.ledgers import BudgetLedgers
from services.chassis.budgets.limits import BudgetLimits
from services.chassis.jetstream.gateway import JetStreamGateway

pytestmark = pytest.mark.broker

NOON = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)
LIMIT = Limit(unit="tokens", period="day", hard=100)


def account() -> Account:
    return Account(AppId(f"app {new_message_id()}"), "user", "ana@example.com")


def holding(
    holder: str, tokens: int, limit: Limit = LIMIT
) -> Callable[[Balance], Decided[Granted | Refused | Occupied]]:
    wanted = Held(time=NOON, holder=holder, call="0", runner="r", amounts={"tokens": tokens})

    def decide(balance: Balance) -> Decided[Granted | Refused | Occupied]:
        answer = hold(balance, [limit], wanted, {"tokens": tokens})
        return Decided([answer.entry] if isinstance(answer, Granted) else [], answer)

    return decide


def settling(holder: str, tokens: int) -> Callable[[Balance], Decided[None]]:
    entry = Settled(time=NOON, holder=holder, call="0", used={"tokens": tokens})
    return lambda balance: Decided([entry] if holder in balance.holds else [], None)


async def messages(gateway: JetStreamGateway, of: Account) -> int:
    subject = subjects.ledger(of.app, of.scope, of.name)
    return await gateway.reader.count(subjects.BUDGETS, subject)


async def test_two_processes_at_once_never_hold_more_than_the_limit(
    gateway: JetStreamGateway,
) -> None:
    one, other, mine = BudgetLedgers(gateway), BudgetLedgers(gateway), account()
    answers = await asyncio.gather(
        *(
            process.decide(mine, holding(f"{name}{number}", 7))
            for number in range(20)
            for name, process in (("a", one), ("b", other))
        )
    )
    granted = [answer for answer in answers if isinstance(answer, Granted)]
    assert len(granted) == 100 // 7
    balance = await BudgetLedgers(gateway).read(mine)
    assert balance.held == {"tokens": 98}
    assert balance == await one.read(mine) == await other.read(mine)
    await asyncio.gather(one.aclose(), other.aclose())


async def test_what_is_wanted_at_the_same_time_is_stored_together(
    gateway: JetStreamGateway,
) -> None:
    ledgers, mine = BudgetLedgers(gateway), account()
    await asyncio.gather(*(ledgers.decide(mine, holding(f"c{n}", 1)) for n in range(50)))
    assert await messages(gateway, mine) <= 2
    await ledgers.aclose()


async def test_a_new_process_reads_the_same_balance_wherever_the_ledger_stands(
    gateway: JetStreamGateway,
) -> None:
    ledgers, mine = BudgetLedgers(gateway), account()
    for number in range(BALANCE_EVERY + 3):
        await ledgers.decide(mine, holding("c", 5, LIMIT.model_copy(update={"hard": 1e6})))
        await ledgers.decide(mine, settling("c", 1))
        if number in (0, 1, BALANCE_EVERY // 2, BALANCE_EVERY - 1, BALANCE_EVERY):
            fresh = await BudgetLedgers(gateway).read(mine)
            assert fresh.used("day", "tokens", NOON) == number + 1
            assert fresh == await ledgers.read(mine)
    await ledgers.aclose()


async def test_a_refusal_is_decided_on_the_newest_balance(gateway: JetStreamGateway) -> None:
    one, other, mine = BudgetLedgers(gateway), BudgetLedgers(gateway), account()
    await one.decide(mine, holding("a", 95))
    refused = await other.decide(mine, holding("b", 50))
    assert isinstance(refused, Refused)
    await one.decide(mine, settling("a", 10))
    assert isinstance(await other.decide(mine, holding("b", 50)), Granted)
    await asyncio.gather(one.aclose(), other.aclose())


async def test_nothing_is_held_for_a_caller_that_does_not_wait_any_more(
    gateway: JetStreamGateway,
) -> None:
    ledgers, mine = BudgetLedgers(gateway), account()
    waiting = asyncio.create_task(ledgers.decide(mine, holding("a", 5)))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await ledgers.decide(mine, holding("b", 5))
    assert list((await ledgers.read(mine)).holds) == ["b"]
    await ledgers.aclose()


async def test_what_a_decision_raises_reaches_its_caller_alone(gateway: JetStreamGateway) -> None:
    ledgers, mine = BudgetLedgers(gateway), account()

    def fails(_: Balance) -> Decided[None]:
        raise LookupError("no")

    good, bad = await asyncio.gather(
        ledgers.decide(mine, holding("a", 5)),
        ledgers.decide(mine, fails),
        return_exceptions=True,
    )
    assert isinstance(good, Granted)
    assert isinstance(bad, LookupError)
    await ledgers.aclose()


async def test_limits_that_are_set_at_once_are_all_set_and_followed(
    gateway: JetStreamGateway,
) -> None:
    app = account().app
    one, other = BudgetLimits(gateway, {}), BudgetLimits(gateway, {})
    await one.start()
    limits = [Limit(scope="user", name=f"u{n}", unit="tokens", hard=n + 1) for n in range(6)]

    def adding(limit: Limit) -> Callable[[AppBudget], AppBudget]:
        return lambda budget: budget.with_limit(limit)

    await asyncio.gather(*(other.change(app, adding(limit)) for limit in limits))
    await one.refresh()
    assert sorted(one.of(app), key=str) == sorted(limits, key=str) == sorted(other.of(app), key=str)
    await one.change(app, lambda budget: budget.without(limits[0].kind))
    assert len(one.of(app)) == 5
    assert one.of(AppId("another")) == ()
    await one.stop()
