"""Takeover: an orchestrator is killed in mid-turn; how soon another, already running, goes on."""

import asyncio
from time import perf_counter

from nats.aio.msg import Msg

from benchmarks import chats, stage
from benchmarks.figures import Aim, Figure
from contracts import subjects
from contracts.commands import StartChat
from contracts.ids import ChatKey, RunnerId, new_command_id
from contracts.live import TextStreamed
from infra.servers import NatsServer
from services.chassis.bus import Bus
from services.chassis.event_log import decision_of
from services.chassis.listening import Queue

REPETITIONS = 3
LOST_SECONDS = 60.0
SLOW = {"DEMO_PAUSE_SECONDS": "1.5"}
"""The first to run speaks so slowly that its turn outlasts the start of the second."""
QUICK = {"DEMO_PAUSE_SECONDS": "0"}

_QUEUE = Queue(subjects.COMMANDS, subjects.ALL_COMMANDS, durable="orchestrator", slots=1)
AIM = Aim(limit=_QUEUE.ack_seconds + 1)
"""Until the queue gives the message to another process, and a second to begin."""


class Watch:
    """Notes which runner was first heard, and when another first speaks and appends."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.spoke_at = 0.0
        self.appended_at = 0.0
        self.taken_over = asyncio.Event()
        self._first: RunnerId | None = None

    async def on_live(self, message: Msg) -> None:
        if message.subject.endswith(".delta"):
            self._hear(TextStreamed.model_validate_json(message.data).runner)
            return
        _, decision = decision_of(message)
        if self._first is not None and decision.first.runner != self._first:
            self.appended_at = self.appended_at or perf_counter()
            self.taken_over.set()

    def _hear(self, by: RunnerId) -> None:
        if self._first is None:
            self._first = by
            self.began.set()
        elif by != self._first:
            self.spoke_at = self.spoke_at or perf_counter()


async def measure(server: NatsServer) -> list[Figure]:
    async with stage.bus(server) as bus:
        takeovers = [await _takeover(bus, server) for _ in range(REPETITIONS)]
    spoke, appended = zip(*takeovers, strict=True)
    waits = f"beside: the queue's ack wait, {_QUEUE.ack_seconds:g} s"
    allowed = [_QUEUE.ack_seconds] * REPETITIONS
    return [
        Figure("takeover after kill -9: first word", "s", spoke, allowed, AIM, note=waits),
        Figure("takeover after kill -9: first append", "s", appended, allowed, AIM, note=waits),
    ]


async def _takeover(bus: Bus, server: NatsServer) -> tuple[float, float]:
    """Seconds from the kill to the first word and the first append of the second orchestrator."""
    key = chats.new_chat()
    watch = Watch()
    async with (
        asyncio.timeout(LOST_SECONDS),
        bus.watching(key, watch.on_live),
        stage.process("orchestrator", server, SLOW) as first,
    ):
        await bus.order(_start(key))
        await watch.began.wait()
        async with stage.process("orchestrator", server, QUICK):
            killed_at = perf_counter()
            first.kill()
            await watch.taken_over.wait()
    return watch.spoke_at - killed_at, watch.appended_at - killed_at


def _start(key: ChatKey) -> StartChat:
    return StartChat(
        command_id=new_command_id(),
        app_id=key.app,
        chat_id=key.chat,
        user_id=chats.PERSON,
        workflow_name=chats.WORKFLOW,
    )
