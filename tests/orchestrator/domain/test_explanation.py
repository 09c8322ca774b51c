"""For every state that a chat can be in there is a sentence, and it agrees with the core."""

import json
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, settings
from hypothesis import given as for_any
from hypothesis import strategies as st

from contracts.codec import Fact, decode, open_event
from contracts.deltas import WaitReported
from contracts.events import Event
from contracts.events.chat import ChatFailed
from contracts.events.turn import ModelRequested, TurnFailed
from contracts.explanation import CauseNode, ChatAccount
from contracts.ids import RunnerId
from services.orchestrator.domain.explanation import Story as Account
from services.orchestrator.domain.explanation import account, story_of
from services.orchestrator.domain.state import pending
from tests.orchestrator.domain.test_rewinds import ACTIONS, TALK, act
from tests.story import KEY, NOON, STARTED, WRITER, Story, asked, calls, sealed, speaks, start

HISTORIES = sorted((Path(__file__).parents[1] / "histories").glob("*.json"))
OURS = {"model", "tools", "turn", "lifecycle_tools", "stop"}
"""What the runtime is in charge of."""


def checked(facts: Iterable[Fact]) -> ChatAccount:
    """The account after the last of the facts; after each of them it agrees with the core."""
    told = Account()
    found = account(KEY, told)
    for fact in facts:
        told.add(fact)
        found = account(KEY, told)
        assert found.sentence.endswith(".")
        assert (pending(told.state) is not None) == (found.waits_for in OURS)
        assert (found.runner is not None) == (told.state.owner is not None)
        assert found.since == fact.envelope.time
        open_turn = told.state.running_turn
        unanswered = () if open_turn is None else open_turn.unanswered
        assert [one.question_id for one in found.questions] == [q.question_id for q in unanswered]
    return found


def after(*events: Event) -> ChatAccount:
    return checked(sealed([STARTED, *events]))


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
def test_each_state_of_a_recorded_chat_is_explained(file: Path) -> None:
    envelopes = [
        decode(json.dumps(one).encode()) for one in json.loads(file.read_text())["envelopes"]
    ]
    found = checked(Fact(one, open_event(one)) for one in envelopes)
    assert found.causes


@settings(max_examples=40, deadline=None)
@example(
    [("ask", 0), ("answer", 0), ("reply", 0), ("rewind", 7)]
)  # an answered question is open again
@for_any(st.lists(st.tuples(ACTIONS, st.integers(0, 50)), max_size=16))
def test_each_state_that_commands_lead_to_is_explained(actions: list[tuple[str, int]]) -> None:
    told = Story(workflow=TALK).then(start("Hi"))
    for action, place in actions:
        told = act(told, action, place)
    found = checked(told.facts)
    assert 0 < len(flat(found.causes)) <= len(told.facts) * 2


def flat(nodes: list[CauseNode]) -> list[CauseNode]:
    return [one for node in nodes for one in (node, *flat(node.children))]


def test_a_chat_without_events_is_explained() -> None:
    assert account(KEY, Account()).sentence == "This chat has no event."


def test_a_chat_that_waits_for_an_answer_names_who_may_give_it_and_since_when() -> None:
    found = after(speaks(), calls("pick"), asked())
    assert (found.waits_for, found.agent, found.turn) == ("answers", WRITER, 1)
    assert found.sentence.startswith(f"It waits for an answer to {WRITER} since ")
    (question,) = found.questions
    assert question.users


def test_a_failed_chat_names_what_the_provider_said() -> None:
    message = "The model provider refused the key."
    failed = TurnFailed(
        turn=1,
        agent=WRITER,
        code="MODEL_ACCESS_DENIED",
        message=message,
        detail="key sk-... is unknown",
    )
    found = after(speaks(), failed, ChatFailed(code="MODEL_ACCESS_DENIED", message=message))
    assert found.waits_for == "retry"
    assert f"(MODEL_ACCESS_DENIED: {message})" in found.sentence
    assert found.last_error is not None
    assert found.last_error.detail == "key sk-... is unknown"


def test_a_wait_for_the_provider_is_explained_until_something_follows() -> None:
    requested = ModelRequested(turn=1, call=0, agent=WRITER, prompt=[], digest="", parts=[])
    told = story_of(sealed([STARTED, speaks(), requested]))
    assert told.last is not None
    wait = WaitReported(
        turn=1,
        agent=WRITER,
        runner=RunnerId("r"),
        code="MODEL_RATE_LIMITED",
        seconds=20,
        until=told.last.envelope.time + timedelta(seconds=20),
        attempt=2,
        attempts=4,
    )
    found = account(KEY, told, wait)
    assert found.waits_for == "model"
    assert "attempt 2 of 4, after MODEL_RATE_LIMITED." in found.sentence
    old = wait.model_copy(update={"until": NOON - timedelta(days=1)})
    assert account(KEY, told, old).provider_wait is None
    assert account(KEY, told, wait.model_copy(update={"turn": 2})).provider_wait is None


def test_the_causes_are_a_tree_from_the_command_to_the_question() -> None:
    (command,) = after(speaks(), calls("pick"), asked()).causes
    assert command.kind == "command"
    kinds = [one.kind for one in flat([command])]
    assert kinds[:2] == ["command", "turn"]
    assert kinds[-1] == "question"


def test_the_tree_of_a_long_chat_keeps_the_newest() -> None:
    told = Story(workflow=TALK).then(start("Hi"))
    for place in range(200):
        told = act(told, ("reply", "say")[place % 2], place)
    found = checked(told.facts)
    assert len(flat(found.causes)) <= 220
    assert found.causes[-1].seq > found.causes[0].seq > 1
