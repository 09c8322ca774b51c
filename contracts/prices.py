"""What a model call costs: one table for the service that states it and those that count it."""

import re
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

from contracts.events.parts import Tokens
from contracts.events.turn import UsageRecorded

_DATE = re.compile(r"-\d{4}-?\d{2}-?\d{2}$")

Known = TypeVar("Known")


class Price(BaseModel):
    """What a thousand tokens cost, in US dollars."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)


Prices = Mapping[str, Price]

PRICES: Prices = {
    "o3-mini": Price(prompt=0.0011, completion=0.0044),
    "gpt-4.1-nano": Price(prompt=0.0001, completion=0.0004),
    "gpt-4o-mini": Price(prompt=0.00015, completion=0.0006),
}


def priced(own: Prices) -> Prices:
    """The table with an operator's own prices in it; theirs go over ours."""
    return {**PRICES, **own}


def known_of(model: str | None, table: Mapping[str, Known]) -> Known | None:
    """What a table says of a model: a dated release is what its model is."""
    name = model or ""
    return table.get(name) or table.get(_DATE.sub("", name))


def cost_of(model: str | None, tokens: Tokens, prices: Prices) -> float | None:
    """What a call cost; none for a model without a price."""
    price = known_of(model, prices)
    if price is None:
        return None
    prompt, completion = tokens.prompt or 0.0, tokens.completion or 0.0
    return (prompt * price.prompt + completion * price.completion) / 1000


def cost_told(usage: UsageRecorded, prices: Prices) -> float:
    """What a recorded call cost: as it says itself, else (earlier releases said nothing) by the table."""
    if usage.cost is not None:
        return usage.cost
    return cost_of(usage.model, usage.tokens, prices) or 0.0
