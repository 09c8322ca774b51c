"""A question is answered in the moment it appears, whatever goes on beside it: no chat stalls."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from nats.aio.msg import Msg

from contracts import subjects
from contracts.commands import Command
from contracts.event_log import StoredEvent
from contracts.events.business import BusinessLogged
from contracts.events.chat import ChatCancelled, ChatCompleted, ChatFailed
from contracts.events.human import HumanAsked
from contracts.ids import AppId, ChatKey, new_chat_id
from infra.nats_cluster import NatsCluster
from infra.servers import NatsServer
from services.chassis.consumers.queue_consumer import QueueConsumer
from services.chassis.consumers.work_queue import Fairness, WorkQueue
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.event_log import decision_of
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.process.broker import build_broker, connected
from services.chassis.settings import Settings
from services.orchestrator.domain.evolution import replay
from services.orchestrator.domain.state import Effect, pending
from services.orchestrator.domain.turn_steps import Completed, Outcome, Suspended
from services.orchestrator.runtime.chat_journal import ChatJournal
from services.orchestrator.runtime.command_handler import CommandHandler
from services.orchestrator.workflows.spec import Workflow
from tests.orchestrator.chat_harness import ChatUser, history, runner
from tests.story import NEWSROOM, WRITER, calls

pytestmark = [pytest.mark.system, pytest.mark.broker, pytest.mark.timeout(150)]

PATIENCE_SECONDS = 100.0
"""Far more than it takes: a chat that stalled never ends."""
ALONE = replace(NEWSROOM, agents={WRITER: replace(NEWSROOM.agents[WRITER], after_work=None)})
"""One agent, one turn."""
CALL = "call-1"
SOON_SECONDS = 0.02
LOOK_SECONDS = 5.0
"""Between two looks at the log: what is heard live may be lost, and stalls nobody."""
FROZEN_SECONDS = 8.0
ENDINGS = (ChatCompleted, ChatFailed, ChatCancelled)

React = Callable[[HumanAsked], list[Command]]
"""What a user does in the moment that a question appears."""


class Asking:
    """A turn that asks so many questions one after the other, with something beside each of them."""

    def __init__(self, questions: int, expires: float | None = None) -> None:
        self._questions = questions
        self._expires = expires
        self._random = Random(questions)

    async def __call__(self, effect: Effect, workflow: Workflow, chat: ChatJournal) -> Outcome:
        del effect, workflow
        turn = chat.state.open_turn
        assert turn is not None
        while True:
            asked = len(chat.state.open_turn.answers) if chat.state.open_turn else 0
            if asked == self._questions:
                return Completed("Done.", None)
            await self._ask(chat, asked)
            if await self._beside(chat, asked):
                return Suspended()

    async def _ask(self, chat: ChatJournal, ordinal: int) -> None:
        question = subjects.question(chat.key, 1, CALL, ordinal)
        place: dict[str, Any] = {"turn": 1, "agent": WRITER, "tool_call_id": CALL}
        if self._expires is not None:
            place["expires_at"] = await chat.expire(question, self._expires)
            place["default"] = "too late"
        asked = HumanAsked(question_id=question, ordinal=ordinal, prompt="?", **place)
        called = [] if chat.state.open_turn and chat.state.open_turn.responses else [calls("hurry")]
        await chat.record(*called, asked)

    async def _beside(self, chat: ChatJournal, ordinal: int) -> bool:
        """Whether the turn is left to whoever brings the answer, or has heard of it itself."""
        match self._random.randrange(4):
            case 0:
                return True
            case 1:
                await asyncio.sleep(self._random.uniform(0, SOON_SECONDS))
                return True
            case 2:
                await chat.record(BusinessLogged(log_event_type="NOTE", message="beside"))
                return True
            case _:
                await chat.log.wait_until(
                    lambda state: state.open_turn is None or len(state.open_turn.answers) > ordinal
                )
                chat.check_ownership()
                return False


class Chats:
    """Many users with a chat each, on a connection of their own."""

    def __init__(
        self, gateway: JetStreamGateway, count: int, react: Callable[[ChatUser], React]
    ) -> None:
        self._gateway = gateway
        self._react = react
        self._people = [ChatUser(key=ChatKey(AppId("quick"), new_chat_id())) for _ in range(count)]
        self._doing: set[asyncio.Task[None]] = set()

    async def play(self) -> list[str]:
        """Start all of them, react to every question at once; those that did not end, and why."""
        playing = [asyncio.create_task(self._play(person)) for person in self._people]
        await asyncio.wait(playing, timeout=PATIENCE_SECONDS)
        for task in playing:
            task.cancel()
        await asyncio.gather(*playing, return_exceptions=True)
        return [why for person in self._people if (why := await self._stalled(person))]

    async def _play(self, person: ChatUser) -> None:
        ended, react, seen = asyncio.Event(), self._react(person), set[str]()

        def hear(events: Sequence[StoredEvent]) -> None:
            for one in events:
                if isinstance(one.event, ENDINGS):
                    ended.set()
                if isinstance(one.event, HumanAsked) and one.event.question_id not in seen:
                    seen.add(one.event.question_id)
                    task = asyncio.create_task(self._send(react(one.event)))
                    self._doing.add(task)
                    task.add_done_callback(self._doing.discard)

        def on_message(message: Msg) -> None:
            if not message.subject.endswith(".delta"):
                hear(decision_of(message)[1].events)

        async with aclosing(await self._gateway.live.subscribe(person.key, on_message)):
            await self._send([person.start_chat()])
            while not ended.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await ended.wait()
                with suppress(NatsUnavailableError):  # a lost live message is found in the log
                    async for commit in self._gateway.events.read(person.key):
                        hear(commit.events)

    async def _send(self, commands: Sequence[Command]) -> None:
        """As often as a client would that is told that the service is unavailable."""
        for command in commands:
            while True:
                with suppress(NatsUnavailableError):
                    await self._gateway.commands.send(command)
                    break
                await asyncio.sleep(SOON_SECONDS)

    async def _stalled(self, person: ChatUser) -> str:
        facts = await history(self._gateway, person.key)
        state = replay(facts)
        if state.ended in ("completed", "cancelled"):
            return ""
        last = facts[-1].envelope.type if facts else "nothing"
        return f"{person.key.chat}: {last}, {state.ended}, pending {pending(state)}, {state.owner}"


def answer_at_once(person: ChatUser) -> React:
    return lambda asked: [person.answer_question(asked.question_id, "red")]


@asynccontextmanager
async def bus_at(urls: Sequence[str], replicas: int) -> AsyncIterator[JetStreamGateway]:
    settings = Settings(nats_url=",".join(urls), stream_replicas=replicas)
    async with connected(build_broker(settings, "test"), settings) as gateway:
        yield gateway


def orchestrator(gateway: JetStreamGateway, asking: Asking) -> QueueConsumer:
    handlers = CommandHandler(runner(gateway, asking, {NEWSROOM.name: ALONE}))
    queue = WorkQueue(
        stream=subjects.COMMANDS,
        subject=subjects.ALL_COMMANDS,
        durable="orchestrator",
        concurrency=32,
        fairness=Fairness(max_open=256, max_held=256, share=0.25),
    )
    return QueueConsumer(gateway, queue, handlers.on_command, handlers.on_given_up)


@asynccontextmanager
async def orchestrating(
    buses: Sequence[JetStreamGateway], asking: Asking
) -> AsyncIterator[list[QueueConsumer]]:
    """One orchestrator on each connection."""
    await buses[0].js.purge_stream(subjects.COMMANDS)
    consumers = [orchestrator(gateway, asking) for gateway in buses]
    for one in consumers:
        one.start()
    try:
        yield consumers
    finally:
        await asyncio.gather(*(one.stop(5) for one in consumers))


@asynccontextmanager
async def buses_at(urls: Sequence[str], count: int) -> AsyncIterator[list[JetStreamGateway]]:
    """So many connections, as of so many processes."""
    async with AsyncExitStack() as stack:
        opened = [bus_at(urls, replicas=len(urls)) for _ in range(count)]
        yield [await stack.enter_async_context(one) for one in opened]


async def test_of_a_thousand_quick_answers_none_stalls_its_chat(nats: NatsServer) -> None:
    async with buses_at([nats.url], 3) as (user, *two), orchestrating(two, Asking(20)):
        assert await Chats(user, 50, answer_at_once).play() == []


async def test_of_200_quick_answers_none_stalls_its_chat_on_three_nodes(
    nats_cluster: NatsCluster,
) -> None:
    async with buses_at(nats_cluster.urls, 3) as (user, *two), orchestrating(two, Asking(10)):
        assert await Chats(user, 20, answer_at_once).play() == []


_LASTING = ThreadPoolExecutor(1)
"""A node ends with the thread that started it (see infra.child_process), and those of a loop end with it."""


def freeze_a_follower(cluster: NatsCluster) -> None:
    frozen, *_ = cluster.stream_followers(subjects.EVENTS)
    frozen.pause()
    try:
        time.sleep(FROZEN_SECONDS)
    finally:
        frozen.resume()


def kill_the_leader_of(stream: str) -> Callable[[NatsCluster], None]:
    def kill(cluster: NatsCluster) -> None:
        leader = cluster.stream_leader(stream)
        leader.kill()
        leader.start()

    return kill


def restart_one_node_after_the_other(cluster: NatsCluster) -> None:
    for node in cluster.nodes:
        node.restart()
        cluster.wait_until_current(subjects.EVENTS, subjects.COMMANDS)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(freeze_a_follower, id="a follower frozen"),
        pytest.param(kill_the_leader_of(subjects.EVENTS), id="the leader of EVENTS killed"),
        pytest.param(kill_the_leader_of(subjects.COMMANDS), id="the leader of COMMANDS killed"),
        pytest.param(restart_one_node_after_the_other, id="a rolling restart"),
    ],
)
async def test_quick_answers_reach_their_chats_whatever_happens_to_a_node(
    nats_cluster: NatsCluster, fault: Callable[[NatsCluster], None]
) -> None:
    async with buses_at(nats_cluster.urls, 3) as (user, *two), orchestrating(two, Asking(10)):
        playing = asyncio.create_task(Chats(user, 20, answer_at_once).play())
        await asyncio.sleep(0.5)  # the first questions are there
        await asyncio.get_running_loop().run_in_executor(_LASTING, fault, nats_cluster)
        assert await playing == []
    await asyncio.to_thread(nats_cluster.wait_until_current, subjects.EVENTS, subjects.COMMANDS)


async def test_quick_answers_reach_chats_whose_orchestrators_drain(nats: NatsServer) -> None:
    asking = Asking(10)
    async with buses_at([nats.url], 3) as (user, *two), orchestrating(two, asking) as consumers:
        playing = asyncio.create_task(Chats(user, 30, answer_at_once).play())
        for place in itertools.cycle((0, 1)):
            await consumers[place].stop(5)
            consumers[place] = orchestrator(two[place], asking)
            consumers[place].start()
            if await _done_within(playing, 0.3):
                break
        assert await playing == []


async def _done_within(task: asyncio.Task[list[str]], seconds: float) -> bool:
    done, _ = await asyncio.wait([task], timeout=seconds)
    return bool(done)


def whatever_a_user_may_do(person: ChatUser) -> React:
    """A message, an answer, both in either order, a cancel, or nothing until the time is over."""
    random = Random(person.key.chat)

    def react(asked: HumanAsked) -> list[Command]:
        answer: Command = person.answer_question(asked.question_id, "red")
        message: Command = person.send_message("Hurry up")
        doings: list[list[Command]] = [
            [answer],
            [message, answer],
            [answer, message],
            [answer, answer],
            [message],
            [],
            [person.cancel_chat()] if random.random() < 0.2 else [answer],
        ]
        return random.choice(doings)

    return react


async def test_messages_timers_and_cancels_in_that_moment_stall_no_chat(nats: NatsServer) -> None:
    asking = Asking(4, expires=1.0)
    async with buses_at([nats.url], 3) as (user, *two), orchestrating(two, asking) as consumers:
        playing = asyncio.create_task(Chats(user, 60, whatever_a_user_may_do).play())
        while not await _done_within(playing, 1.0):
            await consumers[0].stop(5)
            consumers[0] = orchestrator(two[0], asking)
            consumers[0].start()
        assert await playing == []
