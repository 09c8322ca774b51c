"""Read how much of an app's limits is used, from its ledgers."""

from datetime import datetime

from contracts.budget_report import NOBODY, Asked, LimitUse, accounts_of, report
from contracts.ids import AppId
from services.chassis.budgets.ledgers import BudgetLedgers
from services.chassis.budgets.limits import BudgetLimits


async def read_report(
    limits: BudgetLimits, ledgers: BudgetLedgers, app: AppId, now: datetime, asked: Asked = NOBODY
) -> list[LimitUse]:
    """The limits of an app and what is used of them. Raises InvalidIdError, NatsUnavailableError."""
    own = limits.of(app)
    accounts = accounts_of(app, own, asked)
    balances = {account: await ledgers.read(account) for account, _ in accounts}
    return report(own, accounts, balances, now)
