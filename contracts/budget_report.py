"""How much of an app's limits is used: for operators, users and the command. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from contracts.budget_ledger import EMPTY, Balance, Window
from contracts.budgets import (
    STORAGE_UNITS,
    Account,
    Limit,
    Period,
    Scope,
    Unit,
    ends_at,
    from_amount,
    limits_of_account,
)
from contracts.ids import AppId


class LimitUse(BaseModel):
    """One limit, and what the account that it limits has used in the window of now.

    `name` is the account's; without it nobody was asked for, and the numbers are absent. Amounts
    are tokens, bytes, or US dollars. `used` includes `repeated`, what calls of lost processes are
    taken to have used; `left` is what is below `hard`.
    """

    model_config = ConfigDict(frozen=True)

    scope: Scope
    name: str | None
    unit: Unit
    period: Period
    soft: float | None
    hard: float | None
    used: float | None = None
    held: float | None = None
    repeated: float | None = None
    left: float | None = None
    calls: int | None = None
    resets_at: datetime | None = None


class Asked(NamedTuple):
    """Whose accounts are to be shown besides those that limits name."""

    users: frozenset[str] = frozenset()
    workflows: frozenset[str] = frozenset()
    chats: frozenset[str] = frozenset()


NOBODY = Asked()
_AskedOf = Mapping[Scope, frozenset[str]]


def accounts_of(
    app: AppId, limits: Sequence[Limit], asked: Asked = NOBODY
) -> list[tuple[Account, tuple[Limit, ...]]]:
    """The accounts to read, each with the limits that hold for it."""
    names: _AskedOf = {
        "app": frozenset([""]),
        "user": asked.users,
        "workflow": asked.workflows,
        "chat": asked.chats,
    }
    found: list[tuple[Account, tuple[Limit, ...]]] = []
    for scope, given in names.items():
        named = frozenset(one.name for one in limits if one.scope == scope and one.name)
        found += [
            (Account(app, scope, name), own)
            for name in sorted(given | named)
            if (own := limits_of_account(limits, scope, name))
        ]
    stored = tuple(one for one in limits if one.unit in STORAGE_UNITS and one.is_set)
    return [*found, (Account(app, "storage"), stored)] if stored else found


def report(
    limits: Sequence[Limit],
    accounts: Iterable[tuple[Account, Sequence[Limit]]],
    balances: Mapping[Account, Balance],
    now: datetime,
) -> list[LimitUse]:
    """What is used of each account's limits, and the limits for each user, workflow or chat."""
    uses = [
        _use(limit, account.name, balances.get(account, EMPTY), now)
        for account, own in accounts
        for limit in own
    ]
    shown = {(one.scope, one.unit, one.period) for one in uses}
    rest = [one for one in limits if one.is_set and (one.scope, one.unit, one.period) not in shown]
    return [*uses, *map(_unused, rest)]


def _unused(limit: Limit) -> LimitUse:
    return LimitUse(
        scope=limit.scope,
        name=limit.name,
        unit=limit.unit,
        period=limit.period,
        soft=limit.soft,
        hard=limit.hard,
    )


def _use(limit: Limit, name: str, balance: Balance, now: datetime) -> LimitUse:
    unit, period = limit.unit, limit.period
    used, held = balance.used(period, unit, now), balance.held.get(unit, 0)
    window = balance.windows.get(period) if used else None
    known = Window(name="") if window is None else window
    left = None if limit.hard_amount is None else max(limit.hard_amount - used - held, 0)
    return _unused(limit).model_copy(
        update={
            "name": name or None,
            "used": from_amount(unit, used),
            "held": from_amount(unit, held),
            "repeated": from_amount(unit, known.repeated.get(unit, 0)),
            "left": None if left is None else from_amount(unit, left),
            "calls": known.calls,
            "resets_at": ends_at(period, now),
        }
    )
