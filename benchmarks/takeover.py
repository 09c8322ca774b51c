"""Takeover: an orchestrator is killed in mid-turn; how soon another goes on, running already or restarted."""

import asyncio
import sys
from contextlib import aclosing
from time import perf_counter

from nats.aio.msg import Msg

from benchmarks import chats, stage
from benchmarks.figures import Aim, Figure
from contracts import subjects
from contracts.commands import StartChat
from contracts.deltas import TextStreamed
from contracts.ids import ChatKey, RunnerId, new_command_id
from infra.servers import NatsServer
from infra.stack import ROOT
from services.chassis.consumers.peers import GRACE_SECONDS
from services.chassis.consumers.takeover import PROBE_SECONDS
from services.chassis.consumers.work_queue import WorkQueue
from services.chassis.jetstream.event_log import decision_of
from services.chassis.jetstream.gateway import JetStreamGateway

REPETITIONS = 5
LOST_SECONDS = 60.0
SLOW = {"DEMO_WORD_DELAY_SECONDS": "1.5"}
"""The first to run speaks so slowly that its turn outlasts the start of the second."""
QUICK = {"DEMO_WORD_DELAY_SECONDS": "0"}
DETECTION_SECONDS = PROBE_SECONDS + GRACE_SECONDS
"""How long a peer must have been without a connection, and the pause between two probes."""
_QUEUE = WorkQueue(subjects.COMMANDS, subjects.ALL_COMMANDS, durable="orchestrator", concurrency=1)
STANDBY_AIM = Aim(limit=1.0)
RESTART_AIM = Aim(limit=2.0)


class Watch:
    """Notes which runner was first heard, and when another first speaks and appends."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.spoke_at = 0.0
        self.appended_at = 0.0
        self.taken_over = asyncio.Event()
        self._first: RunnerId | None = None

    def on_live(self, message: Msg) -> None:
        if message.subject.endswith(".delta"):
            self._hear(TextStreamed.model_validate_json(message.data).runner)
            return
        _, decision = decision_of(message)
        if self._first is not None and decision.first.runner != self._first:
            self.appended_at = self.appended_at or perf_counter()
            self._note()

    def _hear(self, by: RunnerId) -> None:
        if self._first is None:
            self._first = by
            self.began.set()
        elif by != self._first:
            self.spoke_at = self.spoke_at or perf_counter()
            self._note()

    def _note(self) -> None:
        if self.spoke_at and self.appended_at:
            self.taken_over.set()


async def measure(server: NatsServer) -> list[Figure]:
    standby, restart, imports = [], [], []
    async with stage.gateway(server) as gateway:
        for _ in range(REPETITIONS):
            standby.append(await _takeover(gateway, server, has_standby=True))
            restart.append(await _takeover(gateway, server, has_standby=False))
            imports.append(await _import_seconds())
    detection = [DETECTION_SECONDS] * REPETITIONS
    return [
        *_figures("with a standby", standby, detection, STANDBY_AIM, "its detection at most"),
        *_figures("by a restart", restart, imports, RESTART_AIM, "the imports of the new process"),
    ]


def _figures(
    how: str, taken: list[tuple[float, float]], floor: list[float], aim: Aim, beside: str
) -> list[Figure]:
    spoke, appended = zip(*taken, strict=True)
    note = f"slowest {max(spoke):.2f} s; beside: {beside}; ack wait {_QUEUE.ack_wait_seconds:g} s"
    return [
        Figure(f"takeover after kill -9 {how}: first word", "s", spoke, floor, aim, note=note),
        Figure(f"takeover after kill -9 {how}: first append", "s", appended, floor, aim),
    ]


async def _takeover(
    gateway: JetStreamGateway, server: NatsServer, *, has_standby: bool
) -> tuple[float, float]:
    """Seconds from the kill to the first word and the first append of the second orchestrator.

    Without a standby the second is started at the kill, as a supervisor does.
    """
    key = chats.new_chat()
    watch = Watch()
    async with (
        asyncio.timeout(LOST_SECONDS),
        aclosing(await gateway.live.subscribe(key, watch.on_live)),
        stage.process("orchestrator", server, SLOW) as first,
    ):
        await gateway.commands.send(_start(key))
        await watch.began.wait()
        if has_standby:
            async with stage.process("orchestrator", server, QUICK):
                return await _killed(first, watch)
        killing = asyncio.create_task(_killed(first, watch))
        async with stage.process("orchestrator", server, QUICK):
            return await killing


async def _killed(first: stage.Process, watch: Watch) -> tuple[float, float]:
    killed_at = perf_counter()
    first.kill()
    await watch.taken_over.wait()
    return watch.spoke_at - killed_at, watch.appended_at - killed_at


async def _import_seconds() -> float:
    began = perf_counter()
    importing = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import services.orchestrator.app", cwd=ROOT
    )
    await importing.wait()
    return perf_counter() - began


def _start(key: ChatKey) -> StartChat:
    return StartChat(
        command_id=new_command_id(),
        app_id=key.app,
        chat_id=key.chat,
        user_id=chats.PERSON,
        workflow_name=chats.WORKFLOW,
    )
