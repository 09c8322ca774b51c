"""Models of the routes of budgets."""

from collections.abc import Iterable
from typing import Self

from pydantic import Field

from contracts.budget_report import LimitUse
from contracts.budgets import Period, Scope, Unit
from contracts.wire.json_values import MAX_SAFE_INTEGER
from services.transport.http.models.base import LATER, RequestModel, ResponseModel, Timestamp


class LimitForm(RequestModel):
    """A limit to be set; it replaces the one of its scope, name, unit and period."""

    scope: Scope = Field(
        default="app",
        description="Whose use is added up: all of the app, or each of these.",
        examples=["user"],
    )
    name: str | None = Field(
        default=None,
        description="The one user, workflow or chat that it is for; null: each of them.",
        examples=["ana"],
    )
    unit: Unit = Field(description="What is counted; `cost` is in US dollars.", examples=["tokens"])
    period: Period = Field(
        default="total", description="After which it begins at 0 again, in UTC.", examples=["day"]
    )
    soft: float | None = Field(
        default=None, description="Where the chat is warned.", examples=[80000]
    )
    hard: float | None = Field(default=None, description="Where an answer ends.", examples=[100000])


class LimitStatus(ResponseModel):
    """A limit, and what is used of it now. Tokens, bytes, or US dollars for `cost`."""

    scope: Scope = Field(description="Whose use is added up.", examples=["user"])
    name: str | None = Field(
        description="Whose numbers these are; null for the app, or where nobody was asked for.",
        examples=["ana"],
    )
    unit: Unit = Field(description="What is counted.", examples=["tokens"])
    period: Period = Field(
        description="After which it begins at 0 again, in UTC.", examples=["day"]
    )
    soft: float | None = Field(
        description="Where the chat is warned; null: nowhere.", examples=[80000]
    )
    hard: float | None = Field(
        description="Where an answer ends; null: nowhere.", examples=[100000]
    )
    used: float | None = Field(
        description="In the window of now; null where nobody was asked for.", examples=[4200]
    )
    held: float | None = Field(description="By calls that are under way.", examples=[1100])
    repeated: float | None = Field(
        description="Of `used`: calls that were made again after their process was lost.",
        examples=[0],
    )
    left: float | None = Field(description="Below `hard`.", examples=[94700])
    calls: int | None = Field(
        le=MAX_SAFE_INTEGER,
        description="Calls in the period; null where nobody was asked for.",
        examples=[3],
    )
    resets_at: Timestamp | None = Field(description="When the period ends.", examples=[LATER])


class BudgetPage(ResponseModel):
    """The limits of an app, or those of a user, and what is used of them."""

    limits: list[LimitStatus] = Field(description="The limits.", examples=[[]])

    @classmethod
    def of(cls, uses: Iterable[LimitUse]) -> Self:
        return cls(limits=[LimitStatus(**one.model_dump()) for one in uses])
