"""Decide what a model call holds of a budget, and what becomes of a hold whose process is gone."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from math import ceil

from contracts.budget_ledger import Amounts, Entry, Hold, Released, Resumed, Settled, Status
from contracts.budgets import Limit, from_amount, to_amount
from contracts.events.budget import BudgetExceeded, BudgetWarned
from contracts.events.parts import Tokens, text_of
from contracts.events.turn import ToolReturned, UsageRecorded
from contracts.ids import DeliveryId, RunnerId, delivery_of
from contracts.prices import Prices, cost_of, find_by_model
from services.orchestrator.domain.agent_conversation import ConversationSize
from services.orchestrator.domain.state import ChatState
from services.orchestrator.domain.turn import Turn

CHARS_PER_TOKEN = 4
"""An estimate, used where no provider has counted the tokens; some scripts have fewer."""
FIRST_ANSWER_TOKENS = 1024
"""What is held for an answer at first; it doubles as the answer comes near it."""


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A model call that is about to be made.

    `prices` is none for a model that costs nothing because no provider is asked.
    """

    model: str
    prompt_tokens: int
    max_tokens: int | None
    prices: Prices | None

    @property
    def is_unpriced(self) -> bool:
        return self.prices is not None and find_by_model(self.model, self.prices) is None

    def amounts(self, answer_tokens: int) -> Amounts:
        """What the call uses if its answer has so many tokens."""
        tokens = Tokens(prompt=self.prompt_tokens, completion=answer_tokens)
        cost = 0.0 if self.prices is None else cost_of(self.model, tokens, self.prices) or 0.0
        return {
            "tokens": self.prompt_tokens + answer_tokens,
            "cost": to_amount("cost", cost),
        }

    @property
    def first_answer_tokens(self) -> int:
        return min(self.max_tokens or FIRST_ANSWER_TOKENS, FIRST_ANSWER_TOKENS)

    def next_answer_tokens(self, streamed: int) -> int:
        """How long an answer may be that has so many tokens by now: twice as long, within its limit."""
        doubled = max(2 * streamed, streamed + 1)
        return doubled if self.max_tokens is None else max(min(doubled, self.max_tokens), streamed)

    def is_within(self, held: Amounts, answer_tokens: int) -> bool:
        """Whether a hold is enough for an answer of so many tokens."""
        return all(held.get(unit, 0) >= need for unit, need in self.amounts(answer_tokens).items())


def tokens_of_chars(chars: int) -> int:
    return ceil(chars / CHARS_PER_TOKEN)


def prompt_tokens(before: ConversationSize, instruction_chars: int, turn: Turn | None) -> int:
    """The tokens of the next request of a turn: the newest count, and an estimate of what came since.

    `before` is the size of the conversation before the turn, `instruction_chars` that of prompt and
    tools.
    """
    chars = 0
    results = {} if turn is None else turn.tool_results
    for response in reversed(() if turn is None else turn.responses):
        chars += sum(_chars(results.get(call.id)) for call in response.tool_calls)
        if response.tokens.prompt:
            known = response.tokens.prompt + (response.tokens.completion or 0)
            return ceil(known) + tokens_of_chars(chars)
        chars += len(response.text or "") + sum(len(one.arguments) for one in response.tool_calls)
    counted = before.counted
    if counted is None:
        return tokens_of_chars(instruction_chars + before.chars + chars)
    known = (counted.tokens.prompt or 0) + (counted.tokens.completion or 0)
    return ceil(known) + tokens_of_chars(before.chars_since + chars)


def _chars(result: ToolReturned | None) -> int:
    return 0 if result is None else len(text_of(result.parts))


def used_by(usage: UsageRecorded) -> Amounts:
    """What a call that is in the log has used; an answer that was recorded earlier costs nothing."""
    if usage.cached:
        return {"tokens": 0, "cost": 0}
    tokens = (usage.tokens.prompt or 0) + (usage.tokens.completion or 0)
    return {"tokens": round(tokens), "cost": to_amount("cost", usage.cost or 0.0)}


def end_of_hold(hold: Hold, holder: str, state: ChatState, now: datetime) -> Settled | Released:
    """How the hold of a call ends that is over: by its usage in the log, if that is there."""
    usage = state.usage
    if usage.event is not None and _is_usage_of(hold, state):
        used = used_by(usage.event)
        return Settled(time=now, holder=holder, call=hold.call, used=used)
    return Released(time=now, holder=holder, call=hold.call)


def entry_for_lost_run(
    hold: Hold, holder: str, state: ChatState, own: DeliveryId, now: datetime
) -> Entry | None:
    """What becomes of a hold that another delivery made; None if it is not for this one to say.

    The log tells: the usage that the hold's own runner has recorded settles it. A hold of an earlier
    delivery of the same command, or of a chat that this delivery owns, is released, unless its call
    is open and is about to be repeated.
    """
    if state.usage.number > int(hold.call):
        return end_of_hold(hold, holder, state, now)
    is_owner = state.owner is not None and state.owner.message == own.message
    other = delivery_of(RunnerId(hold.runner))
    if not is_owner and (other is None or other.message != own.message):
        return None
    turn = state.running_turn
    if is_owner and turn is not None and turn.open_request is not None:
        return Resumed(time=now, holder=holder, runner=own.runner)
    return Released(time=now, holder=holder, call=hold.call)


def _is_usage_of(hold: Hold, state: ChatState) -> bool:
    usage = state.usage
    return usage.number == int(hold.call) + 1 and usage.runner == hold.runner


def usage_of_stopped_call(
    hold: Hold, turn: Turn, shown_chars: int, prices: Prices
) -> UsageRecorded:
    """An estimate of what a call has used that was stopped: its prompt, and the text that came."""
    request = turn.open_request
    tokens = Tokens(prompt=hold.prompt_tokens, completion=tokens_of_chars(shown_chars))
    return UsageRecorded(
        turn=turn.number,
        call=0 if request is None else request.call,
        agent=turn.agent,
        model=hold.model or None,
        tokens=tokens,
        duration=0.0,
        cost=cost_of(hold.model, tokens, prices),
        estimated=True,
    )


def first_hard_cost_limit(limits: Iterable[Limit]) -> Limit | None:
    return next((one for one in limits if one.unit == "cost" and one.hard is not None), None)


def warned(status: Status) -> BudgetWarned:
    limit = status.limit
    return BudgetWarned(
        scope=limit.scope,
        unit=limit.unit,
        period=limit.period,
        used=from_amount(limit.unit, status.used + status.held),
        soft=limit.soft or 0.0,
        hard=limit.hard,
        resets_at=status.resets_at,
    )


class BudgetUsedUpError(Exception):
    """There is no room for a model call, or for more of its answer."""

    def __init__(self, status: Status, model: str, *, unpriced: bool = False) -> None:
        super().__init__(f"{status.limit.scope} {status.limit.unit} {status.limit.period}")
        self.status = status
        self.model = model
        self.unpriced = unpriced

    def exceeded(self, turn: Turn) -> BudgetExceeded:
        limit = self.status.limit
        return BudgetExceeded(
            turn=turn.number,
            agent=turn.agent,
            scope=limit.scope,
            unit=limit.unit,
            period=limit.period,
            used=from_amount(limit.unit, self.status.used + self.status.held),
            hard=limit.hard or 0.0,
            resets_at=self.status.resets_at,
            reason="unpriced" if self.unpriced else "used_up",
            model=self.model,
        )
