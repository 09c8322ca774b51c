"""Models of the route that explains a chat."""

from pydantic import Field

from contracts.explanation import ChatAccount
from services.transport.http.models.base import CHAT_ID, LATER, Count, EventSequence, ResponseModel
from services.transport.http.models.budgets import LimitStatus

EXAMPLE = {
    "app_id": "acme",
    "chat_id": CHAT_ID,
    "workflow_name": "Shop",
    "user_id": "ana",
    "last_seq": 12,
    "waits_for": "answers",
    "since": LATER,
    "sentence": "It waits for an answer to Cashier since 2026-11-25 12:00:09 UTC.",
    "agent": "Cashier",
    "turn": 1,
    "questions": [],
    "calls": [],
    "last_error": None,
    "provider_wait": None,
    "runner": None,
    "causes": [],
}


class ReadModelLag(ResponseModel):
    """How far persistence is with the chat; null where it does not answer in time."""

    last_seq: EventSequence | None = Field(
        description="The last event that it knows.", examples=[12]
    )
    behind: Count | None = Field(description="Events that it does not know yet.", examples=[0])


class Explanation(ResponseModel):
    """What a chat waits for, since when, and why."""

    account: ChatAccount = Field(description="What its log says about it.", examples=[EXAMPLE])
    problem: str | None = Field(
        description="Why no orchestrator has explained it.", examples=[None]
    )
    total_tokens: Count = Field(description="Of all its model calls.", examples=[1200])
    cost: float = Field(description="US dollars.", examples=[0.004])
    limits: list[LimitStatus] = Field(
        description="The budgets that its model calls count for.", examples=[[]]
    )
    read_model: ReadModelLag = Field(
        description="How far persistence is with it.", examples=[{"last_seq": 12, "behind": 0}]
    )
