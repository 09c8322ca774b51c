"""Events of budgets as frames, and in words that users read. Pure."""

from datetime import UTC, datetime

from contracts.budgets import Period, Scope, Unit
from contracts.events.budget import BudgetExceeded, BudgetWarned
from contracts.wire.frames import BudgetData

_OWN: tuple[Scope, ...] = ("user", "chat")
"""Whose numbers a user may see: those of the app are its operator's."""
_WHOSE: dict[Scope, str] = {
    "app": "The budget of this app",
    "user": "Your budget",
    "workflow": "The budget of this workflow",
    "chat": "The budget of this chat",
}
_WHEN: dict[Period, str] = {
    "hour": " for this hour",
    "day": " for today",
    "month": " for this month",
    "total": "",
}
UNPRICED = (
    "The cost of answers is limited here, and nobody knows what this model costs, so it was not"
    " called. An operator can set its price, or limit tokens instead of the cost."
)


def warned(event: BudgetWarned) -> BudgetData:
    limit = event.soft if event.hard is None else event.hard
    own = event.scope in _OWN
    numbers = _numbers(event.unit, event.used, limit) if own else ""
    begin = f"{_WHOSE[event.scope]}{_WHEN[event.period]} is nearly used up{numbers}."
    return BudgetData(
        state="warned",
        scope=event.scope,
        unit=event.unit,
        period=event.period,
        used=event.used if own else None,
        soft=event.soft if own else None,
        hard=event.hard if own else None,
        resets_at=_iso(event.resets_at),
        waits=False,
        message=begin,
    )


def exceeded(event: BudgetExceeded) -> BudgetData:
    own = event.scope in _OWN and event.reason == "used_up"
    return BudgetData(
        state="exceeded",
        scope=event.scope,
        unit=event.unit,
        period=event.period,
        used=event.used if own else None,
        hard=event.hard if own else None,
        resets_at=_iso(event.resets_at),
        reason=event.reason,
        waits=True,
        message=_exceeded_message(event),
    )


def _exceeded_message(event: BudgetExceeded) -> str:
    if event.reason == "unpriced":
        return UNPRICED
    numbers = _numbers(event.unit, event.used, event.hard) if event.scope in _OWN else ""
    begin = f"{_WHOSE[event.scope]}{_WHEN[event.period]} is used up{numbers}: the answer ends here."
    if event.resets_at is None:
        return f"{begin} Send a message to go on once it was raised."
    return f"{begin} Send a message to go on from {event.resets_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC on."


def _numbers(unit: Unit, used: float, limit: float) -> str:
    if unit == "cost":
        return f" (${used:.4g} of ${limit:.4g})"
    return f" ({used:,.0f} of {limit:,.0f} tokens)"


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
