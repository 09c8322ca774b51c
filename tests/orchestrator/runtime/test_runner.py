"""Runs of chats on a real NATS: one runner per chat, concurrent commands, commands that always fail."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ag2 import Agent
from ag2.config import LLMClient, ModelConfig
from ag2.context import ConversationContext
from ag2.events import BaseEvent, ModelMessageChunk, ModelResponse
from nats.aio.msg import Msg

from contracts import subjects
from contracts.commands import Command
from contracts.envelope import Envelope
from contracts.events.business import BusinessLogged
from contracts.events.chat import ChatFailed
from contracts.events.human import HumanAnswered, HumanAsked
from contracts.events.run import RunClaimed
from contracts.ids import ChatKey, DeliveryId, QuestionId, WorkflowName, new_command_id
from infra.servers import NatsServer
from services.chassis.consumers.errors import OwnershipLostError
from services.chassis.consumers.queue_consumer import QueueConsumer
from services.chassis.consumers.work_queue import Fairness, WorkQueue
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.event_log import decision_of
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.live_channel import LiveChannel
from services.chassis.nats.direct_subscription import (
    DirectSubscription,
    OnMessage,
    subscribe_directly,
)
from services.chassis.streams.ensure import ensure_streams
from services.orchestrator.agents.execution.agent_set import AgentSet
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.agents.registry.workflow_version import WorkflowVersion
from services.orchestrator.domain.evolution import replay
from services.orchestrator.domain.state import Effect
from services.orchestrator.domain.turn_steps import Completed, Outcome, Suspended
from services.orchestrator.runtime.chat_journal import ChatJournal
from services.orchestrator.runtime.chat_log import ChatLog
from services.orchestrator.runtime.command_handler import CommandHandler, CommandTooEarlyError
from services.orchestrator.runtime.runner import Runner
from services.orchestrator.workflows.demo import DemoScripts
from services.orchestrator.workflows.loading import LoadedWorkflow
from services.orchestrator.workflows.spec import Workflow
from tests.gateway import connected_gateway
from tests.orchestrator.chat_harness import (
    ChatUser,
    deliver,
    event_types,
    history,
    last_question,
    runner,
    shipped_catalogue,
)
from tests.patience import PATIENCE_SECONDS
from tests.story import EDITOR, NEWSROOM, NOON, WRITER, asked, calls

pytestmark = pytest.mark.broker

ALONE = replace(NEWSROOM, agents={WRITER: replace(NEWSROOM.agents[WRITER], after_work=None)})
"""One agent, one turn."""


def note(text: str) -> BusinessLogged:
    return BusinessLogged(log_event_type="NOTE", message=text)


async def speak(_: Effect, __: Workflow, chat: ChatJournal) -> Outcome:
    """A turn that is over at once."""
    assert chat.state.open_turn is not None
    await chat.record(note(f"turn {chat.state.open_turn.number}"))
    return Completed("Done.", None)


class Gate:
    """An executor that starts its turn and waits until the test lets it continue."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        self.turns = 0

    async def __call__(self, effect: Effect, workflow: Workflow, chat: ChatJournal) -> Outcome:
        del effect, workflow
        self.turns += 1
        await chat.record(note("before the gate"))
        self.reached.set()
        await self.opened.wait()
        await chat.record(note("after the gate"))
        return Completed("Done.", None)


@asynccontextmanager
async def time_limit() -> AsyncIterator[None]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        yield


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    while not await holds():  # noqa: ASYNC110  a server says when, and not to us
        await asyncio.sleep(0.02)


async def has(gateway: JetStreamGateway, user: ChatUser, type_: str) -> bool:
    return type_ in event_types(await history(gateway, user.key))


def contiguous(envelopes: list[Envelope]) -> bool:
    return [one.seq for one in envelopes] == list(range(1, len(envelopes) + 1))


async def read(gateway: JetStreamGateway, key: ChatKey) -> list[Envelope]:
    return [fact.envelope for fact in await history(gateway, key)]


# -- the fence ------------------------------------------------------------------------------------


class SilentLive(LiveChannel):
    """A live channel that delivers nothing: appends of others show only in the log."""

    async def follow(self, key: ChatKey, on_message: OnMessage) -> DirectSubscription:
        del key
        return await subscribe_directly(self._nc, self._nc.new_inbox(), on_message)


class Viewer:
    """Someone who watches a chat live."""

    def __init__(self) -> None:
        self.saw: list[Envelope] = []

    def on_message(self, message: Msg) -> None:
        if not message.subject.endswith(".delta"):
            _, decision = decision_of(message)
            self.saw += [one.envelope for one in decision.events]


def apart(gateway: JetStreamGateway, execute: Any) -> Runner:
    """A runner as another process has it."""
    return runner(gateway, execute, {NEWSROOM.name: ALONE})


async def test_a_runner_that_was_fenced_stops(gateway: JetStreamGateway) -> None:
    user, viewer, gate = ChatUser(), Viewer(), Gate()
    start, deaf = user.start_chat(), JetStreamGateway(gateway.nc)
    deaf.live = SilentLive(gateway.nc, gateway.reader)
    async with time_limit(), aclosing(await gateway.live.subscribe(user.key, viewer.on_message)):
        passed = asyncio.create_task(deliver(apart(deaf, gate), start))
        await gate.reached.wait()
        await deliver(apart(gateway, speak), start, attempt=2)
        gate.opened.set()
        with pytest.raises(OwnershipLostError):
            await passed
        log = await read(gateway, user.key)
        await until(lambda: _seen(viewer, log))
    assert log[-1].type == "chat.completed"
    assert contiguous(log)
    notes = [one.body["message"] for one in log if one.type == "business.logged"]
    assert notes == ["before the gate", "turn 1"]
    assert viewer.saw == log


async def _seen(viewer: Viewer, log: list[Envelope]) -> bool:
    return len(viewer.saw) >= len(log)


async def test_a_runner_stops_at_once_when_another_has_taken_over(
    gateway: JetStreamGateway,
) -> None:
    user, gate = ChatUser(), Gate()
    start = user.start_chat()
    async with time_limit():
        passed = asyncio.create_task(deliver(apart(gateway, gate), start))
        await gate.reached.wait()
        await deliver(apart(gateway, speak), start, attempt=2)
        with pytest.raises(OwnershipLostError):
            await passed  # the gate was never opened
    assert (await read(gateway, user.key))[-1].type == "chat.completed"


async def test_a_takeover_records_both_runners(gateway: JetStreamGateway) -> None:
    user, gate = ChatUser(), Gate()
    start = user.start_chat()
    async with time_limit():
        dying = asyncio.create_task(deliver(apart(gateway, gate), start))
        await gate.reached.wait()
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        await deliver(apart(gateway, speak), start, attempt=2)
    log = await history(gateway, user.key)
    (claimed,) = [fact for fact in log if isinstance(fact.event, RunClaimed)]
    assert isinstance(claimed.event, RunClaimed)
    before = [one.envelope.runner for one in log if one.envelope.seq < claimed.envelope.seq]
    assert claimed.event.previous == before[-1]
    assert (claimed.event.runner, claimed.event.attempt) == (claimed.envelope.runner, 2)
    assert claimed.envelope.cause == start.command_id


@pytest.mark.parametrize("late", [1, 2])
async def test_a_delivery_that_continues_after_a_later_one_claimed_changes_nothing(
    gateway: JetStreamGateway, late: int
) -> None:
    user, gate, idle = ChatUser(), Gate(), Gate()
    start = user.start_chat()
    async with time_limit():
        first = asyncio.create_task(deliver(apart(gateway, idle), start))
        await idle.reached.wait()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        newest = asyncio.create_task(deliver(apart(gateway, gate), start, attempt=3))
        await gate.reached.wait()
        with pytest.raises(OwnershipLostError):
            await deliver(apart(gateway, speak), start, attempt=late)
        gate.opened.set()
        await newest
    log = await read(gateway, user.key)
    assert log[-1].type == "chat.completed"
    assert [one.type for one in log].count("run.claimed") == 1


async def test_of_two_deliveries_of_one_chat_only_one_appends(
    gateway: JetStreamGateway,
) -> None:
    async def chatter(_: Effect, __: Workflow, chat: ChatJournal) -> Outcome:
        for number in range(30):
            await chat.record(note(f"{number}"))
            await chat.record(note(f"{number} again"))
        return Completed("Done.", None)

    user, viewer, gate = ChatUser(), Viewer(), Gate()
    start = user.start_chat()
    async with time_limit(), aclosing(await gateway.live.subscribe(user.key, viewer.on_message)):
        begun = asyncio.create_task(deliver(apart(gateway, gate), start))
        await gate.reached.wait()
        begun.cancel()  # a process that died in its turn: both others come to its rescue
        await asyncio.gather(begun, return_exceptions=True)
        ended = await asyncio.gather(
            deliver(apart(gateway, chatter), start, attempt=2),
            deliver(apart(gateway, chatter), start, attempt=3),
            return_exceptions=True,
        )
        log = await read(gateway, user.key)
        await until(lambda: _seen(viewer, log))
    assert {type(one) for one in ended} <= {type(None), OwnershipLostError}
    assert None in ended
    assert contiguous(log)
    assert log[-1].type == "chat.completed"
    runners = [one.runner for one in log]
    changes = sum(a != b for a, b in pairwise(runners))
    assert changes == len(set(runners)) - 1, "a runner came back after another had appended"
    assert viewer.saw == log


async def test_a_command_for_a_chat_that_another_delivery_runs_is_applied_and_left_to_it(
    gateway: JetStreamGateway,
) -> None:
    user, gate, other = ChatUser(), Gate(), Gate()
    async with time_limit():
        held = asyncio.create_task(deliver(apart(gateway, gate), user.start_chat()))
        await gate.reached.wait()
        await deliver(apart(gateway, other), user.send_message("Hello?"))
        assert other.turns == 0
        gate.opened.set()
        await held
    assert gate.turns == 1


async def test_two_messages_of_one_command_are_run_once(gateway: JetStreamGateway) -> None:
    user, gate, other = ChatUser(), Gate(), Gate()
    start = user.start_chat()
    async with time_limit():
        held = asyncio.create_task(deliver(apart(gateway, gate), start))
        await gate.reached.wait()
        await deliver(apart(gateway, other), start, sequence=10**6)  # past the window of duplicates
        assert other.turns == 0
        gate.opened.set()
        await held
    assert "run.claimed" not in event_types(await history(gateway, user.key))


async def test_an_answer_takes_over_the_chat_from_a_runner_that_is_still_stopping(
    gateway: JetStreamGateway,
) -> None:
    """The answer arrives before the asking runner has stopped: the answer's delivery continues the run."""
    asked, acted = asyncio.Event(), asyncio.Event()

    async def ask(effect: Effect, workflow: Workflow, chat: ChatJournal) -> Outcome:
        del effect, workflow
        assert chat.state.open_turn is not None
        if chat.state.open_turn.answers:
            return Completed("Done.", None)
        question = subjects.question(chat.key, 1, "call-1", 0)
        place: dict[str, Any] = {"turn": 1, "agent": WRITER, "tool_call_id": "call-1", "ordinal": 0}
        await chat.record(calls("hurry"), HumanAsked(question_id=question, prompt="?", **place))
        asked.set()
        await chat.log.wait_until(
            lambda state: state.open_turn is not None and bool(state.open_turn.answers)
        )
        chat.check_ownership()
        acted.set()
        return Suspended()

    user = ChatUser()
    async with time_limit():
        first = asyncio.create_task(deliver(apart(gateway, ask), user.start_chat()))
        await asked.wait()
        question = last_question(await history(gateway, user.key))
        await deliver(apart(gateway, ask), user.answer_question(question, "now"))
        await first  # its message may be acknowledged: the answer's owns the chat
    log = await read(gateway, user.key)
    assert not acted.is_set()
    assert log[-1].type == "chat.completed"
    owners = [one.cause for one in log]
    assert len(set(owners)) == 2
    assert sum(a != b for a, b in pairwise(owners)) == 1


async def test_a_chat_whose_owners_message_is_gone_is_resumed_by_the_audit(
    gateway: JetStreamGateway,
) -> None:
    user, gate = ChatUser(), Gate()
    async with time_limit():
        lost = asyncio.create_task(deliver(apart(gateway, gate), user.start_chat()))
        await gate.reached.wait()
        lost.cancel()
        await asyncio.gather(lost, return_exceptions=True)
        state = replay(await history(gateway, user.key))
        assert state.owner is not None
        await deliver(apart(gateway, speak), user.resume_chat(state.owner.message + 1))
        assert (await read(gateway, user.key))[-1].type == "business.logged"
        await deliver(apart(gateway, speak), user.resume_chat(state.owner.message))
    assert (await read(gateway, user.key))[-1].type == "chat.completed"


# -- while a turn goes on -------------------------------------------------------------------------


class Endless(ModelConfig):
    """A model that streams one word and then never ends."""

    def __init__(self) -> None:
        self.speaking = asyncio.Event()
        self.stopped = asyncio.Event()

    @property
    def provider(self) -> Any:
        raise NotImplementedError

    @property
    def model(self) -> str:
        return "endless"

    def copy(self) -> "Endless":
        return self

    def create(self) -> LLMClient:
        return _EndlessClient(self)

    def create_files_client(self) -> Any:
        raise NotImplementedError


class _EndlessClient(LLMClient):
    def __init__(self, model: Endless) -> None:
        self._model = model

    async def __call__(
        self, messages: Any, context: ConversationContext, **more: Any
    ) -> ModelResponse:
        del messages, more
        chunk: BaseEvent = ModelMessageChunk("Well")
        await context.send(chunk)
        self._model.speaking.set()
        try:
            await asyncio.Event().wait()
        finally:
            self._model.stopped.set()
        raise AssertionError("unreachable")


async def test_a_cancellation_by_another_process_stops_the_model_stream_at_once(
    gateway: JetStreamGateway,
) -> None:
    user, model = ChatUser(), Endless()
    alone = AgentSet({WRITER: Agent("Writer", config=model)})
    version = WorkflowVersion(LoadedWorkflow("Alone", ALONE, DemoScripts()), alone)
    here = runner(gateway, AgentExecutor(version, 5), {ALONE.name: ALONE})
    elsewhere = runner(gateway, speak, {ALONE.name: ALONE})
    async with time_limit():
        running = asyncio.create_task(deliver(here, user.start_chat()))
        await model.speaking.wait()
        await deliver(elsewhere, user.cancel_chat())
        await model.stopped.wait()
        await running
    assert event_types(await history(gateway, user.key))[-4:] == [
        "turn.model_requested",
        "turn.stop_requested",
        "turn.text_interrupted",
        "chat.cancelled",
    ]


async def test_a_message_during_a_turn_neither_stops_nor_repeats_the_turn(
    gateway: JetStreamGateway,
) -> None:
    user, gate = ChatUser(), Gate()
    here = runner(gateway, gate, {NEWSROOM.name: ALONE})
    elsewhere = runner(gateway, speak, {NEWSROOM.name: ALONE})
    async with time_limit():
        running = asyncio.create_task(deliver(here, user.start_chat()))
        await gate.reached.wait()
        await deliver(elsewhere, user.send_message("Hurry up"))
        gate.opened.set()
        await running
    assert gate.turns == 1
    assert event_types(await history(gateway, user.key)) == [
        "chat.started",
        "turn.speaker_selected",
        "business.logged",
        "chat.user_message_received",
        "business.logged",
        "turn.completed",
        "chat.user_message_refused",
        "chat.completed",
    ]


async def test_two_starts_in_parallel_are_one_chat(gateway: JetStreamGateway) -> None:
    user = ChatUser()
    turns: list[int] = []

    async def count(effect: Effect, workflow: Workflow, chat: ChatJournal) -> Outcome:
        assert chat.state.open_turn is not None
        turns.append(chat.state.open_turn.number)
        return await speak(effect, workflow, chat)

    runners = [runner(gateway, count, {NEWSROOM.name: NEWSROOM}) for _ in range(4)]
    starts = [user.start_chat() for _ in runners]
    async with time_limit():
        await asyncio.gather(
            *(deliver(one, start) for one, start in zip(runners, starts, strict=True))
        )
        await until(lambda: has(gateway, user, "chat.completed"))
    log = await read(gateway, user.key)
    assert contiguous(log)
    assert [one.type for one in log].count("chat.started") == 1
    assert turns == [1, 2]
    assert [one.actor for one in log if one.type == "turn.completed"] == [
        f"agent:{WRITER}",
        f"agent:{EDITOR}",
    ]


# -- the queue ------------------------------------------------------------------------------------


@asynccontextmanager
async def listening(
    worker: Runner,
    gateway: JetStreamGateway,
    max_attempts: int = 20,
    fairness: Fairness | None = None,
    slots: int = 8,
) -> AsyncIterator[QueueConsumer]:
    handlers = CommandHandler(worker)
    commands = WorkQueue(
        stream=subjects.COMMANDS,
        subject=subjects.ALL_COMMANDS,
        durable="orchestrator",
        concurrency=slots,
        max_attempts=max_attempts,
        fairness=fairness,
    )
    listener = QueueConsumer(gateway, commands, handlers.on_command, handlers.on_given_up)
    listener.start()
    try:
        yield listener
    finally:
        await listener.stop(5)


async def settled(gateway: JetStreamGateway, listener: QueueConsumer) -> bool:
    """Whether every command is done or buried."""
    open_ = (await gateway.js.stream_info(subjects.COMMANDS)).state.messages
    return not open_ and not listener.in_flight


async def test_a_chat_that_waits_for_a_user_has_no_task_and_no_command(
    queue: JetStreamGateway,
) -> None:
    catalogue, user = shipped_catalogue(), ChatUser(workflow=WorkflowName("Generator"))
    worker = runner(queue, AgentExecutor(catalogue, 25), catalogue.workflows)
    async with time_limit(), listening(worker, queue) as listener:
        idle = {task.get_name() for task in asyncio.all_tasks()}
        await queue.commands.send(user.start_chat())
        await until(lambda: has(queue, user, "human.asked"))
        await until(lambda: settled(queue, listener))
        busy = {task.get_name() for task in asyncio.all_tasks()} - idle
        assert not [name for name in busy if name.startswith("handle")]
        asked = last_question(await history(queue, user.key))
        await queue.commands.send(user.answer_question(asked, "A garden planner"))
        await until(lambda: has(queue, user, "turn.completed"))


async def test_a_command_that_always_fails_becomes_a_dead_letter_and_fails_its_chat(
    queue: JetStreamGateway,
) -> None:
    async def always_fails(_: Effect, __: Workflow, chat: ChatJournal) -> Outcome:
        raise ZeroDivisionError(f"secret of {chat.key.chat}")

    user = ChatUser()
    start: Command = user.start_chat()
    worker = runner(queue, always_fails)
    letters = await queue.js.pull_subscribe(
        subjects.dead_letter("orchestrator", subjects.command(user.key, start.name)),
        stream=subjects.DEAD_LETTERS,
    )
    async with time_limit(), listening(worker, queue, max_attempts=2) as listener:
        await queue.commands.send(start)
        (letter,) = await letters.fetch(1, timeout=15)
        await until(lambda: has(queue, user, "chat.failed"))
        await until(lambda: settled(queue, listener))
    await letters.unsubscribe()
    headers = letter.headers or {}
    assert "ZeroDivisionError" in headers["Mozaiks-Reason"]
    assert letter.data == start.model_dump_json().encode()
    facts = await history(queue, user.key)
    assert isinstance(facts[-1].event, ChatFailed)
    assert facts[-1].event.code == "GIVEN_UP"
    assert "secret" not in facts[-1].event.message


async def test_a_turn_without_progress_becomes_a_dead_letter(queue: JetStreamGateway) -> None:
    async def idle(_: Effect, __: Workflow, ___: ChatJournal) -> Outcome:
        return Suspended()

    user = ChatUser()
    worker = runner(queue, idle)
    async with time_limit(), listening(worker, queue, max_attempts=1):
        await queue.commands.send(user.start_chat())
        await until(lambda: has(queue, user, "chat.failed"))


async def test_another_process_continues_the_runs_of_a_stopping_one(
    queue: JetStreamGateway,
) -> None:
    user, gate = ChatUser(), Gate()
    async with time_limit():
        async with listening(runner(queue, gate), queue):
            await queue.commands.send(user.start_chat())
            await gate.reached.wait()
        assert not await has(queue, user, "turn.completed")
        async with listening(runner(queue, speak), queue):
            await until(lambda: has(queue, user, "chat.completed"))
    assert contiguous(await read(queue, user.key))


async def test_a_message_that_is_not_a_command_becomes_a_dead_letter(
    queue: JetStreamGateway,
) -> None:
    user = ChatUser()
    worker = runner(queue, speak)
    subject = subjects.command(user.key, "start_chat")
    async with time_limit(), listening(worker, queue) as listener:
        await queue.js.publish(subject, b"{")
        await queue.js.publish(subject, user.cancel_chat().model_dump_json().encode())
        other = ChatUser()
        await queue.commands.send(other.start_chat())
        await until(lambda: has(queue, other, "chat.completed"))
        await until(lambda: settled(queue, listener))
    assert await history(queue, user.key) == []


async def test_an_unavailable_workflow_fails_its_chat_with_a_message(
    gateway: JetStreamGateway,
) -> None:
    user = ChatUser()
    await deliver(runner(gateway, speak, {}), user.start_chat())
    failed = (await history(gateway, user.key))[-1].event
    assert isinstance(failed, ChatFailed)
    assert failed.code == "WORKFLOW_UNAVAILABLE"


# -- the chat's log as a journal --------------------------------------------------------------------


async def test_a_change_between_the_call_and_the_wait_is_not_missed(
    gateway: JetStreamGateway,
) -> None:
    me = DeliveryId("process", 1, 1)
    chat = ChatLog(gateway, ChatUser().key, me, new_command_id(), lambda: NOON)
    change = chat.changed()
    chat._notify()
    async with time_limit():
        await change


async def test_a_runner_follows_events_of_another_connection(
    nats: Any, gateway: JetStreamGateway
) -> None:
    user, gate = ChatUser(), Gate()
    async with time_limit(), connected_gateway(nats.url) as other:
        running = asyncio.create_task(
            deliver(runner(gateway, gate, {NEWSROOM.name: ALONE}), user.start_chat())
        )
        await gate.reached.wait()
        await deliver(runner(other, speak, {}), user.cancel_chat())
        await running
    assert (await read(gateway, user.key))[-1].type == "chat.cancelled"


class Asking:
    """An executor whose first turn asks a question, which may expire at once, and whose next one ends."""

    def __init__(self, *, expires: bool = True) -> None:
        self.answers_seen: list[str] = []
        self._expires = expires

    async def __call__(self, effect: Effect, workflow: Workflow, chat: ChatJournal) -> Outcome:
        del effect, workflow
        assert chat.state.open_turn is not None
        answers = list(chat.state.open_turn.answers.values())
        if answers:
            self.answers_seen += [
                answer.text for answer in answers if isinstance(answer, HumanAnswered)
            ]
            return Completed("Done.", None)
        question = subjects.question(chat.key, 1, "call-1", 0)
        ends = await chat.expire(question, 0.5) if self._expires else None
        await chat.record(
            calls("hurry"),
            HumanAsked(
                question_id=question,
                turn=1,
                agent=WRITER,
                tool_call_id="call-1",
                ordinal=0,
                prompt="Quick?",
                expires_at=ends,
                default="too late",
            ),
        )
        return Suspended()


async def test_an_unanswered_question_expires_without_a_running_task(
    queue: JetStreamGateway,
) -> None:
    asking, user = Asking(), ChatUser(workflow=ALONE.name)
    worker = runner(queue, asking, {ALONE.name: ALONE})
    async with time_limit(), listening(worker, queue) as listener:
        await queue.commands.send(user.start_chat())
        await until(lambda: has(queue, user, "chat.completed"))
        await until(lambda: settled(queue, listener))
    assert asking.answers_seen == ["too late"]
    answers = [f for f in await history(queue, user.key) if isinstance(f.event, HumanAnswered)]
    assert [answer.envelope.actor for answer in answers] == ["runtime"]  # no user sent it


async def test_an_app_that_may_open_no_more_chats_still_answers_and_cancels_those_it_has(
    queue: JetStreamGateway,
) -> None:
    """One chat may be open. What is sent to another is recorded at once, and runs it once it may."""
    asking, gate = Asking(expires=False), Gate()
    waiting, working = ChatUser(workflow=ALONE.name), ChatUser(workflow=ALONE.name)

    async def execute(effect: Effect, workflow: Workflow, chat: ChatJournal) -> Outcome:
        turn = asking if chat.key == waiting.key else gate
        return await turn(effect, workflow, chat)

    worker = runner(queue, execute, {ALONE.name: ALONE})
    one = Fairness(max_open=2, max_held=100, share=0.5)
    async with time_limit(), listening(worker, queue, fairness=one, slots=2) as listener:
        await queue.commands.send(waiting.start_chat())
        await until(lambda: has(queue, waiting, "human.asked"))
        await until(lambda: settled(queue, listener))
        await queue.commands.send(working.start_chat())
        await gate.reached.wait()
        question = last_question(await history(queue, waiting.key))
        await queue.commands.send(waiting.answer_question(question, "quick"))
        await until(lambda: has(queue, waiting, "human.answered"))
        assert asking.answers_seen == []
        await queue.commands.send(working.cancel_chat())
        await until(lambda: has(queue, waiting, "chat.completed"))
        await until(lambda: settled(queue, listener))
    assert asking.answers_seen == ["quick"]
    assert event_types(await history(queue, working.key))[-1] == "chat.cancelled"
    log = await read(queue, waiting.key)
    assert contiguous(log)
    assert [one.type for one in log].count("human.answered") == 1


class AskingLate:
    """A turn whose question expires before it is in the log."""

    def __init__(self) -> None:
        self.timer_set, self.may_ask = asyncio.Event(), asyncio.Event()
        self.timer: tuple[QuestionId, datetime] | None = None

    async def __call__(self, effect: Effect, workflow: Workflow, chat: ChatJournal) -> Outcome:
        del effect, workflow
        assert chat.state.open_turn is not None
        if chat.state.open_turn.answers:
            return Completed("Done.", None)
        question = subjects.question(chat.key, 1, "call-1", 0)
        ends = await chat.expire(question, 0)
        self.timer = question, ends
        self.timer_set.set()
        await self.may_ask.wait()
        asked_ = asked().model_copy(
            update={"question_id": question, "expires_at": ends, "default": "too late"}
        )
        await chat.record(calls("hurry"), asked_)
        return Suspended()


async def test_a_question_that_expires_before_it_is_asked_is_answered_once_it_is(
    queue: JetStreamGateway,
) -> None:
    asking, user = AskingLate(), ChatUser(workflow=ALONE.name)
    worker = runner(queue, asking, {ALONE.name: ALONE})
    async with time_limit():
        running = asyncio.create_task(deliver(worker, user.start_chat()))
        await asking.timer_set.wait()
        assert asking.timer is not None
        timer = user.expire_question(*asking.timer)
        with pytest.raises(CommandTooEarlyError):
            await deliver(apart(queue, asking), timer)
        asking.may_ask.set()
        await running
        await deliver(apart(queue, asking), timer, attempt=2)
    facts = await history(queue, user.key)
    [answer] = [fact.event for fact in facts if isinstance(fact.event, HumanAnswered)]
    assert (answer.text, answer.by_default) == ("too late", True)
    assert event_types(facts)[-1] == "chat.completed"


# -- a log that is not the one that was read ------------------------------------------------------


async def test_a_run_stops_if_the_stream_was_created_anew(
    nats: NatsServer,  # noqa: ARG001
    tmp_path: Path,
) -> None:
    server = NatsServer(tmp_path / "nats")
    server.start()
    try:
        async with connected_gateway(server.url) as gateway, time_limit():
            user, gate = ChatUser(), Gate()
            running = asyncio.create_task(deliver(apart(gateway, gate), user.start_chat()))
            await gate.reached.wait()
            await gateway.js.delete_stream(subjects.EVENTS)
            await ensure_streams(gateway.nc, replicas=1)
            gate.opened.set()
            with pytest.raises(NatsUnavailableError):
                await running
    finally:
        server.stop()
