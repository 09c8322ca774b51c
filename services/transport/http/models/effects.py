"""Models of the routes of the effect ledger."""

from typing import Self

from pydantic import Field

from contracts.effects import CallEffect
from contracts.lookups import EffectsFound
from services.transport.http.models.base import CHAT_ID, EARLIER, LATER, ResponseModel

EFFECT_CURSOR = f"1790000000000.acme.{CHAT_ID}.8"
EXAMPLE = {
    "chat_id": CHAT_ID,
    "workflow_name": "Shop",
    "seq": 8,
    "turn": 1,
    "agent": "Cashier",
    "tool_call_id": "call-1",
    "tool": "charge_card",
    "effect": "once",
    "occasion": None,
    "idempotency_key": f"acme:{CHAT_ID}:1:call-1",
    "arguments": '{"cents": 500, "token": "[redacted]"}',
    "arguments_digest": "9a271f2a916b0b6ee6cecb2426f0b3206ef074578be55d9bc94f6f3fe3ab86aa",
    "approval": None,
    "attempts": [{"number": 1, "reason": "first", "time": EARLIER}],
    "doubts": [],
    "outcome": "ok",
    "resolved_by": None,
    "receipt": {"charge": "ch_17"},
    "error": None,
    "dispatched_at": EARLIER,
    "ended_at": LATER,
}


class EffectsPage(ResponseModel):
    """What tools have done to the world, oldest first: calls of tools that only read are left out."""

    effects: list[CallEffect] = Field(
        description="Fewer than asked for where a page would be too large.", examples=[[EXAMPLE]]
    )
    next: str | None = Field(
        description="The `cursor` of the next page; null at the end.", examples=[EFFECT_CURSOR]
    )

    @classmethod
    def of(cls, found: EffectsFound) -> Self:
        return cls(effects=found.effects, next=found.next)
