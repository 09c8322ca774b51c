"""The budgets of a service: its limits are followed while it runs."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from services.chassis.budgets.ledgers import BudgetLedgers
from services.chassis.budgets.limits import BudgetLimits, BudgetSettings
from services.chassis.budgets.storage import StorageQuota
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.nats.unavailable import retry_until_available


@dataclass(frozen=True, slots=True)
class BudgetServices:
    limits: BudgetLimits
    ledgers: BudgetLedgers
    storage: StorageQuota


@asynccontextmanager
async def opened_budgets(
    gateway: JetStreamGateway, settings: BudgetSettings, clock: Callable[[], datetime]
) -> AsyncIterator[BudgetServices]:
    """Yields once the limits are known, however long NATS is away."""
    limits, ledgers = BudgetLimits(gateway, settings.configured_budgets()), BudgetLedgers(gateway)
    await retry_until_available(limits.start, "the limits of budgets")
    try:
        yield BudgetServices(limits, ledgers, StorageQuota(limits, ledgers, clock))
    finally:
        await limits.stop()
        await ledgers.aclose()
