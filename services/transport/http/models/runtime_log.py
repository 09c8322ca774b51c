"""Models of the route of the runtime log."""

from typing import Self

from pydantic import Field

from contracts.runtime_log import ModelCall, ModelCallsFound
from services.transport.http.models.base import CHAT_ID, EARLIER, LATER, ResponseModel

NEXT = f"1790000000000.acme.{CHAT_ID}.6"
EXAMPLE = {
    "app_id": "acme",
    "chat_id": CHAT_ID,
    "workflow_name": "Shop",
    "seq": 6,
    "turn": 1,
    "call": 0,
    "agent": "Cashier",
    "provider": "openai",
    "model": "gpt-4o-mini-2024-07-18",
    "started_at": EARLIER,
    "ended_at": LATER,
    "duration": 1.204,
    "time_to_first_chunk": 0.311,
    "tokens": {
        "prompt": 812,
        "completion": 45,
        "total": 857,
        "cache_read": None,
        "cache_creation": None,
        "thinking": None,
    },
    "cost": 0.00014880,
    "cached": False,
    "request_digest": "5f2c0e9be65e8c1e43a42b7a3f5a2a3a0d5d1f4d7e5a7f0d8f5b0c3a9e1d2c4b",
}


class RuntimeLogPage(ResponseModel):
    """Model calls in the order in which they ended, without anything of what was asked or answered."""

    calls: list[ModelCall] = Field(description="The model calls.", examples=[[EXAMPLE]])
    next: str | None = Field(
        description="The `cursor` of the next page; null at the end.", examples=[NEXT]
    )

    @classmethod
    def of(cls, found: ModelCallsFound) -> Self:
        return cls(calls=found.calls, next=found.next)
