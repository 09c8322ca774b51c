"""A fork has the state of its origin at its position, and goes on alone from there."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from contracts.codec import Fact, Origin, seal
from contracts.commands import ForkChat
from contracts.events import Event
from contracts.events.chat import ChatStarted, Segment
from contracts.frozen import replace
from contracts.ids import ChatId, ChatKey, CommandId, DeliveryId, RunnerId, Seq
from services.orchestrator.domain.applied_commands import AppliedCommands
from services.orchestrator.domain.decisions import decide, fork_chat
from services.orchestrator.domain.evolution import replay
from services.orchestrator.domain.run_ownership import give_up, reason_to_retry
from services.orchestrator.domain.state import ChatState, LastUsage, Owner, RunTurn, pending
from services.orchestrator.workflows.loading import LoadedWorkflow
from tests.orchestrator.agent_sets import workflows_by_pattern
from tests.orchestrator.agents.execution.test_resuming import (
    PATTERNS,
    run_to_end,
    started_chat,
)
from tests.story import ANA, KEY, NEWSROOM, given, start

FORK = ChatKey(KEY.app, ChatId("fork 1"))
RUNNER = RunnerId("process:7:1")


def command(seq: int = 1, message: str | None = None) -> ForkChat:
    return ForkChat(
        command_id=CommandId("fork it"),
        app_id=FORK.app,
        chat_id=FORK.chat,
        user_id=ANA,
        origin=KEY.chat,
        seq=Seq(seq),
        message=message,
    )


def forked(facts: Sequence[Fact]) -> Fact:
    """The first event of a fork after these events."""
    seq = facts[-1].envelope.seq
    event = fork_chat(command(seq), seq, [Segment(chat_id=KEY.chat, last=seq)])
    return _of_fork(event, Seq(seq + 1), facts[-1])


def _of_fork(event: Event, seq: Seq, like: Fact) -> Fact:
    origin = Origin(FORK, like.envelope.workflow_name, like.envelope.time, "fork it", runner=RUNNER)
    return seal(event, seq, origin)


def comparable(state: ChatState) -> ChatState:
    """What is to be equal in a fork: all but whose run it is, at which position, and in which chat."""
    turn = state.open_turn
    variables = {name: value for name, value in state.variables.items() if name != "chat_id"}
    return replace(
        state,
        seq=Seq(0),
        owner=None,
        runner=None,
        variables=variables,
        waiting=(),
        applied_commands=AppliedCommands(),
        call_requested_at=None,
        lifecycle_dispatches={},
        shown=None,  # what readers see: a fork names its origin, and counts what it spends itself
        points=(),
        usage=LastUsage(),
        open_turn=None if turn is None else replace(turn, dispatches={}),
    )


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_a_fork_with_later_events_has_the_state_of_its_origin_with_the_same(
    tmp_path: Path, pattern: str
) -> None:
    loaded: LoadedWorkflow = workflows_by_pattern(tmp_path)[pattern]
    facts = (await run_to_end(loaded, started_chat(loaded))).story.facts
    for cut in range(1, len(facts) + 1):
        before, after = facts[:cut], facts[cut:]
        moved = [_of_fork(fact.event, Seq(fact.envelope.seq + 1), fact) for fact in after]
        origin, fork = replay(before), replay([forked(before)], replay(before))
        assert pending(fork) == pending(origin)
        assert fork.variables["chat_id"] == FORK.chat
        for same, other in zip(after, moved, strict=True):
            origin, fork = replay([same], origin), replay([other], fork)
            assert comparable(fork) == comparable(origin), (cut, same.envelope.seq)


def test_the_command_that_forks_a_chat_owns_what_is_to_be_run_there() -> None:
    facts = given(start(), *[]).facts
    running = next(
        facts[:cut] for cut in range(1, len(facts) + 1) if pending(replay(facts[:cut])) is not None
    )
    state = replay([forked(running)], replay(running))
    assert pending(state) == RunTurn(1)
    assert state.owner == Owner("fork it", 7)
    assert state.runner == RUNNER


def test_a_fork_without_anything_to_run_has_no_owner() -> None:
    facts = given(ChatStarted(user_id=ANA, seed=7)).facts
    assert pending(replay(facts)) is None
    assert replay([forked(facts)], replay(facts)).owner is None


def test_the_message_of_a_fork_is_received_once() -> None:
    facts = given(ChatStarted(user_id=ANA, seed=7)).facts
    state = replay([forked(facts)], replay(facts))
    told = decide(command(message="Else"), state, NEWSROOM)
    assert [event.type for event in told] == [
        "chat.user_message_received",
        "turn.speaker_selected",
    ]
    again = replay(
        [_of_fork(event, Seq(state.seq + n), facts[-1]) for n, event in enumerate(told, 1)], state
    )
    assert decide(command(message="Else"), again, NEWSROOM) == []


def test_a_fork_without_a_message_adds_nothing_to_a_chat_that_has_begun() -> None:
    facts = given(ChatStarted(user_id=ANA, seed=7)).facts
    state = replay([forked(facts)], replay(facts))
    assert decide(command(), state, NEWSROOM) == []
    assert reason_to_retry(command(), state) is None


def test_a_fork_that_never_began_is_given_up_without_a_chat() -> None:
    assert give_up(command(), ChatState(), DeliveryId("process", 7, 1)) == []
