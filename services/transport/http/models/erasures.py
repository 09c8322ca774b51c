"""Models of the routes that erase chats."""

from datetime import datetime
from typing import Literal, Self

from pydantic import Field

from contracts.erasure import ErasedCounts, Erasure
from services.transport.http.models.base import EARLIER, LATER, ResponseModel


class ErasureStatus(ResponseModel):
    """What is to be erased, and how far it is."""

    app_id: str = Field(description="The app whose chats they are.", examples=["acme"])
    user_id: str | None = Field(description="All chats of this user.", examples=["ana"])
    chat_id: str | None = Field(description="This chat alone.", examples=[None])
    with_forks: bool = Field(description="And the forks that read it.", examples=[False])
    state: Literal["requested", "done", "failed"] = Field(
        description="`requested`: persistence is at it, or will be.", examples=["done"]
    )
    requested_at: datetime = Field(description="When it was asked for.", examples=[EARLIER])
    ended_at: datetime | None = Field(
        description="When it was done or failed; null before.", examples=[LATER]
    )
    erased: ErasedCounts = Field(
        description="How much was removed.",
        examples=[{"chats": 3, "messages": 120, "objects": 2, "documents": 48}],
    )
    problem: str | None = Field(description="Why it failed.", examples=[None])

    @classmethod
    def of(cls, erasure: Erasure) -> Self:
        return cls(**erasure.model_dump(exclude={"erased"}), erased=erasure.erased)
