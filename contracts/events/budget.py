"""Events of budgets: a limit that is nearly used up, and one that ends an answer."""

from datetime import datetime
from typing import ClassVar, Literal

from contracts.budgets import Period, Scope, Unit
from contracts.events.body import EventBody
from contracts.ids import AgentName


class BudgetWarned(EventBody):
    """A soft limit is reached: of the app, or of the chat's user, workflow or the chat itself.

    `used` is what is used and held, `soft` and `hard` are the limits: tokens, or US dollars for
    `cost`. `resets_at` is when the period ends, none where it is `total`. It comes once per window
    of the period, in the chat that reached the limit; after a crash it may come again.
    """

    type: ClassVar[str] = "budget.warned"
    scope: Scope
    unit: Unit
    period: Period
    used: float
    soft: float
    hard: float | None = None
    resets_at: datetime | None = None


class BudgetExceeded(EventBody):
    """A hard limit ends the answer, before a model call or in the middle of one; the chat waits.

    The fields are those of `budget.warned`; `used` includes what other answers hold. `unpriced`:
    the cost of calls is limited and `model` has no price, so that it is not called.
    `turn.stop_requested` follows.
    """

    type: ClassVar[str] = "budget.exceeded"
    turn: int
    agent: AgentName
    scope: Scope
    unit: Unit
    period: Period
    used: float
    hard: float
    resets_at: datetime | None = None
    reason: Literal["used_up", "unpriced"] = "used_up"
    model: str | None = None
