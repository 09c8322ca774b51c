"""One chat on its own NATS: started, answered whenever it asks, read back when it has ended."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import nats

from contracts.codec import Fact
from contracts.commands import AnswerQuestion, StartChat
from contracts.events.human import HumanAnswered, HumanAsked
from contracts.events.run import RunClaimed
from contracts.events.turn import ToolReturned, VariablesChanged
from contracts.ids import AppId, ChatId, ChatKey, CommandId, EventId, UserId, WorkflowName
from infra.ports import free_port
from services.chassis.bus import Bus
from services.chassis.direct_get import UnavailableError
from services.chassis.streams import ensure_streams

ROOT = Path(__file__).parents[2]
USER = UserId("56132")
PATIENCE_SECONDS = 50.0

ENDINGS = {"chat.completed", "chat.failed", "chat.cancelled"}

_COUNTED_TOOL = '''
"""The planner's arithmetic, noting each time it is done."""

import os
import signal
import time
from typing import Any

from workflows.tooling import ToolRuntime


def estimate_effort(
    steps: list[str], runtime: ToolRuntime, context_variables: dict[str, Any]
) -> str:
    with open(os.environ["SIDE_EFFECTS"], "a") as effects:
        effects.write(runtime.idempotency_key + "\\n")
        effects.flush()
    if os.environ.get("KILL_IN_TOOL") == runtime.idempotency_key:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05 * len(steps))  # so that the shorter plan is always done first
    context_variables["effort_days"] = 7
    return f"{len(steps)} days"
'''


def workflows_with_counted_effects(folder: Path) -> Path:
    """The shipped workflows, the planner's tool replaced by one whose effects can be counted."""
    root = folder / "workflows"
    shutil.copytree(ROOT / "workflows", root, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "Generator" / "tools" / "planning.py").write_text(_COUNTED_TOOL)
    return root


def environment(nats_url: str, model_url: str, workflows: Path, effects: Path) -> dict[str, str]:
    return {
        "NATS_URL": nats_url,
        "ORCHESTRATOR_PORT": str(free_port()),
        "OPENAI_API_KEY": "sk-not-a-key",
        "OPENAI_BASE_URL": model_url,
        "DEFAULT_LLM_MODEL": "stub-model",
        "WORKFLOWS_PATH": str(workflows),
        "SIDE_EFFECTS": str(effects),
        "LOG_LEVEL": "ERROR",
    }


@asynccontextmanager
async def bus_at(url: str) -> AsyncIterator[Bus]:
    nc = await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    try:
        await ensure_streams(nc, replicas=1)
        yield Bus(nc)
    finally:
        await nc.close()


def chat_key(name: str) -> ChatKey:
    return ChatKey(AppId("acme.corp"), ChatId(name))


async def order_start(bus: Bus, key: ChatKey) -> None:
    await bus.order(
        StartChat(
            command_id=CommandId(f"start-{key.chat}"),
            app_id=key.app,
            chat_id=key.chat,
            user_id=USER,
            workflow_name=WorkflowName("Generator"),
        )
    )


async def history(bus: Bus, key: ChatKey) -> list[Fact]:
    return [fact async for commit in bus.events.read(key) for fact in commit.facts]


async def answer_open_questions(bus: Bus, key: ChatKey, facts: list[Fact]) -> None:
    answered = {f.event.question_id for f in facts if isinstance(f.event, HumanAnswered)}
    for fact in facts:
        if isinstance(fact.event, HumanAsked) and fact.event.question_id not in answered:
            question = fact.event
            await bus.order(
                AnswerQuestion(
                    command_id=CommandId(f"answer-{question.question_id}"),
                    app_id=key.app,
                    chat_id=key.chat,
                    user_id=USER,
                    question_id=question.question_id,
                    text=question.options[0] if question.options else "A bakery shop",
                )
            )


async def play_until(bus: Bus, key: ChatKey, *types: str) -> list[Fact]:
    """Wait, without answering anything, until the newest event is of one of these types."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            facts = await history(bus, key)
            if facts and facts[-1].envelope.type in types:
                return facts
            await asyncio.sleep(0.05)


async def play_to_the_end(bus: Bus, key: ChatKey) -> list[Fact]:
    """Answer what is asked until the chat has ended."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                facts = await history(bus, key)
                if facts and facts[-1].envelope.type in ENDINGS:
                    return facts
                await answer_open_questions(bus, key, facts)
            except UnavailableError:
                pass  # the server is being killed: look again
            await asyncio.sleep(0.05)


def told(facts: list[Fact]) -> list[Any]:
    """What a history says, without what two equal runs may differ in: instants, who ran it, and in
    which order tools came back that were called side by side."""
    lasting = [fact for fact in facts if not isinstance(fact.event, RunClaimed)]
    decisions = [list(one) for _, one in groupby(lasting, lambda fact: fact.envelope.time)]
    in_order = [
        fact
        for _, side_by_side in groupby(decisions, lambda decision: _results_of(decision[0]))
        for fact in sorted(chain.from_iterable(side_by_side), key=_call)
    ]
    return [
        (
            place,
            fact.envelope.type,
            fact.envelope.actor,
            {k: v for k, v in fact.envelope.body.items() if k != "duration"},
        )
        for place, fact in enumerate(in_order, 1)
    ]


def _results_of(fact: Fact) -> tuple[int, int] | EventId:
    """Alike for the results of one response's tool calls, and for nothing else."""
    event = fact.event
    if isinstance(event, ToolReturned):
        return event.turn, event.call
    return fact.envelope.event_id


def _call(fact: Fact) -> str:
    """Puts the results of tools in the order of their calls, and what they changed after them."""
    if isinstance(fact.event, ToolReturned):
        return fact.event.tool_call_id
    return "~" if isinstance(fact.event, VariablesChanged) else ""


def distinct(bodies: list[bytes]) -> list[Any]:
    """Model requests in order, each once: a call in flight may be made again after a kill."""
    return [json.loads(body) for body in dict.fromkeys(bodies)]
