"""Budgets and quotas as they are set: limits of tokens, cost and stored bytes, and which of them apply. Pure."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from contracts.ids import AppId, ChatId, UserId, WorkflowName

Scope = Literal["app", "user", "workflow", "chat"]
Unit = Literal["tokens", "cost", "upload_bytes", "value_bytes"]
Period = Literal["hour", "day", "month", "total"]
PERIODS: tuple[Period, ...] = ("hour", "day", "month", "total")
CALL_UNITS: tuple[Unit, ...] = ("tokens", "cost")
STORAGE_UNITS: tuple[Unit, ...] = ("upload_bytes", "value_bytes")
"""Files that users upload, and large values of events."""

ANY_APP = AppId("*")
"""The app whose limits hold for every app that has none of the same kind."""
NANODOLLARS = 1_000_000_000
"""The ledger counts a cost in whole billionths of a US dollar, so that sums are exact."""
MAX_LIMITS = 200
"""Limits that one app may have."""
MAX_NAME_CHARS = 256


def _none_if_empty(given: Any) -> Any:
    return None if given == "" else given


class Limit(BaseModel):
    """A limit of one unit in one period, for an app, or for users, workflows or chats of it.

    `name` is the one user, workflow or chat that it is for; without one it is for each of them.
    At `soft` the chat is warned, `hard` is never knowingly exceeded; tokens and bytes are whole
    numbers, `cost` is in US dollars. Without both there is no limit, also where a more general one
    sets one. Bytes are limited for an app in total.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scope: Scope = "app"
    name: Annotated[str | None, BeforeValidator(_none_if_empty)] = Field(
        default=None, max_length=MAX_NAME_CHARS
    )
    unit: Unit
    period: Period = "total"
    soft: float | None = Field(default=None, ge=0, le=1e15, allow_inf_nan=False)
    hard: float | None = Field(default=None, ge=0, le=1e15, allow_inf_nan=False)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.scope == "app" and self.name is not None:
            raise ValueError("name: a limit of the app takes none")
        if self.unit in STORAGE_UNITS and (self.scope, self.period) != ("app", "total"):
            raise ValueError(f"scope, period: {self.unit} can be limited for the app in total only")
        if self.soft is not None and self.hard is not None and self.soft > self.hard:
            raise ValueError(f"soft: {self.soft:g} is more than hard: {self.hard:g}")
        if self.unit != "cost" and any(one != int(one) for one in self._given):
            raise ValueError(f"soft, hard: {self.unit} are whole numbers")
        return self

    @property
    def _given(self) -> list[float]:
        return [one for one in (self.soft, self.hard) if one is not None]

    @property
    def kind(self) -> tuple[str, str | None, str, str]:
        """What there is one limit of."""
        return (self.scope, self.name, self.unit, self.period)

    @property
    def is_set(self) -> bool:
        return bool(self._given)

    @property
    def soft_amount(self) -> int | None:
        """In the unit of the ledger."""
        return None if self.soft is None else to_amount(self.unit, self.soft)

    @property
    def hard_amount(self) -> int | None:
        """In the unit of the ledger."""
        return None if self.hard is None else to_amount(self.unit, self.hard)


class AppBudget(BaseModel):
    """The limits that were set for one app."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limits: tuple[Limit, ...] = Field(default=(), max_length=MAX_LIMITS)

    @model_validator(mode="after")
    def _has_one_of_a_kind(self) -> Self:
        kinds = [limit.kind for limit in self.limits]
        for kind in kinds:
            if kinds.count(kind) > 1:
                named = " ".join(part for part in kind if part is not None)
                raise ValueError(f"limits: there are two of {named}")
        return self

    def with_limit(self, limit: Limit) -> "AppBudget":
        """With a limit in place of the one of its kind. Raises ValueError beyond MAX_LIMITS."""
        others = [one for one in self.limits if one.kind != limit.kind]
        return AppBudget(limits=(*others, limit))

    def without(self, kind: tuple[str, str | None, str, str]) -> "AppBudget":
        return AppBudget(limits=tuple(one for one in self.limits if one.kind != kind))


NO_BUDGET = AppBudget()
BudgetTable = Mapping[AppId, AppBudget]


def limits_of(app: AppId, stored: BudgetTable, configured: BudgetTable) -> tuple[Limit, ...]:
    """The limits of an app: those set by command before those of the environment, those of the app
    before those of every app (`*`).
    """
    found: dict[tuple[str, str | None, str, str], Limit] = {}
    for table, name in (
        (configured, ANY_APP),
        (stored, ANY_APP),
        (configured, app),
        (stored, app),
    ):
        found |= {limit.kind: limit for limit in table.get(name, NO_BUDGET).limits}
    return tuple(limit for limit in found.values())


class Account(NamedTuple):
    """What has a ledger of its own: an app, one of its users, workflows or chats, or its storage."""

    app: AppId
    scope: Literal["app", "user", "workflow", "chat", "storage"]
    name: str = ""


AccountLimits = tuple[Account, tuple[Limit, ...]]


def limits_of_call(
    limits: Iterable[Limit], app: AppId, user: UserId, workflow: WorkflowName, chat: ChatId
) -> list[AccountLimits]:
    """The accounts that a model call of a chat is counted in, each with its limits."""
    names: dict[Scope, str] = {"app": "", "user": user, "workflow": workflow, "chat": chat}
    return [
        (Account(app, scope, name), own)
        for scope, name in names.items()
        if (own := limits_of_account(limits, scope, name))
    ]


def limits_of_account(limits: Iterable[Limit], scope: Scope, name: str) -> tuple[Limit, ...]:
    """The limits of calls that hold for one account: one that names it comes before one for each."""
    found: dict[tuple[Unit, Period], Limit] = {}
    for limit in limits:
        if limit.scope != scope or limit.unit not in CALL_UNITS:
            continue
        if limit.name == (name or None):
            found[limit.unit, limit.period] = limit
        elif limit.name is None:
            found.setdefault((limit.unit, limit.period), limit)
    return tuple(limit for limit in found.values() if limit.is_set)


def limits_of_storage(limits: Iterable[Limit]) -> tuple[Limit, ...]:
    return tuple(one for one in limits if one.unit in STORAGE_UNITS and one.is_set)


# -- amounts and periods ------------------------------------------------------------------------


def to_amount(unit: Unit, given: float) -> int:
    """A number as people write it, in the unit of the ledger: nanodollars for a cost."""
    return round(given * NANODOLLARS) if unit == "cost" else round(given)


def from_amount(unit: Unit, amount: int) -> float:
    """The opposite of `to_amount`."""
    return amount / NANODOLLARS if unit == "cost" else amount


_FORMATS: dict[Period, str] = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}


def window(period: Period, time: datetime) -> str:
    """The name of the window of a period that a time is in, by UTC: later windows have later names.

    Empty for `total`, which has one window only.
    """
    return "" if period == "total" else time.astimezone(UTC).strftime(_FORMATS[period])


def ends_at(period: Period, time: datetime) -> datetime | None:
    """When the window of a period that a time is in ends; none for `total`."""
    now = time.astimezone(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    match period:
        case "hour":
            return hour + timedelta(hours=1)
        case "day":
            return hour.replace(hour=0) + timedelta(days=1)
        case "month":
            return (hour.replace(day=1, hour=0) + timedelta(days=32)).replace(day=1)
        case "total":
            return None
