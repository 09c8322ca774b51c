"""Chats run on a real NATS: one runner each, whatever arrives meanwhile, and an end to poison."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
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
from contracts.ids import ChatKey, DeliveryId, WorkflowName, new_command_id
from infra.servers import NatsServer
from services.chassis.bus import Bus
from services.chassis.direct_get import UnavailableError
from services.chassis.event_log import decision_of
from services.chassis.listening import LeftToAnotherError, Queue, QueueConsumer
from services.chassis.streams import ensure_streams
from services.orchestrator.agents.build import Cast
from services.orchestrator.agents.offer import Edition, build_performer
from services.orchestrator.chatlog import ChatLog
from services.orchestrator.handlers import Handlers
from services.orchestrator.runner import Runner
from services.orchestrator.state import Effect, replay
from services.orchestrator.turns import Outcome, Spoke, Waits
from services.orchestrator.workflows.demo import DemoScripts
from services.orchestrator.workflows.loading import Loaded
from services.orchestrator.workflows.spec import Workflow
from tests.orchestrator.world import (
    Person,
    bus_to,
    history,
    last_question,
    runner,
    shipped,
    tell,
    types,
)
from tests.story import EDITOR, NEWSROOM, NOON, WRITER, calls

pytestmark = pytest.mark.broker

ALONE = replace(NEWSROOM, agents={WRITER: replace(NEWSROOM.agents[WRITER], after_work=None)})
"""One agent, one turn."""


def note(text: str) -> BusinessLogged:
    return BusinessLogged(log_event_type="NOTE", message=text)


async def speak(_: Effect, __: Workflow, chat: ChatLog) -> Outcome:
    """A turn that is over at once."""
    assert chat.state.open is not None
    await chat.record(note(f"turn {chat.state.open.number}"))
    return Spoke("Done.", None)


class Gate:
    """A performer that begins its turn, and waits to be let through."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        self.turns = 0

    async def __call__(self, effect: Effect, workflow: Workflow, chat: ChatLog) -> Outcome:
        del effect, workflow
        self.turns += 1
        await chat.record(note("before the gate"))
        self.reached.set()
        await self.opened.wait()
        await chat.record(note("after the gate"))
        return Spoke("Done.", None)


@asynccontextmanager
async def patience() -> AsyncIterator[None]:
    async with asyncio.timeout(20):
        yield


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    while not await holds():  # noqa: ASYNC110  a server says when, and not to us
        await asyncio.sleep(0.02)


async def has(bus: Bus, person: Person, type_: str) -> bool:
    return type_ in types(await history(bus, person.key))


def contiguous(envelopes: list[Envelope]) -> bool:
    return [one.seq for one in envelopes] == list(range(1, len(envelopes) + 1))


async def read(bus: Bus, key: ChatKey) -> list[Envelope]:
    return [fact.envelope for fact in await history(bus, key)]


# -- the fence ------------------------------------------------------------------------------------


class DeafBus(Bus):
    """A bus whose live subjects do not reach us: what others append, only the log can tell."""

    @asynccontextmanager
    async def watching(
        self, key: ChatKey, on_message: Callable[[Msg], Awaitable[None]]
    ) -> AsyncIterator[None]:
        del key, on_message
        yield


class Viewer:
    """Someone who watches a chat live."""

    def __init__(self) -> None:
        self.saw: list[Envelope] = []

    async def on_message(self, message: Msg) -> None:
        if not message.subject.endswith(".delta"):
            _, decision = decision_of(message)
            self.saw += [one.envelope for one in decision.events]


def apart(bus: Bus, perform: Any) -> Runner:
    """A runner as another process has it."""
    return runner(bus, perform, {NEWSROOM.name: ALONE})


async def test_a_runner_that_was_passed_is_refused_and_stops(bus: Bus) -> None:
    person, viewer, gate = Person(), Viewer(), Gate()
    deaf, start = DeafBus(bus.nc), person.starts()
    async with patience(), bus.watching(person.key, viewer.on_message):
        passed = asyncio.create_task(tell(apart(deaf, gate), start))
        await gate.reached.wait()
        await tell(apart(bus, speak), start, attempt=2)
        gate.opened.set()
        with pytest.raises(LeftToAnotherError):
            await passed
        log = await read(bus, person.key)
        await until(lambda: _seen(viewer, log))
    assert log[-1].type == "chat.completed"
    assert contiguous(log)
    notes = [one.body["message"] for one in log if one.type == "business.logged"]
    assert notes == ["before the gate", "turn 1"]
    assert viewer.saw == log


async def _seen(viewer: Viewer, log: list[Envelope]) -> bool:
    return len(viewer.saw) >= len(log)


async def test_a_runner_that_hears_of_another_stops_at_once(bus: Bus) -> None:
    person, gate = Person(), Gate()
    start = person.starts()
    async with patience():
        passed = asyncio.create_task(tell(apart(bus, gate), start))
        await gate.reached.wait()
        await tell(apart(bus, speak), start, attempt=2)
        with pytest.raises(LeftToAnotherError):
            await passed  # the gate was never opened
    assert (await read(bus, person.key))[-1].type == "chat.completed"


async def test_a_takeover_says_who_took_over_from_whom(bus: Bus) -> None:
    person, gate = Person(), Gate()
    start = person.starts()
    async with patience():
        dying = asyncio.create_task(tell(apart(bus, gate), start))
        await gate.reached.wait()
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        await tell(apart(bus, speak), start, attempt=2)
    log = await history(bus, person.key)
    (claimed,) = [fact for fact in log if isinstance(fact.event, RunClaimed)]
    assert isinstance(claimed.event, RunClaimed)
    before = [one.envelope.runner for one in log if one.envelope.seq < claimed.envelope.seq]
    assert claimed.event.previous == before[-1]
    assert (claimed.event.runner, claimed.event.attempt) == (claimed.envelope.runner, 2)
    assert claimed.envelope.cause == start.command_id


@pytest.mark.parametrize("late", [1, 2])
async def test_a_delivery_that_comes_back_after_a_later_one_claimed_changes_nothing(
    bus: Bus, late: int
) -> None:
    person, gate, idle = Person(), Gate(), Gate()
    start = person.starts()
    async with patience():
        first = asyncio.create_task(tell(apart(bus, idle), start))
        await idle.reached.wait()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        newest = asyncio.create_task(tell(apart(bus, gate), start, attempt=3))
        await gate.reached.wait()
        with pytest.raises(LeftToAnotherError):
            await tell(apart(bus, speak), start, attempt=late)
        gate.opened.set()
        await newest
    log = await read(bus, person.key)
    assert log[-1].type == "chat.completed"
    assert [one.type for one in log].count("run.claimed") == 1


async def test_of_two_deliveries_in_one_chat_one_appends_and_nothing_interleaves(bus: Bus) -> None:
    async def chatter(_: Effect, __: Workflow, chat: ChatLog) -> Outcome:
        for number in range(30):
            await chat.record(note(f"{number}"))
            await chat.record(note(f"{number} again"))
        return Spoke("Done.", None)

    person, viewer, gate = Person(), Viewer(), Gate()
    start = person.starts()
    async with patience(), bus.watching(person.key, viewer.on_message):
        begun = asyncio.create_task(tell(apart(bus, gate), start))
        await gate.reached.wait()
        begun.cancel()  # a process that died in its turn: both others come to its rescue
        await asyncio.gather(begun, return_exceptions=True)
        ended = await asyncio.gather(
            tell(apart(bus, chatter), start, attempt=2),
            tell(apart(bus, chatter), start, attempt=3),
            return_exceptions=True,
        )
        log = await read(bus, person.key)
        await until(lambda: _seen(viewer, log))
    assert {type(one) for one in ended} <= {type(None), LeftToAnotherError}
    assert None in ended
    assert contiguous(log)
    assert log[-1].type == "chat.completed"
    runners = [one.runner for one in log]
    changes = sum(a != b for a, b in pairwise(runners))
    assert changes == len(set(runners)) - 1, "a runner came back after another had appended"
    assert viewer.saw == log


async def test_a_command_of_a_chat_that_another_runs_is_taken_in_and_left_to_it(bus: Bus) -> None:
    person, gate, other = Person(), Gate(), Gate()
    async with patience():
        held = asyncio.create_task(tell(apart(bus, gate), person.starts()))
        await gate.reached.wait()
        await tell(apart(bus, other), person.says("Hello?"))
        assert other.turns == 0
        gate.opened.set()
        await held
    assert gate.turns == 1


async def test_two_messages_of_one_command_are_run_once(bus: Bus) -> None:
    person, gate, other = Person(), Gate(), Gate()
    start = person.starts()
    async with patience():
        held = asyncio.create_task(tell(apart(bus, gate), start))
        await gate.reached.wait()
        await tell(apart(bus, other), start, sequence=10**6)  # past the window of duplicates
        assert other.turns == 0
        gate.opened.set()
        await held
    assert "run.claimed" not in types(await history(bus, person.key))


async def test_an_answer_takes_the_chat_over_from_a_runner_that_has_not_stopped_yet(
    bus: Bus,
) -> None:
    """Between the question and its runner's end lies a moment: the answer's delivery runs on."""
    asked, acted = asyncio.Event(), asyncio.Event()

    async def ask(effect: Effect, workflow: Workflow, chat: ChatLog) -> Outcome:
        del effect, workflow
        assert chat.state.open is not None
        if chat.state.open.answers:
            return Spoke("Done.", None)
        question = subjects.question(chat.key, 1, "call-1", 0)
        place: dict[str, Any] = {"turn": 1, "agent": WRITER, "tool_call_id": "call-1", "ordinal": 0}
        await chat.record(calls("hurry"), HumanAsked(question_id=question, prompt="?", **place))
        asked.set()
        await chat.until(lambda state: state.open is not None and bool(state.open.answers))
        chat.check_ownership()
        acted.set()
        return Waits()

    person = Person()
    async with patience():
        first = asyncio.create_task(tell(apart(bus, ask), person.starts()))
        await asked.wait()
        question = last_question(await history(bus, person.key))
        await tell(apart(bus, ask), person.answers(question, "now"))
        await first  # its message may be acknowledged: the answer's owns the chat
    log = await read(bus, person.key)
    assert not acted.is_set()
    assert log[-1].type == "chat.completed"
    owners = [one.cause for one in log]
    assert len(set(owners)) == 2
    assert sum(a != b for a, b in pairwise(owners)) == 1


async def test_a_chat_whose_owners_message_is_gone_is_resumed_by_the_audit_s_command(
    bus: Bus,
) -> None:
    person, gate = Person(), Gate()
    async with patience():
        lost = asyncio.create_task(tell(apart(bus, gate), person.starts()))
        await gate.reached.wait()
        lost.cancel()
        await asyncio.gather(lost, return_exceptions=True)
        state = replay(await history(bus, person.key))
        assert state.owner is not None
        await tell(apart(bus, speak), person.resumes(state.owner.message + 1))
        assert (await read(bus, person.key))[-1].type == "business.logged"
        await tell(apart(bus, speak), person.resumes(state.owner.message))
    assert (await read(bus, person.key))[-1].type == "chat.completed"


# -- while a turn goes on -------------------------------------------------------------------------


class Endless(ModelConfig):
    """A model that speaks one word and then never ends."""

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


async def test_a_cancel_from_elsewhere_reaches_the_model_stream_at_once(bus: Bus) -> None:
    person, model = Person(), Endless()
    alone = Cast({WRITER: Agent("Writer", config=model)})
    edition = Edition(Loaded("Alone", ALONE, DemoScripts()), alone)
    here = runner(bus, build_performer(edition, 5), {ALONE.name: ALONE})
    elsewhere = runner(bus, speak, {ALONE.name: ALONE})
    async with patience():
        running = asyncio.create_task(tell(here, person.starts()))
        await model.speaking.wait()
        await tell(elsewhere, person.cancels())
        await model.stopped.wait()
        await running
    assert types(await history(bus, person.key))[-2:] == ["turn.model_requested", "chat.cancelled"]


async def test_a_message_mid_turn_neither_stops_nor_doubles_the_turn(bus: Bus) -> None:
    person, gate = Person(), Gate()
    here = runner(bus, gate, {NEWSROOM.name: ALONE})
    elsewhere = runner(bus, speak, {NEWSROOM.name: ALONE})
    async with patience():
        running = asyncio.create_task(tell(here, person.starts()))
        await gate.reached.wait()
        await tell(elsewhere, person.says("Hurry up"))
        gate.opened.set()
        await running
    assert gate.turns == 1
    assert types(await history(bus, person.key)) == [
        "chat.started",
        "turn.speaker_selected",
        "business.logged",
        "chat.user_message_received",
        "business.logged",
        "turn.completed",
        "chat.completed",
    ]


async def test_two_starts_in_parallel_are_one_chat(bus: Bus) -> None:
    person = Person()
    turns: list[int] = []

    async def count(effect: Effect, workflow: Workflow, chat: ChatLog) -> Outcome:
        assert chat.state.open is not None
        turns.append(chat.state.open.number)
        return await speak(effect, workflow, chat)

    runners = [runner(bus, count, {NEWSROOM.name: NEWSROOM}) for _ in range(4)]
    starts = [person.starts() for _ in runners]
    async with patience():
        await asyncio.gather(
            *(tell(one, start) for one, start in zip(runners, starts, strict=True))
        )
        await until(lambda: has(bus, person, "chat.completed"))
    log = await read(bus, person.key)
    assert contiguous(log)
    assert [one.type for one in log].count("chat.started") == 1
    assert turns == [1, 2]
    assert [one.actor for one in log if one.type == "turn.completed"] == [
        f"agent:{WRITER}",
        f"agent:{EDITOR}",
    ]


# -- the queue ------------------------------------------------------------------------------------


@asynccontextmanager
async def listening(told: Runner, bus: Bus, tries: int = 20) -> AsyncIterator[QueueConsumer]:
    handlers = Handlers(told)
    commands = Queue(
        stream=subjects.COMMANDS,
        subject=subjects.ALL_COMMANDS,
        durable="orchestrator",
        slots=8,
        tries=tries,
    )
    listener = QueueConsumer(bus, commands, handlers.on_command, handlers.on_given_up)
    listener.start()
    try:
        yield listener
    finally:
        await listener.stop(5)


async def settled(bus: Bus, listener: QueueConsumer) -> bool:
    """Whether every command is done or buried."""
    open_ = (await bus.js.stream_info(subjects.COMMANDS)).state.messages
    return not open_ and not listener.busy


async def test_a_chat_that_waits_for_a_person_holds_no_task_and_no_command(
    queue: Bus,
) -> None:
    offer, person = shipped(), Person(workflow=WorkflowName("Generator"))
    told = runner(queue, build_performer(offer, 25), offer.workflows)
    async with patience(), listening(told, queue) as listener:
        idle = {task.get_name() for task in asyncio.all_tasks()}
        await queue.order(person.starts())
        await until(lambda: has(queue, person, "human.asked"))
        await until(lambda: settled(queue, listener))
        busy = {task.get_name() for task in asyncio.all_tasks()} - idle
        assert not [name for name in busy if name.startswith("handle")]
        asked = last_question(await history(queue, person.key))
        await queue.order(person.answers(asked, "A garden planner"))
        await until(lambda: has(queue, person, "turn.completed"))


async def test_poison_ends_as_a_dead_letter_and_a_failed_chat(queue: Bus) -> None:
    async def poison(_: Effect, __: Workflow, chat: ChatLog) -> Outcome:
        raise ZeroDivisionError(f"secret of {chat.key.chat}")

    person = Person()
    start: Command = person.starts()
    told = runner(queue, poison)
    letters = await queue.js.pull_subscribe(
        subjects.dead_letter("orchestrator", subjects.command(person.key, start.name)),
        stream=subjects.DEAD_LETTERS,
    )
    async with patience(), listening(told, queue, tries=2) as listener:
        await queue.order(start)
        (letter,) = await letters.fetch(1, timeout=15)
        await until(lambda: has(queue, person, "chat.failed"))
        await until(lambda: settled(queue, listener))
    await letters.unsubscribe()
    headers = letter.headers or {}
    assert "ZeroDivisionError" in headers["Mozaiks-Reason"]
    assert letter.data == start.model_dump_json().encode()
    facts = await history(queue, person.key)
    assert isinstance(facts[-1].event, ChatFailed)
    assert facts[-1].event.code == "GIVEN_UP"
    assert "secret" not in facts[-1].event.message


async def test_a_turn_that_stands_still_is_poison_too(queue: Bus) -> None:
    async def idle(_: Effect, __: Workflow, ___: ChatLog) -> Outcome:
        return Waits()

    person = Person()
    told = runner(queue, idle)
    async with patience(), listening(told, queue, tries=1):
        await queue.order(person.starts())
        await until(lambda: has(queue, person, "chat.failed"))


async def test_what_a_stopping_process_had_in_hand_goes_on_elsewhere(queue: Bus) -> None:
    person, gate = Person(), Gate()
    async with patience():
        async with listening(runner(queue, gate), queue):
            await queue.order(person.starts())
            await gate.reached.wait()
        assert not await has(queue, person, "turn.completed")
        async with listening(runner(queue, speak), queue):
            await until(lambda: has(queue, person, "chat.completed"))
    assert contiguous(await read(queue, person.key))


async def test_a_command_that_is_none_is_buried_and_spoils_nothing(queue: Bus) -> None:
    person = Person()
    told = runner(queue, speak)
    subject = subjects.command(person.key, "start_chat")
    async with patience(), listening(told, queue) as listener:
        await queue.js.publish(subject, b"{")
        await queue.js.publish(subject, person.cancels().model_dump_json().encode())
        other = Person()
        await queue.order(other.starts())
        await until(lambda: has(queue, other, "chat.completed"))
        await until(lambda: settled(queue, listener))
    assert await history(queue, person.key) == []


async def test_an_unavailable_workflow_fails_its_chat_in_words(bus: Bus) -> None:
    person = Person()
    await tell(runner(bus, speak, {}), person.starts())
    failed = (await history(bus, person.key))[-1].event
    assert isinstance(failed, ChatFailed)
    assert failed.code == "WORKFLOW_UNAVAILABLE"


# -- the chat's log as a journal --------------------------------------------------------------------


async def test_what_moves_before_one_waits_for_it_is_not_missed(bus: Bus) -> None:
    me = DeliveryId("process", 1, 1)
    chat = ChatLog(bus, Person().key, me, new_command_id(), lambda: NOON)
    change = chat.changed()
    chat._stir()
    async with patience():
        await change


async def test_a_runner_hears_from_another_connection(nats: Any, bus: Bus) -> None:
    person, gate = Person(), Gate()
    async with patience(), bus_to(nats.url) as other:
        running = asyncio.create_task(
            tell(runner(bus, gate, {NEWSROOM.name: ALONE}), person.starts())
        )
        await gate.reached.wait()
        await tell(runner(other, speak, {}), person.cancels())
        await running
    assert (await read(bus, person.key))[-1].type == "chat.cancelled"


class Asking:
    """A performer whose first turn asks a question that expires at once, and whose next one ends."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def __call__(self, effect: Effect, workflow: Workflow, chat: ChatLog) -> Outcome:
        del effect, workflow
        assert chat.state.open is not None
        answers = list(chat.state.open.answers.values())
        if answers:
            self.heard += [answer.text for answer in answers if isinstance(answer, HumanAnswered)]
            return Spoke("Done.", None)
        question = subjects.question(chat.key, 1, "call-1", 0)
        ends = await chat.expire(question, 0.5)
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
        return Waits()


async def test_a_question_that_nobody_answers_expires_although_nothing_runs(queue: Bus) -> None:
    asking, person = Asking(), Person(workflow=ALONE.name)
    told = runner(queue, asking, {ALONE.name: ALONE})
    async with patience(), listening(told, queue) as listener:
        await queue.order(person.starts())
        await until(lambda: has(queue, person, "chat.completed"))
        await until(lambda: settled(queue, listener))
    assert asking.heard == ["too late"]
    answers = [f for f in await history(queue, person.key) if isinstance(f.event, HumanAnswered)]
    assert [answer.envelope.actor for answer in answers] == ["runtime"]  # nobody said it


# -- a log that is not the one that was read ------------------------------------------------------


async def test_a_run_whose_log_was_made_anew_is_given_back_and_does_not_try_for_ever(
    nats: NatsServer,  # noqa: ARG001
    tmp_path: Path,
) -> None:
    server = NatsServer(tmp_path / "nats")
    server.start()
    try:
        async with bus_to(server.url) as bus, patience():
            person, gate = Person(), Gate()
            running = asyncio.create_task(tell(apart(bus, gate), person.starts()))
            await gate.reached.wait()
            await bus.js.delete_stream(subjects.EVENTS)
            await ensure_streams(bus.nc, replicas=1)
            gate.opened.set()
            with pytest.raises(UnavailableError):
                await running
    finally:
        server.stop()
