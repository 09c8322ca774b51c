"""Models of the routes that erase chats."""

from datetime import datetime
from typing import Literal, Self

from pydantic import Field

from contracts.erasure import ErasedCounts, Erasure
from services.transport.http.models.base import EARLIER, LATER, ResponseModel


class ErasureStatus(ResponseModel):
    """What is to be erased, and how far it is."""

    app_id: str = Field(examples=["acme"])
    user_id: str | None = Field(description="All chats of this user.", examples=["ana"])
    chat_id: str | None = Field(description="This chat alone.", examples=[None])
    with_forks: bool = Field(description="And the forks that read it.", examples=[False])
    state: Literal["requested", "done", "failed"] = Field(examples=["done"])
    requested_at: datetime = Field(examples=[EARLIER])
    ended_at: datetime | None = Field(examples=[LATER])
    erased: ErasedCounts = Field(
        examples=[{"chats": 3, "messages": 120, "objects": 2, "documents": 48}]
    )
    problem: str | None = Field(description="Why it failed.", examples=[None])

    @classmethod
    def of(cls, erasure: Erasure) -> Self:
        return cls(**erasure.model_dump(exclude={"erased"}), erased=erasure.erased)
