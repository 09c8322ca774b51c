"""The chats that are measured: turns with a tool, a handoff and a person's word, of usual size."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import count

from contracts.codec import Origin, seal
from contracts.envelope import Envelope
from contracts.events import Event
from contracts.events.chat import ChatStarted, UserMessageReceived
from contracts.events.parts import TextPart, Tokens, ToolCall
from contracts.events.turn import (
    ModelRequested,
    ModelResponded,
    SpeakerSelected,
    ToolReturned,
    TurnCompleted,
    UsageRecorded,
)
from contracts.ids import (
    AgentName,
    AppId,
    ChatKey,
    Seq,
    StreamSeq,
    UserId,
    WorkflowName,
    new_chat_id,
)

APP = AppId("acme")
PERSON = UserId("ana")
AGENT = AgentName("Planner")
WORKFLOW = WorkflowName("Generator")
NOWHERE = StreamSeq(0)
STARTED = ChatStarted(user_id=PERSON, seed=7)

_PROMPT = (
    "You turn an idea into a plan of three to five steps and say what each of them costs. " * 4
)
_TEXT = "Sketch the screens, model the data, build a first slice, and try it with five people. " * 2
_USED = Tokens(prompt=350, completion=40, total=390)


def new_chat() -> ChatKey:
    return ChatKey(APP, new_chat_id())


def clock() -> datetime:
    return datetime.now(UTC)


def said(text: str = _TEXT) -> UserMessageReceived:
    return UserMessageReceived(user_id=PERSON, text=text)


def selected(turn: int) -> SpeakerSelected:
    return SpeakerSelected(turn=turn, agent=AGENT, by="user_message")


def requested(turn: int, call: int = 0) -> ModelRequested:
    parts = [] if call else [TextPart(text=_TEXT)]
    return ModelRequested(
        turn=turn, call=call, agent=AGENT, prompt=[_PROMPT], parts=list(parts), digest="d" * 64
    )


def responded(turn: int, call: int = 0, *calls: ToolCall) -> ModelResponded:
    return ModelResponded(
        turn=turn,
        call=call,
        agent=AGENT,
        text=_TEXT,
        tool_calls=list(calls),
        tokens=_USED,
        model="gpt-4o-mini",
        provider="openai",
        finish_reason="tool_calls" if calls else "stop",
    )


def used(turn: int, call: int = 0) -> UsageRecorded:
    return UsageRecorded(
        turn=turn,
        call=call,
        agent=AGENT,
        model="gpt-4o-mini",
        provider="openai",
        tokens=_USED,
        duration=1.25,
    )


def returned(turn: int) -> ToolReturned:
    return ToolReturned(
        turn=turn,
        call=0,
        agent=AGENT,
        tool_call_id=f"call_{turn}",
        name="estimate_effort",
        status="ok",
        parts=[TextPart(text="I count 9 days for 4 steps")],
    )


def turn(number: int) -> list[Event]:
    """Ten events: the person speaks, the agent calls a tool, reads its result and answers."""
    asks = ToolCall(id=f"call_{number}", name="estimate_effort", arguments='{"steps": ["a", "b"]}')
    return [
        said(),
        selected(number),
        requested(number),
        responded(number, 0, asks),
        used(number),
        returned(number),
        requested(number, 1),
        responded(number, 1),
        used(number, 1),
        TurnCompleted(turn=number, agent=AGENT, text=_TEXT),
    ]


def story(length: int) -> list[Event]:
    """A chat of `length` events that stands in the middle of a turn, or at the end of one."""
    events: list[Event] = [STARTED]
    for number in count(1):
        if len(events) >= length:
            break
        events += turn(number)
    return events[:length]


def sealed(key: ChatKey, events: Sequence[Event], *, after: int = 0) -> list[Envelope]:
    """The events in their envelopes, the first of them at `after` + 1, each with a cause of its own."""
    now = clock()
    return [
        seal(event, Seq(seq), Origin(key, WORKFLOW, now, cause=f"command-{seq}")).envelope
        for seq, event in enumerate(events, after + 1)
    ]


def in_pieces(envelopes: Sequence[Envelope], size: int) -> Iterator[Sequence[Envelope]]:
    for first in range(0, len(envelopes), size):
        yield envelopes[first : first + size]
