"""Chats are forked on a real log: at every event, twice, from two runners, and by runners that die."""

import asyncio
from pathlib import Path

import pytest

from contracts.codec import Fact
from contracts.commands import Command, ForkChat
from contracts.events.chat import ChatForked, ChatStarted, UserMessageReceived
from contracts.events.human import HumanAnswered
from contracts.events.run import RunClaimed
from contracts.events.turn import ToolDispatched
from contracts.ids import ChatKey, CommandId, Seq, UserId, WorkflowName, new_chat_id
from services.chassis.consumers.errors import UnprocessableMessageError
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.agents.registry.catalogue import Catalogue
from services.orchestrator.domain.evolution import replay
from services.orchestrator.domain.state import pending
from services.orchestrator.runtime.chat_log import ChatLog
from services.orchestrator.runtime.runner import Runner
from tests.orchestrator.agent_sets import demo_catalogue, next_user_message, workflows_by_pattern
from tests.orchestrator.chat_harness import (
    ChatUser,
    deliver,
    event_types,
    history,
    last_question,
    runner,
)
from tests.orchestrator.runtime.test_killed_patterns import DyingExecutor, RunnerDiedError
from tests.orchestrator.runtime.test_steering import BENCH, folder

pytestmark = pytest.mark.broker


def worker(gateway: JetStreamGateway, catalogue: Catalogue) -> Runner:
    return runner(gateway, AgentExecutor(catalogue, 25), catalogue.workflows)


def fork_of(
    user: ChatUser, seq: int, message: str | None = None, by: str | None = None
) -> tuple[ChatUser, ForkChat]:
    """A fork of a user's chat that is not there yet, and the command that begins it."""
    key = ChatKey(user.key.app, new_chat_id())
    command = ForkChat(
        command_id=CommandId(f"fork-{key.chat}"),
        app_id=key.app,
        chat_id=key.chat,
        user_id=UserId(by or user.user),
        origin=user.key.chat,
        seq=Seq(seq),
        message=message,
    )
    return ChatUser(user.workflow, key), command


def own(facts: list[Fact], user: ChatUser) -> list[Fact]:
    return [fact for fact in facts if fact.envelope.key == user.key]


async def waiting_for_an_answer(gateway: JetStreamGateway, catalogue: Catalogue) -> ChatUser:
    """A chat whose tool has asked its user."""
    user = ChatUser(workflow=BENCH)
    await deliver(worker(gateway, catalogue), user.start_chat("Go"))
    assert event_types(await history(gateway, user.key))[-1] == "human.asked"
    return user


async def test_an_open_question_is_answered_in_each_chat_alone(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    catalogue = folder(tmp_path, "ask")
    user = await waiting_for_an_answer(gateway, catalogue)
    asked = await history(gateway, user.key)
    fork, command = fork_of(user, len(asked))
    await deliver(worker(gateway, catalogue), command)
    question = last_question(asked)
    await deliver(worker(gateway, catalogue), fork.answer_question(question, "rye"))
    assert await history(gateway, user.key) == asked
    await deliver(worker(gateway, catalogue), user.answer_question(question, "wheat"))
    answers = {}
    for chat in (user, fork):
        facts = await history(gateway, chat.key)
        assert replay(facts).waits_for_user
        answers[chat.key] = [
            fact.event.text for fact in facts if isinstance(fact.event, HumanAnswered)
        ]
    assert answers == {user.key: ["wheat"], fork.key: ["rye"]}


async def test_the_calls_of_a_fork_have_keys_of_their_own(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    catalogue = folder(tmp_path, "ask")
    user = await waiting_for_an_answer(gateway, catalogue)
    asked = await history(gateway, user.key)
    fork, command = fork_of(user, len(asked))
    await deliver(worker(gateway, catalogue), command)
    await deliver(worker(gateway, catalogue), fork.answer_question(last_question(asked), "rye"))
    facts = await history(gateway, fork.key)
    calls = [fact for fact in facts if isinstance(fact.event, ToolDispatched)]
    assert [one.envelope.key for one in calls] == [user.key, fork.key]
    made = [one.event for one in calls if isinstance(one.event, ToolDispatched)]
    assert [(one.attempt, one.reason) for one in made] == [(1, "first"), (1, "continue")]
    assert len({one.idempotency_key for one in made}) == 2


@pytest.mark.parametrize("dies", [False, True])
async def test_a_chat_is_forked_at_every_event_and_goes_on_from_there(
    gateway: JetStreamGateway, tmp_path: Path, *, dies: bool
) -> None:
    loaded = workflows_by_pattern(tmp_path)["DefaultPattern"]
    catalogue, user = demo_catalogue(loaded), ChatUser(loaded.workflow.name)
    execute = DyingExecutor(catalogue, 25) if dies else AgentExecutor(catalogue, 25)
    await deliver(worker(gateway, catalogue), user.start_chat("Hello"))
    origin = await history(gateway, user.key)
    positions = set[int]()
    for seq in range(1, len(origin) + 1):
        fork, order = fork_of(user, seq)
        command: Command = order
        attempt = 1
        while True:
            try:
                await deliver(runner(gateway, execute, catalogue.workflows), command, attempt)
            except RunnerDiedError:
                attempt += 1
                continue
            facts = await history(gateway, fork.key)
            state = replay(facts)
            assert pending(state) is None, seq
            if state.ended is not None or len(own(facts, fork)) > 12:
                break
            command, attempt = fork.send_message(next_user_message(state)), 1
        begun = next(fact for fact in facts if isinstance(fact.event, ChatForked))
        at = begun.envelope.seq - 1
        positions.add(at)
        assert at >= seq or origin[seq - 1].envelope.type.startswith("chat."), seq
        assert facts[:at] == origin[:at]
        assert [fact.envelope.seq for fact in facts] == list(range(1, len(facts) + 1))
        assert sum(isinstance(fact.event, ChatForked) for fact in facts) == 1
    assert await history(gateway, user.key) == origin
    assert len(positions) > 3


async def test_a_fork_that_is_asked_for_twice_or_by_two_runners_at_once_begins_once(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    catalogue = folder(tmp_path, "ask")
    user = await waiting_for_an_answer(gateway, catalogue)
    seq = len(await history(gateway, user.key))
    fork, command = fork_of(user, seq, message="Else")
    await asyncio.gather(
        deliver(worker(gateway, catalogue), command, sequence=1001),
        deliver(worker(gateway, catalogue), command, sequence=1002),
    )
    once = await history(gateway, fork.key)
    await deliver(worker(gateway, catalogue), command, sequence=1003)
    await deliver(worker(gateway, catalogue), command, attempt=2, sequence=1001)
    again = await history(gateway, fork.key)
    lasting = [fact for fact in again if not isinstance(fact.event, RunClaimed)]
    assert lasting == [fact for fact in once if not isinstance(fact.event, RunClaimed)]
    assert sum(isinstance(fact.event, ChatForked) for fact in once) == 1
    said = [fact.event.text for fact in once if isinstance(fact.event, UserMessageReceived)]
    assert said == ["Go", "Else"]


async def test_the_message_of_a_fork_is_received_though_its_runner_died_before(
    gateway: JetStreamGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = folder(tmp_path, "wait")
    (tmp_path / "Bench" / "go").touch()
    user = ChatUser(workflow=BENCH)
    await deliver(worker(gateway, catalogue), user.start_chat("Go"))
    origin = await history(gateway, user.key)
    fork, command = fork_of(user, len(origin), message="Else")

    async def die(_: ChatLog) -> None:
        raise NatsUnavailableError("the process is gone")

    with monkeypatch.context() as dying:
        dying.setattr(ChatLog, "refresh", die)
        with pytest.raises(NatsUnavailableError):
            await deliver(worker(gateway, catalogue), command)
    begun = await history(gateway, fork.key)
    assert event_types(own(begun, fork)) == ["chat.forked"]
    await deliver(worker(gateway, catalogue), command, attempt=2)
    facts = await history(gateway, fork.key)
    assert event_types(own(facts, fork))[:2] == ["chat.forked", "chat.user_message_received"]
    assert replay(facts).waits_for_user


async def test_a_fork_where_the_user_is_to_speak_is_begun_without_reading_its_history(
    gateway: JetStreamGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = folder(tmp_path, "wait")
    (tmp_path / "Bench" / "go").touch()
    user = ChatUser(workflow=BENCH)
    await deliver(worker(gateway, catalogue), user.start_chat("Go"))
    origin = await history(gateway, user.key)
    fork, command = fork_of(user, len(origin))

    async def refuse(_: ChatLog) -> None:
        raise AssertionError("the history is read")

    with monkeypatch.context() as reading:
        reading.setattr(ChatLog, "refresh", refuse)
        await deliver(worker(gateway, catalogue), command)
    assert event_types(await history(gateway, fork.key)) == [*event_types(origin), "chat.forked"]


async def test_a_chat_of_another_user_or_app_is_not_forked(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    catalogue = folder(tmp_path, "ask")
    user = await waiting_for_an_answer(gateway, catalogue)
    fork, command = fork_of(user, 1, by="bob")
    elsewhere = command.model_copy(update={"app_id": "other", "user_id": user.user})
    beyond = fork_of(user, 10_000)[1]
    for wrong in (command, elsewhere, beyond):
        with pytest.raises(UnprocessableMessageError):
            await deliver(worker(gateway, catalogue), wrong)
        assert await history(gateway, wrong.key) == []
    del fork


async def test_a_fork_of_a_fork_goes_on_from_it(gateway: JetStreamGateway, tmp_path: Path) -> None:
    catalogue = folder(tmp_path, "ask")
    user = await waiting_for_an_answer(gateway, catalogue)
    asked = await history(gateway, user.key)
    first, command = fork_of(user, len(asked))
    await deliver(worker(gateway, catalogue), command)
    await deliver(worker(gateway, catalogue), first.answer_question(last_question(asked), "rye"))
    answered = await history(gateway, first.key)
    second, command = fork_of(first, len(answered), message="More")
    await deliver(worker(gateway, catalogue), command)
    facts = await history(gateway, second.key)
    assert facts[: len(answered)] == answered
    state = replay(facts)
    assert state.variables["chat_id"] == second.key.chat
    assert event_types(own(facts, second))[:2] == ["chat.forked", "chat.user_message_received"]
    assert isinstance(facts[0].event, ChatStarted)
    assert WorkflowName("Bench") == state.workflow
