"""The chats that are measured: turns with a tool, a handoff and a person's word, of usual size."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import chain, count

from contracts.codec import Origin
from contracts.event_log import EMPTY, Decision, Head, seal
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
    DeliveryId,
    StreamSeq,
    UserId,
    WorkflowName,
    new_chat_id,
)
from services.chassis.jetstream.gateway import JetStreamGateway

APP = AppId("acme")
PERSON = UserId("ana")
AGENT = AgentName("Planner")
WORKFLOW = WorkflowName("Generator")
NOWHERE = StreamSeq(0)
DELIVERY = DeliveryId("bench", message=1, attempt=1)
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


Group = Sequence[Event]
"""The events of one decision."""


def turn(number: int) -> list[Group]:
    """Ten events: the person speaks, the agent calls a tool, reads its result and answers."""
    asks = ToolCall(id=f"call_{number}", name="estimate_effort", arguments='{"steps": ["a", "b"]}')
    return [
        [said(), selected(number)],
        [requested(number)],
        [responded(number, 0, asks), used(number)],
        [returned(number)],
        [requested(number, 1)],
        [responded(number, 1), used(number, 1)],
        [TurnCompleted(turn=number, agent=AGENT, text=_TEXT)],
    ]


def story(length: int) -> list[Group]:
    """A chat of `length` events that stands in the middle of a turn, or at the end of one."""
    groups: list[Group] = [[STARTED]]
    left = length - 1
    for group in chain.from_iterable(turn(number) for number in count(1)):
        if not left:
            break
        groups.append(group[:left])
        left -= len(groups[-1])
    return groups


def sealed(key: ChatKey, groups: Iterable[Group], head: Head = EMPTY) -> list[Decision]:
    """A decision of each group, the first right after `head`, each with a cause of its own."""
    now = clock()
    found: list[Decision] = []
    for group in groups:
        origin = Origin(key, WORKFLOW, now, cause=f"command-{head.seq + 1}", runner=DELIVERY.runner)
        found.append(seal(group, head, [origin] * len(group)))
        head = found[-1].head
    return found


async def store(
    gateway: JetStreamGateway, decisions: Iterable[Decision], after: StreamSeq = NOWHERE
) -> StreamSeq:
    """Append them right after the chat's message at `after`; where the last one lies."""
    for decision in decisions:
        after = await gateway.events.append(decision, after=after)
    return after
