"""What a snapshot keeps of a state is enough: folded on, it is what all events fold to."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import from_json, to_json

from contracts.codec import Fact, Origin, seal
from contracts.events import Event
from contracts.events.chat import ChatRewound, ChatStarted, HistoryCompacted, UserMessageReceived
from contracts.events.parts import TextPart, ToolCall
from contracts.events.turn import (
    ModelRequested,
    ModelResponded,
    SpeakerSelected,
    ToolDispatched,
    ToolReturned,
    TurnCompleted,
    VariablesChanged,
)
from contracts.ids import AgentName, DeliveryId, Seq
from services.orchestrator.domain.agent_conversation import conversation_for
from services.orchestrator.domain.bounded_state import MIN_ENTRIES, bounded
from services.orchestrator.domain.evolution import evolve, replay
from services.orchestrator.domain.state import ChatState, RestorePointMissingError, pending
from services.orchestrator.domain.state_codec import NoStateError, decode, encode
from services.orchestrator.workflows.spec import USER
from tests.golden_logs.golden import golden_logs
from tests.story import ANA, KEY, NEWSROOM, NOON

AGENTS = tuple(map(AgentName, ("Writer", "Editor")))
LOGS = {log.id: log for log in golden_logs()}


def kept(state: ChatState) -> ChatState:
    """The state as it comes out of a snapshot."""
    return decode(from_json(to_json(encode(bounded(state)))))


def facts_of(events: Sequence[Event]) -> list[Fact]:
    runner = DeliveryId("process", 1, 1).runner
    origin = Origin(KEY, NEWSROOM.name, NOON, cause="command", runner=runner)
    return [seal(event, Seq(number), origin) for number, event in enumerate(events, 1)]


def turn(number: int, agent: AgentName, *, calls: bool, summary: bool) -> list[Event]:
    call = ToolCall(id=f"c{number}", name="note", arguments="{}")
    fields: dict[str, Any] = {"turn": number, "agent": agent}
    asked = ModelRequested(**fields, call=0, prompt=["p"], parts=[TextPart(text="t")], digest="d")
    tool: list[Event] = [
        ModelResponded(**fields, call=0, tool_calls=[call]),
        ToolDispatched(
            **fields,
            call=0,
            tool_call_id=call.id,
            name="note",
            idempotency_key="k",
            arguments_digest="d",
            effect="read",
            attempt=1,
        ),
        ToolReturned(**fields, call=0, tool_call_id=call.id, name="note", status="ok"),
        VariablesChanged(**fields, changed={"notes": [number, {"x": None}]}),
        asked.model_copy(update={"call": 1}),
    ]
    summed = HistoryCompacted(through_turn=number - 1, summary="so far", tokens_before=1)
    return [
        SpeakerSelected(turn=number, agent=agent, by="after_work"),
        *([summed] if summary else []),
        asked,
        *(tool if calls else []),
        ModelResponded(**fields, call=int(calls), text="said"),
        TurnCompleted(**fields, text="said"),
    ]


@st.composite
def logs(draw: st.DrawFn) -> list[Fact]:
    """A chat of turns with and without tools, messages of the user, and summaries now and then."""
    events: list[Event] = [
        ChatStarted(user_id=ANA, seed=7),
        UserMessageReceived(user_id=ANA, text="go"),
    ]
    kinds = st.tuples(st.sampled_from(AGENTS), st.booleans(), st.integers(0, 9), st.integers(0, 7))
    turns = draw(st.lists(kinds, min_size=1, max_size=60))
    number = 0
    for agent, calls, summary, user in turns:
        number += 1
        events += turn(number, agent, calls=calls, summary=summary == 0)
        if user == 0:
            number += 1
            events.append(SpeakerSelected(turn=number, agent=USER, by="after_work"))
            events.append(UserMessageReceived(user_id=ANA, text=f"more {number}"))
    return facts_of(events)


@settings(max_examples=40, deadline=None)
@given(logs(), st.data())
def test_a_state_that_is_cut_anywhere_and_folded_on_is_the_whole_one(
    facts: list[Fact], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(facts)))
    whole, resumed = replay(facts), replay(facts[cut:], kept(replay(facts[:cut])))
    assert bounded(resumed) == bounded(whole)
    assert pending(resumed) == pending(whole)
    for agent in AGENTS:
        assert conversation_for(resumed, agent, "seed") == conversation_for(whole, agent, "seed")


@pytest.mark.parametrize("name", LOGS)
def test_a_recorded_chat_is_kept_at_every_event_and_folded_on(name: str) -> None:
    facts = LOGS[name].read().facts
    whole, state = bounded(replay(facts)), ChatState()
    for place, fact in enumerate(facts, 1):
        state = evolve(state, fact)
        assert decode(from_json(to_json(encode(state)))) == state
        if place % 4:
            continue
        if any(
            isinstance(one.event, ChatRewound) and one.event.to_seq < place for one in facts[place:]
        ):
            with pytest.raises(RestorePointMissingError):  # the whole log is read then
                replay(facts[place:], kept(state))
        else:
            assert bounded(replay(facts[place:], kept(state))) == whole


def test_the_conversation_that_is_summarised_is_left_out() -> None:
    events: list[Event] = [ChatStarted(user_id=ANA, seed=7)]
    for number in range(1, 200):
        events.append(UserMessageReceived(user_id=ANA, text="more"))
        events += turn(number, AGENTS[0], calls=False, summary=number == 190)
    state = bounded(replay(facts_of(events)))
    assert len(state.conversation) == MIN_ENTRIES


@pytest.mark.parametrize("value", [{"c": "Path", "f": {}}, {"r": 0}, {"t": []}, "text", {}, []])
def test_what_is_no_state_is_refused(value: object) -> None:
    with pytest.raises(NoStateError):
        decode(value)


def test_a_value_of_a_class_that_no_state_has_is_not_written() -> None:
    state = replay(facts_of([ChatStarted(user_id=ANA, seed=7)]))
    with pytest.raises(NoStateError, match="object is nothing"):
        encode(ChatState(variables={"odd": object()}, user=state.user))
