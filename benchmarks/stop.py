"""Stop: how long after the command the last word or step of the stopped answer is seen."""

import asyncio
import json
import tempfile
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from time import perf_counter
from typing import Any

from nats.aio.msg import Msg

from benchmarks import chats, stage
from benchmarks.figures import Aim, Figure
from contracts import subjects
from contracts.commands import SetVariables, StartChat, StopAnswer
from contracts.ids import ChatKey, WorkflowName, new_command_id
from infra.servers import NatsServer
from services.chassis.jetstream.event_log import decision_of
from services.chassis.jetstream.gateway import JetStreamGateway

REPETITIONS = 10
LOST_SECONDS = 60.0
SHOWN = 5
"""Words or steps that are seen before the answer is stopped."""
AIM = Aim(limit=300)
"""Milliseconds, on the process that runs the answer."""
PERSISTED_STEPS = 3
"""A stop is a command, the event that asks for it, and the message that ends the turn."""
TALK, ASYNC, THREAD = WorkflowName("Talk"), WorkflowName("Async"), WorkflowName("Thread")

_TOOLS = '''
import asyncio
import time


async def work_async(runtime) -> str:
    """Works in small steps until it is cancelled."""
    for step in range(10_000):
        await runtime.progress(None, f"step {step}")
        await asyncio.sleep(0.01)
    return "done"


def work_in_thread(runtime) -> str:
    """Blocks its thread, which cannot be stopped."""
    for step in range(20):
        runtime.wait(runtime.progress(None, f"step {step}"))
        time.sleep(0.05)
    return "done"
'''


class Watch:
    """Notes when the last delta of a chat is seen, and when its turn has ended."""

    def __init__(self) -> None:
        self.deltas = 0
        self.last_delta_at = 0.0
        self.stopped_at = 0.0
        self.began = asyncio.Event()
        self.stopped = asyncio.Event()

    def on_live(self, message: Msg) -> None:
        now = perf_counter()
        if message.subject.endswith(".delta"):
            self.deltas += 1
            self.last_delta_at = now
            if self.deltas >= SHOWN:
                self.began.set()
            return
        _, decision = decision_of(message)
        if any(one.envelope.type == "turn.stopped" for one in decision.events):
            self.stopped_at = now
            self.stopped.set()


async def measure(server: NatsServer) -> list[Figure]:
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="bench-stop-") as folder:
        environment = {
            "WORKFLOWS_PATH": str(_write_workflows(Path(folder))),
            "DEMO_WORD_DELAY_SECONDS": "0.02",
        }
        async with (
            stage.gateway(server) as gateway,
            stage.process("orchestrator", server, environment),
            stage.process("orchestrator", server, environment),  # either may get the command
        ):
            for workflow, what in (
                (TALK, "text of a model"),
                (ASYNC, "an async tool"),
                (THREAD, "a tool in a thread"),
            ):
                figures += await _figures(gateway, workflow, what)
    return figures


async def _figures(gateway: JetStreamGateway, workflow: WorkflowName, what: str) -> list[Figure]:
    last, ended, floor = [], [], []
    for _ in range(REPETITIONS):
        seen, stopped = await _stop(gateway, workflow)
        last.append(seen)
        ended.append(stopped)
        floor.append(await _floor(gateway))
    note = f"slowest {{:.0f}} ms; floor: {PERSISTED_STEPS} acknowledged messages in a row"
    return [
        Figure(
            f"stop of {what}: {name}",
            "ms",
            taken,
            floor,
            AIM,
            note=note.format(max(taken)),
        )
        for name, taken in _names(workflow, last, ended)
    ]


def _names(
    workflow: WorkflowName, last: Sequence[float], ended: Sequence[float]
) -> list[tuple[str, Sequence[float]]]:
    """A thread goes on, unseen: only the end of the turn counts."""
    seen = [] if workflow == THREAD else [("last that is seen", last)]
    return [*seen, ("end of the turn", ended)]


async def _stop(gateway: JetStreamGateway, workflow: WorkflowName) -> tuple[float, float]:
    """Milliseconds from the command to the last delta, and to the end of the turn."""
    key, watch = chats.new_chat(), Watch()
    async with (
        asyncio.timeout(LOST_SECONDS),
        aclosing(await gateway.live.subscribe(key, watch.on_live)),
    ):
        await gateway.commands.send(
            StartChat(
                command_id=new_command_id(),
                app_id=key.app,
                chat_id=key.chat,
                user_id=chats.PERSON,
                workflow_name=workflow,
                message="Go.",
            )
        )
        await watch.began.wait()
        sent_at = perf_counter()
        await gateway.commands.send(_stop_command(key))
        await watch.stopped.wait()
        await asyncio.sleep(0.2)  # what is published after the end would be seen
    return 1000 * max(watch.last_delta_at - sent_at, 0.0), 1000 * (watch.stopped_at - sent_at)


def _stop_command(key: ChatKey) -> StopAnswer:
    return StopAnswer(
        command_id=new_command_id(),
        app_id=key.app,
        chat_id=key.chat,
        user_id=chats.PERSON,
    )


async def _floor(gateway: JetStreamGateway) -> float:
    """Milliseconds that as many messages take as a stop stores, each acknowledged before the next."""
    command = SetVariables(
        command_id=new_command_id(),
        app_id=chats.APP,
        chat_id=chats.new_chat().chat,
        user_id=chats.PERSON,
        variables={"floor": 1},
    )
    subject, data = subjects.delta(command.key), command.model_dump_json().encode()
    began = perf_counter()
    for _ in range(PERSISTED_STEPS):
        await gateway.js.publish(subject, data)
    return 1000 * (perf_counter() - began)


def _write_workflows(folder: Path) -> Path:
    words = " ".join(f"word-{number}" for number in range(400))
    root = folder / "workflows"
    _write(root, TALK, [], [{"say": words}])
    for workflow, tool in ((ASYNC, "work_async"), (THREAD, "work_in_thread")):
        lines: list[dict[str, Any]] = [{"calls": [{"tool": tool}]}, {"say": "Done."}]
        declared = {"agent": "Worker", "file": "work.py", "function": tool, "effect": "read"}
        _write(root, workflow, [declared], lines)
    return root


def _write(
    root: Path, workflow: WorkflowName, tools: list[dict[str, str]], lines: Sequence[dict[str, Any]]
) -> None:
    place = root / workflow
    place.mkdir(parents=True)
    (place / "work.py").write_text(_TOOLS)
    sections = {
        "workflow": {
            "workflow_name": workflow,
            "orchestration_pattern": "DefaultPattern",
            "human_in_the_loop": True,
        },
        "agents": {"agents": [{"name": "Worker"}]},
        "handoffs": {
            "handoff_rules": [
                {"source_agent": "Worker", "target_agent": "user", "handoff_type": "after_work"}
            ]
        },
        "tools": {"tools": tools},
        "demo": {"agents": {"Worker": {"lines": lines}}},
    }
    for name, section in sections.items():
        (place / f"{name}.json").write_text(json.dumps(section))
