"""The ledger of an account: what its entries add up to, and whether there is room for more. Pure.

An amount is held before it is spent, and the hold is settled by what was used, or released. An entry
without a hold changes nothing, so that one that comes twice counts once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from contracts.budgets import PERIODS, Limit, Period, Unit, ends_at, window

Amounts = dict[Unit, int]
"""By unit: tokens, nanodollars, bytes."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Held(_Record):
    """`holder` may use these amounts for `call`; a later one of the same call replaces the amounts.

    The holder is a chat or an object, and has one hold at a time. `prompt_tokens` and `model` are
    what the hold was estimated from.
    """

    type: Literal["budget.held"] = "budget.held"
    time: datetime
    holder: str
    call: str
    runner: str
    amounts: Amounts
    prompt_tokens: int = 0
    model: str = ""


class Resumed(_Record):
    """`runner` repeats the holder's call, whose process was lost: nobody knows what it used."""

    type: Literal["budget.resumed"] = "budget.resumed"
    time: datetime
    holder: str
    runner: str


class Settled(_Record):
    """The holder's call has used these amounts."""

    type: Literal["budget.settled"] = "budget.settled"
    time: datetime
    holder: str
    call: str
    used: Amounts


class Released(_Record):
    """The holder's call has used nothing that is known."""

    type: Literal["budget.released"] = "budget.released"
    time: datetime
    holder: str
    call: str


class Counted(_Record):
    """What was found to be stored in all; it replaces what was counted before."""

    type: Literal["budget.counted"] = "budget.counted"
    time: datetime
    used: Amounts


class Warned(_Record):
    """Somebody was told that a soft limit is reached in this window."""

    type: Literal["budget.warned"] = "budget.warned"
    time: datetime
    unit: Unit
    period: Period


Entry = Annotated[
    Held | Resumed | Settled | Released | Counted | Warned, Field(discriminator="type")
]


class Hold(_Record):
    """An open hold; `repeats` is how often its call was begun again after its process was lost."""

    call: str
    runner: str
    amounts: Amounts
    time: datetime
    prompt_tokens: int = 0
    model: str = ""
    repeats: int = 0


class Window(_Record):
    """What was used in one window of a period.

    `repeated` is what calls whose process was lost have used besides: each as much as its
    repetition, which is exact for the prompt, as the repeated request is the same.
    """

    name: str
    used: Amounts = {}
    repeated: Amounts = {}
    calls: int = 0
    repeated_calls: int = 0

    def of(self, unit: Unit) -> int:
        """What counts against a limit."""
        return self.used.get(unit, 0) + self.repeated.get(unit, 0)


class Balance(_Record):
    """What the entries of an account add up to; `held` is the sum of the open holds.

    `windows` has the newest window of each period, `warned` the soft limits that were reported in it.
    """

    windows: dict[Period, Window] = {}
    holds: dict[str, Hold] = {}
    held: Amounts = {}
    warned: dict[str, str] = {}

    def after(self, entries: Iterable[Entry]) -> "Balance":
        """The balance after more entries."""
        draft = _Draft(self)
        for entry in entries:
            draft.apply(entry)
        return draft.result()

    def used(self, period: Period, unit: Unit, now: datetime) -> int:
        """What was used in the window of `now`, without what is held.

        A clock that is behind does not open an earlier window again.
        """
        known = self.windows.get(period)
        if known is None or known.name < window(period, now):
            return 0
        return known.of(unit)

    def is_warned(self, limit: Limit, now: datetime) -> bool:
        reported = self.warned.get(f"{limit.unit}:{limit.period}")
        return reported is not None and reported >= window(limit.period, now)


EMPTY = Balance()


class _Draft:
    """A balance while it is changed: its containers are copied once for all entries."""

    def __init__(self, balance: Balance) -> None:
        self._windows = dict(balance.windows)
        self._holds = dict(balance.holds)
        self._held = dict(balance.held)
        self._warned = dict(balance.warned)

    def result(self) -> Balance:
        return Balance.model_construct(
            windows=self._windows, holds=self._holds, held=self._held, warned=self._warned
        )

    def apply(self, entry: Entry) -> None:
        match entry:
            case Held():
                self._hold(entry)
            case Resumed(holder=holder, runner=runner):
                if (hold := self._holds.get(holder)) is not None:
                    repeats = hold.repeats + 1
                    self._holds[holder] = hold.model_copy(
                        update={"runner": runner, "repeats": repeats}
                    )
            case Settled(holder=holder, call=call, used=used):
                if (hold := self._taken(holder, call)) is not None:
                    self._use(hold, used)
            case Released(holder=holder, call=call):
                self._taken(holder, call)
            case Counted(used=used):
                total = self._windows.get("total", Window(name=""))
                self._windows["total"] = total.model_copy(update={"used": {**total.used, **used}})
            case Warned(unit=unit, period=period, time=time):
                self._warned[f"{unit}:{period}"] = window(period, time)

    def _hold(self, entry: Held) -> None:
        before = self._holds.get(entry.holder)
        if before is not None:
            self._held = _sum(self._held, before.amounts, -1)
        self._held = _sum(self._held, entry.amounts)
        again = before is not None and before.call == entry.call
        self._holds[entry.holder] = Hold(
            call=entry.call,
            runner=entry.runner,
            amounts=entry.amounts,
            time=before.time if before is not None and again else entry.time,
            prompt_tokens=entry.prompt_tokens,
            model=entry.model,
            repeats=before.repeats if before is not None and again else 0,
        )

    def _taken(self, holder: str, call: str) -> Hold | None:
        """The hold, which is open no more; none if there is none for this call."""
        hold = self._holds.get(holder)
        if hold is None or hold.call != call:
            return None
        del self._holds[holder]
        self._held = _sum(self._held, hold.amounts, -1)
        return hold

    def _use(self, hold: Hold, used: Amounts) -> None:
        """Count in the windows in which the call began; a window that is over stays as it is."""
        for period in PERIODS:
            name = window(period, hold.time)
            known = self._windows.get(period)
            if known is None or known.name < name:
                known = Window(name=name)
            if known.name == name:
                self._windows[period] = Window(
                    name=name,
                    used=_sum(known.used, used),
                    repeated=_sum(known.repeated, used, hold.repeats),
                    calls=known.calls + 1,
                    repeated_calls=known.repeated_calls + hold.repeats,
                )


def _sum(one: Amounts, other: Mapping[Unit, int], times: int = 1) -> Amounts:
    if not times:
        return one
    summed = dict(one)
    for unit, amount in other.items():
        summed[unit] = summed.get(unit, 0) + times * amount
    return summed


# -- decisions ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Status:
    """How much of a limit is used and held in the window of a time."""

    limit: Limit
    used: int
    held: int
    resets_at: datetime | None


@dataclass(frozen=True, slots=True)
class Granted:
    """`entry` holds; `warnings` are the soft limits that are reached and were not reported yet."""

    entry: Held
    warnings: tuple[Status, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """There is no room below a hard limit; `may_free`: open holds take what there was of it."""

    status: Status
    may_free: bool


@dataclass(frozen=True, slots=True)
class Occupied:
    """The holder has a hold of another runner, or of another call."""

    hold: Hold


def hold(
    balance: Balance, limits: Sequence[Limit], wanted: Held, least: Mapping[Unit, int]
) -> Granted | Refused | Occupied:
    """Hold as much of what is wanted as there is room for, but not less than `least` of each unit.

    A hold of the same runner for the same call is replaced by the new one.
    """
    before = balance.holds.get(wanted.holder)
    if before is not None and (before.call, before.runner) != (wanted.call, wanted.runner):
        return Occupied(before)
    own: Mapping[Unit, int] = {} if before is None else before.amounts
    amounts = dict(wanted.amounts)
    for limit in limits:
        if limit.hard_amount is None or limit.unit not in amounts:
            continue
        status = status_of(balance, limit, wanted.time)
        held = status.held - own.get(limit.unit, 0)
        room = limit.hard_amount - status.used - held
        needed = least.get(limit.unit, 0)
        if room < needed:
            return Refused(status, may_free=limit.hard_amount - status.used >= needed)
        amounts[limit.unit] = min(amounts[limit.unit], room)
    entry = wanted.model_copy(update={"amounts": amounts})
    return Granted(entry, _warnings(balance.after([entry]), limits, wanted.time))


def _warnings(balance: Balance, limits: Iterable[Limit], now: datetime) -> tuple[Status, ...]:
    found = (status_of(balance, limit, now) for limit in limits if limit.soft is not None)
    return tuple(
        one
        for one in found
        if one.used + one.held >= (one.limit.soft_amount or 0)
        and not balance.is_warned(one.limit, now)
    )


def status_of(balance: Balance, limit: Limit, now: datetime) -> Status:
    """Holds count in every window, also one that was made in the window before."""
    return Status(
        limit,
        balance.used(limit.period, limit.unit, now),
        balance.held.get(limit.unit, 0),
        ends_at(limit.period, now),
    )


# -- messages -----------------------------------------------------------------------------------


class Page(BaseModel):
    """One message of an account's ledger: entries that were stored together.

    `page_id` tells an unanswered message from another one. `balance` is that after the entries;
    where it is absent, `since` is the stream position of the newest message that has one.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    page_id: str
    entries: tuple[Entry, ...]
    balance: Balance | None = None
    since: int | None = None


PAGE: TypeAdapter[Page] = TypeAdapter(Page)
