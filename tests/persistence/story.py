"""Chats as lists of events, for tests of those who read them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from contracts import event_log, subjects
from contracts.codec import encode
from contracts.envelope import Envelope
from contracts.event_log import EMPTY, Decision
from contracts.events import Event
from contracts.events.business import BusinessLogged
from contracts.events.chat import ChatCompleted, ChatStarted, UserMessageReceived
from contracts.events.human import HumanAnswered, HumanAsked
from contracts.events.parts import TextPart, Tokens, ToolCall
from contracts.events.turn import (
    ModelRequested,
    ModelResponded,
    SpeakerSelected,
    ToolDispatched,
    ToolEffect,
    ToolReturned,
    TurnCompleted,
    UsageRecorded,
)
from contracts.ids import AgentName, AppId, ChatId, ChatKey, StreamSeq, UserId
from contracts.subjects import question
from services.persistence.store.interface import ArchivedEvent
from tests import logs

INTERVIEWER = AgentName("InterviewAgent")
PLANNER = AgentName("PlannerAgent")
ANN = UserId("ann@example.org")
KEY = ChatKey(AppId("acme.corp"), ChatId("chat 1"))


def asked(key: ChatKey = KEY) -> HumanAsked:
    """What the interviewer's tool asks."""
    return HumanAsked(
        question_id=question(key, 1, "call_1", 0),
        turn=1,
        agent=INTERVIEWER,
        tool_call_id="call_1",
        ordinal=0,
        prompt="What shall it do?",
    )


def interview(key: ChatKey = KEY) -> list[Event]:
    """Eighteen events: an agent asks the person, the next one plans, the chat is completed."""
    return [
        ChatStarted(user_id=ANN, seed=7),
        SpeakerSelected(turn=1, agent=INTERVIEWER, by="initial"),
        ModelRequested(turn=1, call=0, agent=INTERVIEWER, prompt=["Ask."], digest="d0"),
        ModelResponded(
            turn=1,
            call=0,
            agent=INTERVIEWER,
            tool_calls=[ToolCall(id="call_1", name="ask_person", arguments='{"q": "What?"}')],
        ),
        usage(1, 0, INTERVIEWER),
        asked(key),
        HumanAnswered(question_id=asked(key).question_id, user_id=ANN, text="Water\n the plants"),
        ToolReturned(
            turn=1,
            call=0,
            agent=INTERVIEWER,
            tool_call_id="call_1",
            name="ask_person",
            status="ok",
            parts=[TextPart(text="Water the plants")],
        ),
        ModelRequested(turn=1, call=1, agent=INTERVIEWER, prompt=["Ask."], digest="d1"),
        ModelResponded(turn=1, call=1, agent=INTERVIEWER, text="So plants it is."),
        usage(1, 1, INTERVIEWER),
        TurnCompleted(turn=1, agent=INTERVIEWER, text="So plants it is.", handoff=PLANNER),
        SpeakerSelected(turn=2, agent=PLANNER, by="handoff"),
        BusinessLogged(log_event_type="PLANNED", message="a plan is made"),
        ModelResponded(turn=2, call=0, agent=PLANNER, text="Daily, at eight."),
        usage(2, 0, PLANNER),
        TurnCompleted(turn=2, agent=PLANNER, text="Daily, at eight."),
        ChatCompleted(reason="terminate", turns=2),
    ]


def usage(turn: int, call: int, agent: AgentName) -> UsageRecorded:
    return UsageRecorded(
        turn=turn,
        call=call,
        agent=agent,
        model="gpt-4o-mini-2024-07-18",
        tokens=Tokens(prompt=100, completion=10),
        duration=0.5,
    )


def charges(count: int, key: ChatKey = KEY) -> list[Event]:
    """A chat in which so many calls of a tool had an effect, and one of another only read."""
    calls = [f"c{number}" for number in range(count)]
    events: list[Event] = [
        ChatStarted(user_id=ANN, seed=7),
        SpeakerSelected(turn=1, agent=INTERVIEWER, by="initial"),
        ModelResponded(
            turn=1,
            call=0,
            agent=INTERVIEWER,
            tool_calls=[
                ToolCall(id=call, name="charge", arguments='{"cents": 5}') for call in calls
            ],
        ),
        dispatched("look", key, effect="read"),
    ]
    for call in calls:
        events += [
            dispatched(call, key),
            ToolReturned(
                turn=1,
                call=0,
                agent=INTERVIEWER,
                tool_call_id=call,
                name="charge",
                status="ok",
                receipt={"charge": call},
            ),
        ]
    return events


def dispatched(call: str, key: ChatKey = KEY, effect: ToolEffect = "once") -> ToolDispatched:
    return ToolDispatched(
        turn=1,
        call=0,
        agent=INTERVIEWER,
        tool_call_id=call,
        name="charge",
        idempotency_key=f"{key.app}:{key.chat}:1:{call}",
        arguments_digest="ab",
        effect=effect,
        attempt=1,
    )


def hello() -> list[Event]:
    """A chat that waits for its user."""
    return [
        ChatStarted(user_id=ANN, seed=7),
        UserMessageReceived(user_id=ANN, text="Hello?"),
        SpeakerSelected(turn=1, agent=INTERVIEWER, by="initial"),
        ModelResponded(turn=1, call=0, agent=INTERVIEWER, text="Hello!"),
        TurnCompleted(turn=1, agent=INTERVIEWER, text="Hello!"),
        SpeakerSelected(turn=2, agent=AgentName("user"), by="after_work"),
    ]


def decisions_of(
    events: Sequence[Event], key: ChatKey = KEY, workflow: str = "Generator"
) -> list[Decision]:
    """The events, each as a decision of its own, a second apart."""
    return logs.decisions(events, key, workflow=workflow)


def archived_events(decisions: Iterable[Decision]) -> list[ArchivedEvent]:
    """The decisions as a stream of this chat alone would hold them, one event a message."""
    return [
        ArchivedEvent(one, StreamSeq(one.envelope.seq))
        for decision in decisions
        for one in decision.events
    ]


def altered(decision: Decision, **changes: Any) -> bytes:
    """A message that holds the decision's first event with other fields in its envelope."""
    return encode(decision.first.model_copy(update=changes))


def continued(
    events: Sequence[Event], strange: Callable[[Envelope], Envelope], place: int
) -> list[Decision]:
    """The events as decisions, the envelope at a place changed by its writer, the chain intact."""
    decisions: list[Decision] = []
    head = EMPTY
    for n, event in enumerate(events):
        decision = logs.decisions([event], KEY, head=head)[0]
        if n == place:
            decision = event_log.read(
                subjects.event(KEY, decision.first.category), encode(strange(decision.first))
            )
        decisions.append(decision)
        head = decision.head
    return decisions
