"""One chat on its own NATS: started, answered whenever it asks, read back when it has ended."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from contracts.codec import Fact
from contracts.commands import AnswerQuestion, StartChat
from contracts.events.human import HumanAnswered, HumanAsked
from contracts.events.run import RunClaimed
from contracts.events.turn import (
    TextInterrupted,
    ToolDispatched,
    ToolReturned,
    VariablesChanged,
)
from contracts.ids import (
    AppId,
    ChatId,
    ChatKey,
    CommandId,
    EventId,
    StreamSeq,
    UserId,
    WorkflowName,
)
from infra.ports import free_port
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.nats.access import access_of
from services.chassis.nats.connection import Connection
from services.chassis.settings import Settings
from services.chassis.streams.ensure import ensure_streams
from tests.secured_nats import SecuredNats

ROOT = Path(__file__).parents[2]
USER = UserId("56132")
MEASURED = ("duration", "time_to_first_chunk")
"""Members of events that differ between equal runs."""
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
    if "STOP_IN_TOOL" in os.environ:
        os.kill(os.getpid(), signal.SIGSTOP)
    seconds = float(os.environ.get("TOOL_SECONDS", 0.05))
    time.sleep(seconds * len(steps))  # so that the shorter plan is always done first
    context_variables["effort_days"] = 7
    return f"{len(steps)} days"
'''


def workflows_with_counted_effects(folder: Path, *names: str) -> Path:
    """The shipped workflows, the planner's tool replaced by one whose effects can be counted.

    `names` are those that are wanted beside the planner's, each of which takes a start longer.
    """
    root = folder / "workflows"
    for name in ("Generator", *names):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "workflows" / name, root / name, ignore=ignored)
    (root / "Generator" / "tools" / "planning.py").write_text(_COUNTED_TOOL)
    return root


def environment(
    server: SecuredNats, model_url: str, workflows: Path, effects: Path
) -> dict[str, str]:
    return {
        **server.environment_of("orchestrator"),
        "ORCHESTRATOR_PORT": str(free_port()),
        "OPENAI_API_KEY": "sk-not-a-key",
        "OPENAI_BASE_URL": model_url,
        "DEFAULT_LLM_MODEL": "stub-model",
        "WORKFLOWS_PATH": str(workflows),
        "SIDE_EFFECTS": str(effects),
        "LOG_LEVEL": "ERROR",
    }


@asynccontextmanager
async def bus_at(settings: Settings) -> AsyncIterator[JetStreamGateway]:
    nc = Connection(access_of(settings, "test"), "test")
    await nc.open()
    try:
        await ensure_streams(nc, replicas=1)
        yield JetStreamGateway(nc)
    finally:
        await nc.shut_down(1)


def chat_key(name: str) -> ChatKey:
    return ChatKey(AppId("acme.corp"), ChatId(name))


async def order_start(gateway: JetStreamGateway, key: ChatKey) -> None:
    await gateway.commands.send(
        StartChat(
            command_id=CommandId(f"start-{key.chat}"),
            app_id=key.app,
            chat_id=key.chat,
            user_id=USER,
            workflow_name=WorkflowName("Generator"),
        )
    )


async def history(gateway: JetStreamGateway, key: ChatKey) -> list[Fact]:
    return [fact async for commit in gateway.events.read(key) for fact in commit.facts]


async def answer_open_questions(gateway: JetStreamGateway, key: ChatKey, facts: list[Fact]) -> None:
    answered = {f.event.question_id for f in facts if isinstance(f.event, HumanAnswered)}
    for fact in facts:
        if isinstance(fact.event, HumanAsked) and fact.event.question_id not in answered:
            question = fact.event
            await gateway.commands.send(
                AnswerQuestion(
                    command_id=CommandId(f"answer-{question.question_id}"),
                    app_id=key.app,
                    chat_id=key.chat,
                    user_id=USER,
                    question_id=question.question_id,
                    text=question.options[0] if question.options else "A bakery shop",
                )
            )


async def play_until(gateway: JetStreamGateway, key: ChatKey, *types: str) -> list[Fact]:
    """Wait, without answering anything, until the newest event is of one of these types."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            facts = await history(gateway, key)
            if facts and facts[-1].envelope.type in types:
                return facts
            await asyncio.sleep(0.05)


async def play_to_the_end(gateway: JetStreamGateway, key: ChatKey) -> list[Fact]:
    """Answer what is asked until the chat has ended."""
    seen: StreamSeq | None = None
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with suppress(NatsUnavailableError):  # the server is being killed: look again
                position = await gateway.events.last_position(key)
                if position != seen:  # to read a whole chat takes longer than to ask for its end
                    facts = await history(gateway, key)
                    if facts and facts[-1].envelope.type in ENDINGS:
                        return facts
                    await answer_open_questions(gateway, key, facts)
                    seen = position
            await asyncio.sleep(0.05)


def told(facts: list[Fact]) -> list[Any]:
    """What a history says, without what two equal runs may differ in: instants, who ran it, and in
    which order tools came back that were called side by side; and without what a killed process had
    shown of a call that is made again."""
    lasting = [fact for fact in facts if not _of_one_run(fact)]
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
            {k: v for k, v in fact.envelope.body.items() if k not in MEASURED},
        )
        for place, fact in enumerate(in_order, 1)
    ]


def _of_one_run(fact: Fact) -> bool:
    """Whether a repeated run may have an event that another one has not.

    That are takeovers, attempts, and what a killed process had shown.
    """
    event = fact.event
    return isinstance(event, RunClaimed | TextInterrupted) or (
        isinstance(event, ToolDispatched) and event.attempt > 1
    )


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
