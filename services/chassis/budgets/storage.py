"""Quotas of stored bytes: held before an object is stored, settled once it is, counted anew on demand."""

from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from pydantic_core import from_json

from contracts import subjects
from contracts.budget_ledger import (
    Balance,
    Counted,
    Entry,
    Granted,
    Held,
    Occupied,
    Refused,
    Released,
    Settled,
    hold,
)
from contracts.budgets import STORAGE_UNITS, Account, Limit, Unit, limits_of_storage
from contracts.ids import AppId
from contracts.subjects import token
from services.chassis.budgets.account import Decided
from services.chassis.budgets.ledgers import BudgetLedgers
from services.chassis.budgets.limits import BudgetLimits
from services.chassis.jetstream.direct_get import BEFORE_FIRST
from services.chassis.jetstream.errors import MessageTooLargeError
from services.chassis.jetstream.gateway import JetStreamGateway

Clock = Callable[[], datetime]
_CALL = "store"
_STORES: dict[Unit, str] = {"upload_bytes": subjects.ATTACHMENTS, "value_bytes": subjects.VALUES}


class StorageUsedUpError(MessageTooLargeError):
    """The app may not store so many bytes more; `limit` is how many it may."""

    def __init__(self, name: str, size: int, left: int) -> None:
        super().__init__(name, size, left)


class Reservation:
    """Room for one object; what was really stored of it is to be noted."""

    def __init__(self) -> None:
        self.stored = 0


class StorageQuota:
    """The quotas of all apps, for one process."""

    def __init__(self, limits: BudgetLimits, ledgers: BudgetLedgers, clock: Clock) -> None:
        self._limits = limits
        self._ledgers = ledgers
        self._clock = clock

    def applies(self, app: AppId, unit: Unit) -> bool:
        """Whether an app has a quota of this unit."""
        return bool(self._limits_of(app, unit))

    @asynccontextmanager
    async def reserve(
        self, app: AppId, unit: Unit, name: str, size: int
    ) -> AsyncIterator[Reservation]:
        """Room for an object of `size` bytes while it is being stored. Raises StorageUsedUpError.

        Raises NatsUnavailableError, too. After a crash the room stays held until the same object is
        stored, or the app's objects are counted again.
        """
        reserved, limits = Reservation(), self._limits_of(app, unit)
        account = Account(app, "storage")
        wanted = Held(
            time=self._clock(), holder=name, call=_CALL, runner=_CALL, amounts={unit: size}
        )

        def decide(balance: Balance) -> Decided[Granted | Refused | Occupied]:
            answer = hold(balance, limits, wanted, {unit: size})
            return Decided([answer.entry] if isinstance(answer, Granted) else [], answer)

        answer = await self._ledgers.decide(account, decide)
        if isinstance(answer, Refused):
            hard = answer.status.limit.hard_amount or 0
            left = max(hard - answer.status.used - answer.status.held, 0)
            raise StorageUsedUpError(name, size, left)
        try:
            yield reserved
        finally:
            await self._end(account, unit, name, reserved.stored)

    def _limits_of(self, app: AppId, unit: Unit) -> tuple[Limit, ...]:
        return tuple(one for one in limits_of_storage(self._limits.of(app)) if one.unit == unit)

    async def _end(self, account: Account, unit: Unit, name: str, stored: int) -> None:
        now = self._clock()
        entry: Entry = (
            Settled(time=now, holder=name, call=_CALL, used={unit: stored})
            if stored
            else Released(time=now, holder=name, call=_CALL)
        )
        await self._ledgers.decide(account, lambda _: Decided([entry], None))

    async def count(self, gateway: JetStreamGateway, app: AppId) -> dict[Unit, int]:
        """Count what is stored for an app by a scan of the stores, and begin anew from there.

        Holds are released: those of stores that are under way are missed, until the next count.
        Raises NatsUnavailableError.
        """
        found: dict[Unit, int] = {unit: await _stored(gateway, app, unit) for unit in STORAGE_UNITS}
        now = self._clock()

        def decide(balance: Balance) -> Decided[None]:
            released = [Released(time=now, holder=one, call=_CALL) for one in balance.holds]
            return Decided([*released, Counted(time=now, used=found)], None)

        await self._ledgers.decide(Account(app, "storage"), decide)
        return found


async def _stored(gateway: JetStreamGateway, app: AppId, unit: Unit) -> int:
    """The bytes of all objects of an app in a store."""
    store, own = _STORES[unit], f"{token(app, 'app_id')}."
    stream, metas = subjects.object_stream(store), f"$O.{store}.M.>"
    newest = await gateway.reader.last(stream, metas)
    if newest is None:
        return 0
    total = 0
    async for message in gateway.reader.pages(stream, metas, BEFORE_FIRST, goal=newest.position):
        name = urlsafe_b64decode(message.subject.rpartition(".")[2]).decode(errors="replace")
        if name.startswith(own):
            info: dict[str, Any] = from_json(message.data)
            total += 0 if info.get("deleted") else int(info.get("size") or 0)
    return total
