"""An orchestrator killed at any point of a chat costs seconds, and repeats nothing that finished."""

import asyncio
import itertools
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from contracts.codec import Fact
from contracts.events.run import RunClaimed
from contracts.events.turn import ModelResponded, ToolReturned
from infra.ports import free_port
from infra.servers import NatsServer
from services.chassis.listening import Queue
from tests.system import orchestrators
from tests.system.model_stub import ModelStub, generator_script
from tests.system.stage import (
    bus_at,
    chat_key,
    distinct,
    environment,
    order_start,
    play_to_the_end,
    play_until,
    told,
    workflows_with_counted_effects,
)

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

SIDE_BY_SIDE = 8
NOWHERE = "nowhere"
SIDE_BY_SIDE_TOOLS = 2
"""Tools that the script calls in one response: so many may be open when a process is killed."""
CHAT = "the one chat"
"""The same in every run, so that histories can be compared to the letter."""
CHAT_KEY = chat_key(CHAT)


@dataclass
class Run:
    """What one chat left behind, wherever its orchestrator was killed."""

    facts: list[Fact]
    requests: list[bytes]
    effects: list[str]
    killed: bool


@pytest.fixture(scope="module")
def model() -> Iterator[ModelStub]:
    stub = ModelStub(generator_script)
    stub.start()
    yield stub
    stub.stop()


async def run_killed_at(point: str, folder: Path, model: ModelStub) -> Run:
    """One chat to its end: an orchestrator that dies at `point`, and another that goes on.

    Points are those of KillingBus, and `tool:<idempotency key>`: inside that tool call, its effect
    done and its result not recorded.
    """
    workflows, effects = await asyncio.to_thread(set_up, folder)
    server = NatsServer(folder / "nats")
    await asyncio.to_thread(server.start)
    variables = environment(server.url, model.base_url(folder.name), workflows, effects)
    kind, _, where = point.partition(":")
    in_tool = {"KILL_IN_TOOL": where} if kind == "tool" else {}
    processes = [orchestrators.start({**variables, **in_tool}, "" if in_tool else point)]
    try:
        async with bus_at(server.url) as bus:
            await order_start(bus, CHAT_KEY)
            playing = asyncio.create_task(play_to_the_end(bus, CHAT_KEY))
            while not playing.done():
                if not processes[-1].is_alive():
                    processes.append(orchestrators.start(variables))
                await asyncio.wait([playing], timeout=0.1)
            facts = playing.result()
        if point != NOWHERE:
            await asyncio.to_thread(processes[0].join, 10)
        killed = processes[0].exitcode == -signal.SIGKILL
    finally:
        for process in processes:
            process.kill()
            await asyncio.to_thread(process.join, 10)
        await asyncio.to_thread(server.kill)
    done = (await asyncio.to_thread(effects.read_text)).splitlines()
    return Run(facts, model.bodies[folder.name], done, killed)


def set_up(folder: Path) -> tuple[Path, Path]:
    """The workflows' folder, and the file that a tool's effects are noted in."""
    folder.mkdir()
    effects = folder / "effects"
    effects.touch()
    return workflows_with_counted_effects(folder), effects


def points_of(facts: list[Fact]) -> list[str]:
    """Before and after each append, and inside each tool that leaves something behind."""
    appends = [list(batch) for _, batch in itertools.groupby(facts, lambda f: f.envelope.time)]
    around = [
        point
        for append in appends
        for point in (f"before:{append[0].envelope.seq}", f"after:{append[-1].envelope.seq}")
    ]
    inside = [
        f"tool:{CHAT_KEY.app}:{CHAT_KEY.chat}:{fact.event.turn}:{fact.event.tool_call_id}"
        for fact in facts
        if isinstance(fact.event, ToolReturned) and fact.event.name == "estimate_effort"
    ]
    return around + inside


async def test_a_chat_ends_the_same_wherever_its_orchestrator_is_killed(
    tmp_path: Path, model: ModelStub
) -> None:
    whole = await run_killed_at(NOWHERE, tmp_path / "uninterrupted", model)
    assert not whole.killed
    assert whole.facts[-1].envelope.type == "chat.completed"
    assert [f.envelope.seq for f in whole.facts] == list(range(1, len(whole.facts) + 1))
    words = sum(len(said.split()) for said in texts(whole.facts))
    points = points_of(whole.facts) + [f"chunk:{n}" for n in range(1, words + 1)]

    room = asyncio.Semaphore(SIDE_BY_SIDE)

    async def killed_at(number: int, point: str) -> tuple[str, Run]:
        async with room:
            return point, await run_killed_at(point, tmp_path / f"point-{number}", model)

    runs = await asyncio.gather(*(killed_at(n, point) for n, point in enumerate(points)))
    differing = {
        point: trouble for point, run in runs if (trouble := difference(run, whole)) is not None
    }
    assert not differing, "\n".join(f"{point}: {what}" for point, what in differing.items())


async def test_an_orchestrator_that_runs_already_takes_over_from_a_killed_one(
    tmp_path: Path, model: ModelStub
) -> None:
    whole = await run_killed_at(NOWHERE, tmp_path / "whole", model)
    workflows, effects = await asyncio.to_thread(set_up, tmp_path / "both")
    server = NatsServer(tmp_path / "both" / "nats")
    await asyncio.to_thread(server.start)
    variables = environment(server.url, model.base_url("both"), workflows, effects)
    first = orchestrators.start(variables, "chunk:9")
    processes = [first]
    try:
        async with bus_at(server.url) as bus:
            await order_start(bus, CHAT_KEY)
            playing = asyncio.create_task(play_to_the_end(bus, CHAT_KEY))
            await play_until(bus, CHAT_KEY, "human.asked", "human.answered")
            other_port = {"ORCHESTRATOR_PORT": str(free_port())}
            processes.append(orchestrators.start({**variables, **other_port}))
            facts = await playing
    finally:
        for process in processes:
            process.kill()
            await asyncio.to_thread(process.join, 10)
        await asyncio.to_thread(server.kill)
    assert told(facts) == told(whole.facts)
    (claimed,) = [fact.event for fact in facts if isinstance(fact.event, RunClaimed)]
    assert claimed.attempt == 2
    assert claimed.previous is not None
    assert claimed.previous != claimed.runner
    assert Queue("", "", "", slots=1).ack_seconds <= 3  # the takeover's one wait


def texts(facts: list[Fact]) -> list[str]:
    return [f.event.text or "" for f in facts if isinstance(f.event, ModelResponded)]


def difference(run: Run, whole: Run) -> str | None:
    """What an interrupted run has that the uninterrupted one has not, or the other way round."""
    if not run.killed:
        return "it was not killed"
    if told(run.facts) != told(whole.facts):
        both = itertools.zip_longest(told(run.facts), told(whole.facts))
        return f"the log differs: {next((a, b) for a, b in both if a != b)}"
    if distinct(run.requests) != distinct(whole.requests):
        return "the model was asked something else"
    if len(run.requests) > len(whole.requests) + 1:
        return f"{len(run.requests) - len(whole.requests)} model calls were repeated"
    if set(run.effects) != set(whole.effects) or max(Counter(run.effects).values()) > 2:
        return f"tools ran {Counter(run.effects)}"
    if len(run.effects) > len(whole.effects) + SIDE_BY_SIDE_TOOLS:
        return f"finished tools ran again: {Counter(run.effects)}"
    return None
