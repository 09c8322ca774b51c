"""The conversation that is kept between turns: equal to one built from the log, and the same objects."""

from collections.abc import Iterator

import pytest
from ag2.events import BaseEvent, ModelRequest
from hypothesis import given as given_examples
from hypothesis import strategies as st

from contracts.events import Event
from contracts.events.chat import HistoryCompacted
from contracts.ids import AgentName
from services.orchestrator.agents.ag2 import codec
from services.orchestrator.agents.ag2.conversation import (
    AgentHistory,
    Conversation,
    KnownContents,
    Remembered,
    SharedMessages,
    history_of,
)
from services.orchestrator.domain.agent_conversation import Message, UserMessage, conversation_for
from tests.story import EDITOR, WRITER, Story, calls, done, given, heard, returns, says, speaks

PROMPT = ["You write."]


def turn(number: int, agent: AgentName, text: str) -> list[Event]:
    """A user's message and a turn in which the agent calls a tool, then answers."""
    return [
        heard(f"message {number}"),
        speaks(agent, number),
        calls("look", turn=number, agent=agent),
        returns(1, turn=number),
        says(text, number, call=1, agent=agent),
        done(text, number).model_copy(update={"agent": agent}),
    ]


def stories(agents: list[AgentName]) -> Iterator[Story]:
    """A story before each of its turns."""
    story = given().under(None)
    for number, agent in enumerate(agents, 1):
        yield story
        story = story.then(*turn(number, agent, f"text {number}"))
    yield story


def same(found: Conversation, wanted: list[Message]) -> None:
    """Whether a conversation is one with these messages, and has their events and their size."""
    assert found.messages == wanted
    other = Conversation.of(wanted)
    assert [codec.content_of(one) for one in found.events] == [
        codec.content_of(one) for one in other.events
    ]
    assert found.size == other.size


@given_examples(
    st.lists(st.sampled_from([WRITER, EDITOR]), max_size=8), st.sampled_from([None, "Be kind."])
)
def test_a_kept_conversation_equals_one_that_is_built_from_the_log(
    agents: list[AgentName], seed: str | None
) -> None:
    derived: dict[object, object] = {}
    for story in stories(agents):
        for agent in (WRITER, EDITOR):
            found = history_of(derived, agent, seed).before_turn(story.state)
            same(found, conversation_for(story.state, agent, seed))


@given_examples(
    st.lists(st.sampled_from([WRITER, EDITOR]), max_size=6), st.lists(st.booleans(), min_size=7)
)
def test_the_digest_of_a_kept_conversation_is_that_of_the_whole_request(
    agents: list[AgentName], changes: list[bool]
) -> None:
    history, prompt = AgentHistory(WRITER, None), PROMPT
    for story, changed in zip(stories(agents), changes, strict=False):
        prompt = [*prompt, "And more."] if changed else prompt
        conversation = history.before_turn(story.state)
        events = conversation.events
        added = codec.events_of([UserMessage("one"), UserMessage("two")])
        for request in (events, [*events, *added], events[:-1], [*events[:-1], *added], []):
            assert conversation.digest(prompt, request) == codec.digest(prompt, request)


def test_the_events_of_a_conversation_are_the_same_objects_in_every_turn() -> None:
    history, before = AgentHistory(WRITER, "Be kind."), list[BaseEvent]()
    for story in stories([WRITER, EDITOR, WRITER]):
        *kept, request = history.before_turn(story.state).events
        assert len(kept) >= len(before)
        assert all(one is other for one, other in zip(before, kept, strict=False))
        before = kept if isinstance(request, ModelRequest) else [*kept, request]
    assert len(before) > 6


def test_agents_share_the_events_of_what_others_said() -> None:
    shared = SharedMessages()
    *_, story = stories([WRITER, EDITOR])
    other = AgentName("Reader")
    first = AgentHistory(EDITOR, None, shared).before_turn(story.state)
    second = AgentHistory(other, None, shared).before_turn(story.state)
    same(first, conversation_for(story.state, EDITOR, None))
    same(second, conversation_for(story.state, other, None))
    assert first.events[0] is second.events[0]
    assert first.events[1] is second.events[1]


@pytest.mark.parametrize("turns", [1, 3])
def test_a_summary_replaces_the_turns_before_it(turns: int) -> None:
    history = AgentHistory(WRITER, "Be kind.")
    *_, story = stories([WRITER, EDITOR, WRITER])
    history.before_turn(story.state)
    compacted = HistoryCompacted(through_turn=turns, summary="Rain.", tokens_before=1)
    story = story.then(heard("Go on."), speaks(WRITER, 4), compacted)
    same(history.before_turn(story.state), conversation_for(story.state, WRITER, "Be kind."))
    story = story.then(says("Well.", 4), done("Well.", 4))
    same(history.before_turn(story.state), conversation_for(story.state, WRITER, "Be kind."))


def test_a_conversation_that_was_read_again_is_built_again() -> None:
    history = AgentHistory(WRITER, None)
    *_, story = stories([WRITER])
    *_, again = stories([WRITER, WRITER])
    history.before_turn(story.state)
    assert again.state.conversation[0] is not story.state.conversation[0]
    same(history.before_turn(again.state), conversation_for(again.state, WRITER, None))


def test_an_older_state_and_a_newer_one_can_be_read_in_turn() -> None:
    history = AgentHistory(WRITER, None)
    known = list(stories([WRITER, EDITOR, WRITER]))
    for index in (1, 3, 2, 0, 3):
        conversation = history.before_turn(known[index].state)
        same(conversation, conversation_for(known[index].state, WRITER, None))
        assert conversation.digest(PROMPT, conversation.events) == codec.digest(
            PROMPT, conversation.events
        )


def test_the_digest_of_a_growing_turn_is_that_of_the_whole_request() -> None:
    known = KnownContents()
    for text in ("one", "two"):
        known.add(Remembered.of(UserMessage(text)))
    base = list(known.events)
    turn: list[BaseEvent] = []
    for number in range(5):
        turn = [*turn, codec.event_of(UserMessage(f"new {number}"))]
        for prompt in (["a"], ["a"], ["b"]):
            events = [*base, *turn]
            assert known.digest(prompt, events) == codec.digest(prompt, events)
    other = [*base, codec.event_of(UserMessage("another turn")), *turn[1:]]
    for events in (other, [*base, *turn], base, [*base, *turn[:2]]):
        assert known.digest(["b"], events) == codec.digest(["b"], events)
    known.add(Remembered.of(UserMessage("three")))
    events = [*known.events, *turn]
    assert known.digest(["b"], events) == codec.digest(["b"], events)
