"""The ledgers that a process has open: one per account, the least recently used are closed."""

from collections import OrderedDict
from collections.abc import Callable

from contracts import subjects
from contracts.budget_ledger import Balance
from contracts.budgets import Account
from services.chassis.budgets.account import Decided, LedgerAccount, Result
from services.chassis.jetstream.gateway import JetStreamGateway

MAX_OPEN = 4096
"""Accounts whose balance a process remembers; another one is opened by two small reads."""


class BudgetLedgers:
    """Every account, over one connection."""

    def __init__(self, gateway: JetStreamGateway) -> None:
        self._gateway = gateway
        self._open: OrderedDict[Account, LedgerAccount] = OrderedDict()

    async def decide(
        self, account: Account, decide: Callable[[Balance], Decided[Result]]
    ) -> Result:
        """See `LedgerAccount.decide`. Raises InvalidIdError, NatsUnavailableError."""
        return await self._account(account).decide(decide)

    async def read(self, account: Account) -> Balance:
        """The newest balance. Raises InvalidIdError, NatsUnavailableError."""
        return await self._account(account).read()

    async def aclose(self) -> None:
        for one in self._open.values():
            await one.aclose()
        self._open.clear()

    def _account(self, account: Account) -> LedgerAccount:
        found = self._open.get(account)
        if found is None:
            subject = subjects.ledger(account.app, account.scope, account.name)
            found = self._open[account] = LedgerAccount(self._gateway, subject)
            self._close_oldest()
        self._open.move_to_end(account)
        return found

    def _close_oldest(self) -> None:
        """Idle ones need no closing: they have no task."""
        while len(self._open) > MAX_OPEN:
            idle = next((key for key, one in self._open.items() if one.is_idle), None)
            if idle is None:
                return
            del self._open[idle]
