"""Models of the routes that show a chat as a timeline, and two chats side by side."""

from pydantic import Field

from contracts.catalogue import ChatStatus
from contracts.chat_comparison import ChatComparison, TurnPair
from contracts.ids import AppId, ChatId, UserId, WorkflowName
from contracts.timeline import TimelineEntry
from services.transport.http.models.base import (
    CHAT_ID,
    EARLIER,
    LATER,
    Count,
    EventSequence,
    ForkOrigin,
    ResponseModel,
    Timestamp,
    example_of,
)

ENTRY = {
    "kind": "model_call",
    "name": "gpt-4o-mini",
    "seq": 6,
    "started_at": EARLIER,
    "ended_at": LATER,
    "turn": 1,
    "call": 0,
    "agent": "Cashier",
    "attempt": None,
    "outcome": "stop",
    "is_failure": False,
    "prompt_tokens": 812,
    "completion_tokens": 45,
    "cost": 0.0001488,
    "cached": False,
    "time_to_first_chunk": 0.311,
    "tool_call_id": None,
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
}
TURN = {
    "turn": 1,
    "seq": 3,
    "agent": "Cashier",
    "messages": ["Hello"],
    "tools": ['look({"at": 1}) → ok'],
    "text": "That is 5 euros.",
    "outcome": "completed",
    "seconds": 1.2,
    "prompt_tokens": 812,
    "completion_tokens": 45,
    "cost": 0.0001488,
}
PAIR = {"left": TURN, "right": {**TURN, "text": "That is 6 euros."}, "differs_in": ["text"]}


class ChatHead(ResponseModel):
    """Which chat it is, and how it stands."""

    app_id: AppId = Field(description="Its app.", examples=["acme"])
    chat_id: ChatId = Field(description="Its id.", examples=[CHAT_ID])
    workflow_name: WorkflowName = Field(description="Its workflow.", examples=["Shop"])
    user_id: UserId = Field(description="Its user.", examples=["ana"])
    chat_status: ChatStatus = Field(description="Its status.", examples=["waiting"])
    created_at: Timestamp = Field(description="When it began.", examples=[EARLIER])
    last_updated_at: Timestamp = Field(description="When its newest event came.", examples=[LATER])
    last_sequence: EventSequence = Field(
        description="The `seq` of its newest event.", examples=[40]
    )
    total_tokens: Count = Field(description="Of all its model calls.", examples=[1200])
    cost: float = Field(ge=0, description="US dollars.", examples=[0.004])
    origin: ForkOrigin | None = Field(
        description="Where it comes from, if it is a fork.", examples=[None]
    )


class TimelinePage(ResponseModel):
    """What happened in a chat, with times, tokens and cost, and without anything of what was said."""

    chat: ChatHead = Field(description="The chat.", examples=[example_of(ChatHead)])
    entries: list[TimelineEntry] = Field(
        description="In the order in which they began: the newest of those before `before`.",
        examples=[[ENTRY]],
    )
    earlier: EventSequence | None = Field(
        description="The `before` of the page with earlier entries; null where there are none.",
        examples=[None],
    )
    trace_url: str | None = Field(
        description="The address of an OpenTelemetry trace, with `{trace_id}` in it; null where"
        " TRACE_URL is not set.",
        examples=["https://jaeger.example.com/trace/{trace_id}"],
    )


class ComparisonPage(ResponseModel):
    """Two chats, turn by turn: `differs_in` says in what the two turns of a pair differ."""

    left: ChatHead = Field(description="The chat.", examples=[example_of(ChatHead)])
    right: ChatHead = Field(
        description="The one that it is compared with.", examples=[example_of(ChatHead)]
    )
    pairs: list[TurnPair] = Field(description="All turns of both.", examples=[[PAIR]])
    first_difference: Count | None = Field(
        description="The place of the first pair that differs, from 0; null where none does.",
        examples=[0],
    )
    shared_events: Count = Field(
        description="The events that both logs begin with, as a fork and its origin do.",
        examples=[0],
    )

    @classmethod
    def of(cls, left: ChatHead, right: ChatHead, found: ChatComparison) -> "ComparisonPage":
        return cls(
            left=left,
            right=right,
            pairs=found.pairs,
            first_difference=found.first_difference,
            shared_events=found.shared_events,
        )
