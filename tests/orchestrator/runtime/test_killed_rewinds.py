"""Retry, edit and rewind on a real NATS, with a runner that dies after every append."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from contracts.codec import Fact
from contracts.commands import Command, EditMessage, RetryAnswer, RewindChat
from contracts.events.chat import ChatRewound, RewindRefused, UserMessageReceived
from contracts.events.run import RunClaimed
from contracts.events.turn import SpeakerSelected, ToolDispatched
from contracts.ids import CommandId, Seq
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.agents.registry.catalogue import Catalogue
from services.orchestrator.domain.evolution import replay
from services.orchestrator.domain.state import ChatState, pending
from tests.orchestrator.agent_sets import demo_catalogue, lasting, workflows_by_pattern
from tests.orchestrator.chat_harness import ChatUser, deliver, history, runner
from tests.orchestrator.runtime.test_killed_patterns import DyingExecutor, RunnerDiedError

pytestmark = pytest.mark.broker

Order = Callable[[ChatUser, ChatState, Sequence[Fact]], Command]


def _rewind(user: ChatUser, state: ChatState, name: str) -> dict[str, object]:
    return {
        "command_id": CommandId(f"{name}-{state.seq}"),
        "app_id": user.key.app,
        "chat_id": user.key.chat,
        "user_id": user.user,
        "seen_seq": state.seq,
    }


def retry(user: ChatUser, state: ChatState, _: Sequence[Fact]) -> Command:
    return RetryAnswer.model_validate(_rewind(user, state, "retry"))


def edit(user: ChatUser, state: ChatState, facts: Sequence[Fact]) -> Command:
    [first, *_] = [one.envelope.seq for one in facts if isinstance(one.event, UserMessageReceived)]
    common = _rewind(user, state, "edit")
    return EditMessage.model_validate({**common, "message": first, "text": "About snow."})


def back(user: ChatUser, state: ChatState, _: Sequence[Fact]) -> Command:
    """Back to the end before the last rewind, which is where the chat had ended first."""
    ended = [point.seq for point in state.points if point.state.ended is not None]
    common = _rewind(user, state, "back")
    return RewindChat.model_validate({**common, "to_seq": ended[0] if len(ended) > 1 else Seq(1)})


ORDERS: tuple[Order, ...] = (retry, retry, edit, back)


async def told(
    gateway: JetStreamGateway, catalogue: Catalogue, user: ChatUser, *, dying: bool
) -> tuple[list[Fact], int]:
    """The log after all orders, and how often the runner has died."""
    deaths = 0

    async def obeyed(order: Command) -> list[Fact]:
        nonlocal deaths
        while True:
            kind = DyingExecutor if dying else AgentExecutor
            worker = runner(gateway, kind(catalogue, 25), workflows=catalogue.workflows)
            try:
                await deliver(worker, order)
            except RunnerDiedError:
                deaths += 1
                continue
            return await history(gateway, user.key)

    facts = await obeyed(user.start_chat("About rain."))
    for order in ORDERS:
        facts = await obeyed(command := order(user, state_of(facts), facts))
        assert pending(state_of(facts)) is None
        assert await obeyed(command) == facts  # twice is once
    return facts, deaths


def state_of(facts: Sequence[Fact]) -> ChatState:
    return replay(facts)


def comparable(facts: Sequence[Fact]) -> list[str]:
    """The events without what says where they are."""
    events = [fact.event for fact in facts if not isinstance(fact.event, RunClaimed)]
    return [
        f"{event.type} {event.kind}"
        if isinstance(event, ChatRewound | RewindRefused)
        else re.sub(r"-r[0-9]+", "-r", event.model_dump_json())
        for event in lasting(events[1:])
    ]


async def test_rewinds_whose_runners_die_have_the_same_log_as_uninterrupted_ones(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    loaded = workflows_by_pattern(tmp_path)["DefaultPattern"]
    catalogue = demo_catalogue(loaded)
    killed, deaths = await told(gateway, catalogue, ChatUser(loaded.workflow.name), dying=True)
    unharmed, _ = await told(gateway, catalogue, ChatUser(loaded.workflow.name), dying=False)
    assert deaths > 12
    assert comparable(killed) == comparable(unharmed)
    rewinds = [fact.event.kind for fact in killed if isinstance(fact.event, ChatRewound)]
    assert rewinds[:3] == ["retry", "retry", "edit"]


async def test_no_id_of_a_turn_or_of_a_call_is_used_again(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    loaded = workflows_by_pattern(tmp_path)["DefaultPattern"]
    catalogue = demo_catalogue(loaded)
    facts, _ = await told(gateway, catalogue, ChatUser(loaded.workflow.name), dying=False)
    turns = [one.event.turn for one in facts if isinstance(one.event, SpeakerSelected)]
    keys = [
        (one.event.idempotency_key, one.event.attempt)
        for one in facts
        if isinstance(one.event, ToolDispatched)
    ]
    assert len(turns) == len(set(turns))
    assert keys
    assert len(keys) == len(set(keys))
