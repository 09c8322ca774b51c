"""What one run of a chat holds of the budgets that it counts in, and settles.

The truth about what was used is the chat's log: a process that is killed leaves a hold, and whoever
continues the run settles it by the log.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from contracts.budget_ledger import (
    Balance,
    Entry,
    Granted,
    Held,
    Occupied,
    Refused,
    Status,
    Warned,
    hold,
)
from contracts.budgets import Account, AccountLimits, Limit, limits_of_call
from contracts.events import Event
from contracts.events.turn import UsageRecorded
from contracts.ids import WorkflowName
from contracts.prices import Prices
from services.chassis.budgets.account import Decided
from services.chassis.budgets.ledgers import BudgetLedgers
from services.chassis.budgets.limits import BudgetLimits
from services.chassis.budgets.storage import StorageQuota
from services.chassis.tasks import cancel_and_wait
from services.orchestrator.domain.call_budget import (
    BudgetUsedUpError,
    PlannedCall,
    end_of_hold,
    entry_for_lost_run,
    first_hard_cost_limit,
    tokens_of_chars,
    usage_of_stopped_call,
    warned,
)
from services.orchestrator.runtime.chat_log import ChatLog, Clock

WAIT_SECONDS = 5.0
"""How long a call waits for room that other calls hold and may not use."""
RETRY_SECONDS = 0.1
MAX_TAKEOVERS = 5
"""How often a hold of another delivery is cleared away before a call, which takes one attempt."""


class CallBudget(Protocol):
    """The budgets of a chat, as those see them who call its models."""

    @property
    def is_limited(self) -> bool:
        """Whether any limit holds for the chat: if not, nothing below does anything."""
        ...

    async def hold(self, call: PlannedCall) -> None:
        """Hold what a call is likely to use. Raises BudgetUsedUpError, NatsUnavailableError, and
        FencedError or SupersededError where the chat is another delivery's by now.
        """
        ...

    async def streamed(self, chars: int) -> None:
        """More of the answer has come: hold more before it exceeds the hold. Raises as `hold`."""
        ...

    def restart(self) -> None:
        """The answer begins anew."""

    def settle(self) -> None:
        """The call is over, and what it used is in the log: settle its hold, in the background."""


class NoBudget:
    """The budget of a chat that nothing limits."""

    is_limited = False

    async def hold(self, call: PlannedCall) -> None:
        pass

    async def streamed(self, chars: int) -> None:
        pass

    def restart(self) -> None:
        pass

    def settle(self) -> None:
        pass


NO_BUDGET = NoBudget()


@dataclass(frozen=True, slots=True)
class Budgets:
    """What all chats of a process share."""

    limits: BudgetLimits
    ledgers: BudgetLedgers
    prices: Prices
    clock: Clock
    storage: StorageQuota | None = None

    def of(self, log: ChatLog) -> "ChatBudget":
        return ChatBudget(self, log)


class ChatBudget:
    """The budgets of one chat, for one run of it. Close it at the end of the run."""

    def __init__(self, budgets: Budgets, log: ChatLog) -> None:
        self._budgets = budgets
        self._log = log
        self._holder = log.key.chat
        self._call: PlannedCall | None = None
        self._held: dict[Account, Held] = {}
        self._chars = 0
        self._enough_for = 0
        self._settling: asyncio.Task[None] | None = None

    @property
    def is_limited(self) -> bool:
        return bool(self._budgets.limits.of(self._log.key.app)) and bool(self._accounts())

    async def hold(self, call: PlannedCall) -> None:
        """See CallBudget."""
        accounts = self._accounts()
        await self._settled()
        self._call, self._chars, self._enough_for = call, 0, 0
        if not accounts:
            return
        if call.is_unpriced:
            self._refuse_unpriced(call, accounts)
        try:
            await self._hold(call, accounts, call.first_answer_tokens, least=1)
        except BudgetUsedUpError:
            self.settle()  # what other accounts have granted: the call is not made
            await self._settled()
            raise

    async def streamed(self, chars: int) -> None:
        """See CallBudget."""
        call = self._call
        if call is None or not self._held:
            return
        self._chars += chars
        tokens = tokens_of_chars(self._chars)
        if tokens < self._enough_for:
            return
        accounts = [one for one in self._accounts() if one[0] in self._held]
        await self._hold(call, accounts, call.next_answer_tokens(tokens), least=tokens)

    def restart(self) -> None:
        """See CallBudget."""
        self._chars = 0

    def settle(self) -> None:
        """See CallBudget."""
        if self._held:
            held, self._held = self._held, {}
            self._settling = asyncio.create_task(self._settle(held), name="settle a budget")

    async def aclose(self) -> None:
        """Settle what is held. Raises NatsUnavailableError: then a later delivery settles it."""
        self.settle()
        await self._settled()

    async def abandon(self) -> None:
        """As `aclose` where the run fails anyway: what it holds is left to the next delivery."""
        if self._settling is not None:
            await cancel_and_wait(self._settling)

    async def take_over(self) -> None:
        """Settle, release or continue what an earlier delivery holds. Raises NatsUnavailableError."""
        for account, _ in self._accounts():
            await self._take_over(account)

    async def usage_of_stopped_call(self) -> UsageRecorded | None:
        """What the open model call has used that was stopped; None where nothing was held for it."""
        turn = self._log.state.running_turn
        if turn is None or turn.open_request is None:
            return None
        for account, _ in self._accounts():
            found = (await self._budgets.ledgers.read(account)).holds.get(self._holder)
            if found is not None and found.call == self._number:
                shown = self._log.shown.of(turn.number, turn.open_request.call)
                chars = max(self._chars, sum(map(len, shown.values())))
                return usage_of_stopped_call(found, turn, chars, self._budgets.prices)
        return None

    # -- parts ---------------------------------------------------------------------------------

    @property
    def _number(self) -> str:
        """The name of the chat's next usage: each call is to lead to one."""
        return str(self._log.state.usage.number)

    def _accounts(self) -> list[AccountLimits]:
        key, state = self._log.key, self._log.state
        limits = self._budgets.limits.of(key.app)
        if not limits:
            return []
        workflow = state.workflow or WorkflowName("")
        return limits_of_call(limits, key.app, state.user, workflow, key.chat)

    def _refuse_unpriced(self, call: PlannedCall, accounts: Sequence[AccountLimits]) -> None:
        """Raises BudgetUsedUpError where a cost is limited that nobody can know."""
        for _, limits in accounts:
            if (limit := first_hard_cost_limit(limits)) is not None:
                raise BudgetUsedUpError(Status(limit, 0, 0, None), call.model, unpriced=True)

    async def _hold(
        self,
        call: PlannedCall,
        accounts: Sequence[AccountLimits],
        answer_tokens: int,
        least: int,
    ) -> None:
        """Hold in all accounts at once; one that refuses ends the call, and the others are settled."""
        wanted = Held(
            time=self._budgets.clock(),
            holder=self._holder,
            call=self._number,
            runner=self._log.delivery.runner,
            amounts=call.amounts(answer_tokens),
            prompt_tokens=call.prompt_tokens,
            model=call.model,
        )
        answers = await asyncio.gather(
            *(self._granted(account, limits, wanted, call, least) for account, limits in accounts),
            return_exceptions=True,
        )
        warnings: list[tuple[Account, Status]] = []
        errors: list[BaseException] = []
        for (account, _), answer in zip(accounts, answers, strict=True):
            if isinstance(answer, BaseException):
                errors.append(answer)
                continue
            self._held[account] = answer.entry
            warnings += [(account, status) for status in answer.warnings]
        if errors:
            raise errors[0]
        self._enough_for = self._enough(call, answer_tokens)
        if warnings:
            await self._warn(warnings)

    def _enough(self, call: PlannedCall, answer_tokens: int) -> int:
        """For how long an answer every hold is enough."""
        low, high = 0, answer_tokens
        while low < high:
            middle = (low + high + 1) // 2
            if all(call.is_within(held.amounts, middle) for held in self._held.values()):
                low = middle
            else:
                high = middle - 1
        return low

    async def _granted(
        self,
        account: Account,
        limits: Sequence[Limit],
        wanted: Held,
        call: PlannedCall,
        least: int,
    ) -> Granted:
        """Raises BudgetUsedUpError once there is no room, and none may become free soon."""

        def decide(balance: Balance) -> Decided[Granted | Refused | Occupied]:
            answer = hold(balance, limits, wanted, call.amounts(least))
            return Decided([answer.entry] if isinstance(answer, Granted) else [], answer)

        deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
        takeovers = 0
        while True:
            match await self._budgets.ledgers.decide(account, decide):
                case Granted() as granted:
                    return granted
                case Refused(may_free=True) if asyncio.get_running_loop().time() < deadline:
                    await asyncio.sleep(RETRY_SECONDS)
                case Refused(status=status):
                    raise BudgetUsedUpError(status, call.model)
                case Occupied() if takeovers < MAX_TAKEOVERS:
                    takeovers += 1
                    await self._log.refresh()
                    self._log.check_ownership()
                    await self._take_over(account)
                case Occupied(hold=other):
                    raise BudgetOccupiedError(f"{account}: {other.runner} holds {other.call}")

    async def _take_over(self, account: Account) -> None:
        def decide(balance: Balance) -> Decided[None]:
            found = balance.holds.get(self._holder)
            own = self._log.delivery
            if found is None or found.runner == own.runner:
                return Decided([], None)
            entry = entry_for_lost_run(
                found, self._holder, self._log.state, own, self._budgets.clock()
            )
            return Decided([] if entry is None else [entry], None)

        await self._budgets.ledgers.decide(account, decide)

    async def _settle(self, held: dict[Account, Held]) -> None:
        ledgers = self._budgets.ledgers
        await asyncio.gather(
            *(ledgers.decide(account, partial(self._end, one)) for account, one in held.items())
        )

    def _end(self, held: Held, balance: Balance) -> Decided[None]:
        """The end of an own hold; nothing where somebody else has ended or resumed it."""
        found = balance.holds.get(self._holder)
        if found is None or (found.call, found.runner) != (held.call, held.runner):
            return Decided([], None)
        end = end_of_hold(found, self._holder, self._log.state, self._budgets.clock())
        return Decided([end], None)

    async def _settled(self) -> None:
        if self._settling is not None:
            settling, self._settling = self._settling, None
            await settling

    async def _warn(self, warnings: Sequence[tuple[Account, Status]]) -> None:
        """Tell the chat first: after a crash in between it is told again."""
        events: list[Event] = [warned(status) for _, status in warnings]
        await self._log.append(lambda state: [] if state.ended else events)
        for account, status in warnings:
            limit = status.limit
            entry = Warned(time=self._budgets.clock(), unit=limit.unit, period=limit.period)
            await self._budgets.ledgers.decide(account, partial(_storing, entry))


def _storing(entry: Entry, _: Balance) -> Decided[None]:
    return Decided([entry], None)


class BudgetOccupiedError(RuntimeError):
    """Other deliveries hold a budget for this chat again and again: the command is retried."""
