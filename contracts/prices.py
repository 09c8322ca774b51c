"""Prices of models: one table for the service that records a cost and those that add costs up."""

import re
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

from contracts.events.parts import Tokens
from contracts.events.turn import UsageRecorded

_DATE = re.compile(r"-\d{4}-?\d{2}-?\d{2}$")

Known = TypeVar("Known")


class Price(BaseModel):
    """Price of a thousand tokens, in US dollars.

    Tokens of the prompt that the provider reads from its cache, or writes to it, may have another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)
    cache_read: float | None = Field(default=None, ge=0)
    cache_creation: float | None = Field(default=None, ge=0)


Prices = Mapping[str, Price]

PRICES: Prices = {
    "o3-mini": Price(prompt=0.0011, completion=0.0044),
    "gpt-4.1-nano": Price(prompt=0.0001, completion=0.0004),
    "gpt-4o-mini": Price(prompt=0.00015, completion=0.0006),
}


def with_own_prices(own: Prices) -> Prices:
    """The table with an operator's own prices, which come first."""
    return {**PRICES, **own}


def find_by_model(model: str | None, table: Mapping[str, Known]) -> Known | None:
    """The entry of a model; a dated release has the entry of its model."""
    name = model or ""
    return table.get(name) or table.get(_DATE.sub("", name))


def cost_of(model: str | None, tokens: Tokens, prices: Prices) -> float | None:
    """Cost of a call in US dollars; none for a model without a price."""
    price = find_by_model(model, prices)
    if price is None:
        return None
    read, written = tokens.cache_read or 0.0, tokens.cache_creation or 0.0
    other = max((tokens.prompt or 0.0) - read - written, 0.0)
    read_price = price.prompt if price.cache_read is None else price.cache_read
    written_price = price.prompt if price.cache_creation is None else price.cache_creation
    completion = (tokens.completion or 0.0) * price.completion
    return (other * price.prompt + read * read_price + written * written_price + completion) / 1000


def recorded_cost(usage: UsageRecorded, prices: Prices) -> float:
    """Cost of a recorded call: the recorded one, else (events of earlier releases) by the table."""
    if usage.cost is not None:
        return usage.cost
    return cost_of(usage.model, usage.tokens, prices) or 0.0
