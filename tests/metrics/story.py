"""A log of chats for those who count: each chat has two turns, one tool and 3 model calls."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from contracts.codec import Origin, encode, seal
from contracts.envelope import Envelope
from contracts.events import Event
from contracts.events.chat import ChatCompleted, ChatStarted
from contracts.events.parts import Tokens
from contracts.events.turn import SpeakerSelected, ToolReturned, TurnCompleted, UsageRecorded
from contracts.ids import AgentName, AppId, ChatId, ChatKey, Seq, StreamSeq, UserId, WorkflowName
from services.chassis.bus import Stored

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)
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


def told(
    events: Sequence[Event], key: ChatKey = KEY, workflow: str = "Generator"
) -> list[Envelope]:
    """The events in their envelopes, a second apart."""
    return [
        seal(
            event,
            Seq(seq),
            Origin(
                key=key,
                workflow=WorkflowName(workflow),
                time=BEGAN + timedelta(seconds=seq),
                cause="command",
            ),
        ).envelope
        for seq, event in enumerate(events, 1)
    ]


def log_of(*histories: Sequence[Envelope]) -> list[Stored]:
    """The chats one after the other in one stream."""
    envelopes = [envelope for history in histories for envelope in history]
    return [Stored(StreamSeq(n), encode(envelope)) for n, envelope in enumerate(envelopes, 1)]
