"""A log of chats for those who count: each chat has two turns, one tool and 3 model calls."""

from collections.abc import Sequence
from datetime import timedelta

from contracts.event_log import Decision
from contracts.events import Event
from contracts.events.chat import ChatCompleted, ChatStarted
from contracts.events.parts import Tokens
from contracts.events.turn import SpeakerSelected, ToolReturned, TurnCompleted, UsageRecorded
from contracts.ids import AgentName, AppId, ChatId, ChatKey, StreamSeq, UserId
from services.chassis.jetstream.direct_get import RawMessage
from services.chassis.jetstream.gateway import JetStreamGateway
from tests import logs
from tests.logs import decisions, messages

BEGAN = logs.BEGAN + timedelta(milliseconds=123)
"""A second before a chat's first event."""
AGENT = AgentName("Planner")
ANN = UserId("ann")
KEY = ChatKey(AppId("acme"), ChatId("chat 1"))


def usage(prompt: float = 1000, completion: float = 100) -> UsageRecorded:
    return UsageRecorded(
        turn=1,
        call=0,
        agent=AGENT,
        model="gpt-4o-mini-2024-07-18",
        tokens=Tokens(prompt=prompt, completion=completion),
        duration=0.5,
    )


def returned(status: str = "ok") -> ToolReturned:
    body = {"turn": 1, "call": 0, "agent": AGENT, "tool_call_id": "c", "name": "f"}
    return ToolReturned.model_validate({**body, "status": status})


def chat() -> list[Event]:
    """Eleven events."""
    return [
        ChatStarted(user_id=ANN, seed=7),
        SpeakerSelected(turn=1, agent=AGENT, by="initial"),
        usage(),
        returned("error"),
        usage(),
        TurnCompleted(turn=1, agent=AGENT, text="half"),
        SpeakerSelected(turn=2, agent=AGENT, by="after_work"),
        usage(),
        TurnCompleted(turn=2, agent=AGENT, text="whole"),
        SpeakerSelected(turn=3, agent=AgentName("user"), by="after_work"),
        ChatCompleted(reason="terminate", turns=2),
    ]


def decisions_of(
    events: Sequence[Event], key: ChatKey = KEY, workflow: str = "Generator"
) -> list[Decision]:
    """Each event as a decision of its own, a second apart."""
    return decisions(events, key, workflow=workflow)


def log_of(*histories: Sequence[Decision]) -> list[RawMessage]:
    """The chats one after the other in one stream."""
    return messages(decision for history in histories for decision in history)


async def append(
    gateway: JetStreamGateway, history: Sequence[Decision], *, after: int = 0
) -> StreamSeq:
    """The position of the last one, where the chat's log ended at position `after`."""
    position = StreamSeq(after)
    for decision in history:
        position = await gateway.events.append(decision, after=position)
    return position
