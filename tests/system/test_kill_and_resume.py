"""An orchestrator killed at any point of a chat costs seconds, and repeats nothing that finished."""

import asyncio
import itertools
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from contracts import subjects
from contracts.codec import Fact
from contracts.events.run import RunClaimed
from contracts.events.turn import ModelResponded, ToolReturned
from contracts.ids import delivery_of
from infra.ports import free_port
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.redelivery import list_unacknowledged, return_messages
from tests.secured_nats import SecuredNats
from tests.system import orchestrators
from tests.system.model_stub import ModelStub, generator_script
from tests.system.stage import (
    PATIENCE_SECONDS,
    bus_at,
    chat_key,
    distinct,
    environment,
    history,
    order_start,
    play_to_the_end,
    play_until,
    told,
    workflows_with_counted_effects,
)
from tests.thorough import THOROUGH, tries

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

SIDE_BY_SIDE = 12
WORDS_APART = tries(9, 3)
"""Of so many words that are streamed one is a point to kill at: what follows differs by an append, not by a word."""
RETURNED = "$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED"
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
    server = SecuredNats(folder)
    await asyncio.to_thread(server.start)
    variables = environment(server, model.base_url(folder.name), workflows, effects)
    kind, _, where = point.partition(":")
    in_tool = {"KILL_IN_TOOL": where} if kind == "tool" else {}
    processes = [orchestrators.start({**variables, **in_tool}, "" if in_tool else point)]
    try:
        async with bus_at(server.settings) as gateway:
            await order_start(gateway, CHAT_KEY)
            playing = asyncio.create_task(play_to_the_end(gateway, CHAT_KEY))
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
        await asyncio.to_thread(server.end)
    done = (await asyncio.to_thread(effects.read_text)).splitlines()
    return Run(facts, model.bodies[folder.name], done, killed)


def set_up(folder: Path) -> tuple[Path, Path]:
    """The workflows' folder, and the file that a tool's effects are noted in."""
    folder.mkdir()
    effects = folder / "effects"
    effects.touch()
    return workflows_with_counted_effects(folder), effects


def points_of(facts: list[Fact]) -> list[str]:
    """Before and after each append, and inside each tool that leaves something behind.

    Of appends of the same events the first; when it is thorough, each.
    """
    appends = [list(batch) for _, batch in itertools.groupby(facts, lambda f: f.envelope.time)]
    if not THOROUGH:
        of_kinds = {tuple(fact.envelope.type for fact in one): one for one in reversed(appends)}
        appends = list(of_kinds.values())
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
    points = points_of(whole.facts) + [f"word:{n}" for n in range(1, words + 1, WORDS_APART)]

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
    server = SecuredNats(tmp_path / "both")
    await asyncio.to_thread(server.start)
    variables = environment(server, model.base_url("both"), workflows, effects)
    first = orchestrators.start(variables, "word:9")
    processes = [first]
    returned: list[dict[str, Any]] = []
    probed: set[str] = set()
    knows_first = asyncio.Event()

    async def on_returned(advisory: Msg) -> None:
        returned.append(json.loads(advisory.data))

    async def on_probe(probe: Msg) -> None:
        if probe.subject != subjects.peers("orchestrator"):
            probed.add(probe.subject)
        if len(probed) > 1:  # the second probes itself, and the first
            knows_first.set()

    try:
        async with bus_at(server.settings) as gateway:
            await gateway.nc.subscribe(f"{RETURNED}.COMMANDS.orchestrator", cb=on_returned)
            await order_start(gateway, CHAT_KEY)
            await play_until(gateway, CHAT_KEY, "human.asked")
            probes = await gateway.nc.subscribe(subjects.peer("orchestrator", "*"), cb=on_probe)
            other_port = {"ORCHESTRATOR_PORT": str(free_port())}
            processes.append(orchestrators.start({**variables, **other_port}))
            async with asyncio.timeout(PATIENCE_SECONDS):
                await knows_first.wait()
            await probes.unsubscribe()  # a probe with a subscriber finds its process alive
            facts = await play_to_the_end(gateway, CHAT_KEY)
    finally:
        for process in processes:
            process.kill()
            await asyncio.to_thread(process.join, 10)
        await asyncio.to_thread(server.end)
    assert told(facts) == told(whole.facts)
    (claimed,) = [fact.event for fact in facts if isinstance(fact.event, RunClaimed)]
    assert claimed.attempt == 2
    assert claimed.previous is not None
    assert claimed.previous != claimed.runner
    (message,) = {advisory["stream_seq"] for advisory in returned}  # not by its ack wait
    runner = delivery_of(claimed.runner)
    assert runner is not None
    assert runner.message == message


@asynccontextmanager
async def two_orchestrators(
    folder: Path, model: ModelStub, first: Mapping[str, str]
) -> AsyncIterator[tuple[JetStreamGateway, ForkServerProcess, Path]]:
    """A chat runs in the first, and the second is there: the gateway, the first, tools' effects."""
    workflows, effects = await asyncio.to_thread(set_up, folder)
    server = SecuredNats(folder)
    await asyncio.to_thread(server.start)
    variables = environment(server, model.base_url(folder.name), workflows, effects)
    processes = [orchestrators.start({**variables, **first})]
    try:
        async with bus_at(server.settings) as gateway:
            await order_start(gateway, CHAT_KEY)
            await play_until(gateway, CHAT_KEY, "human.asked")
            other_port = {"ORCHESTRATOR_PORT": str(free_port())}
            processes.append(orchestrators.start({**variables, **other_port}))
            yield gateway, processes[0], effects
    finally:
        for process in processes:
            process.kill()
            await asyncio.to_thread(process.join, 10)
        await asyncio.to_thread(server.end)


async def test_a_paused_orchestrator_is_taken_over_and_fenced_once_it_goes_on(
    tmp_path: Path, model: ModelStub
) -> None:
    whole = await run_killed_at(NOWHERE, tmp_path / "whole", model)
    pausing = two_orchestrators(tmp_path / "both", model, {"STOP_IN_TOOL": "yes"})
    async with pausing as (gateway, first, _):
        playing = asyncio.create_task(play_to_the_end(gateway, CHAT_KEY))
        await claimed_in(gateway)
        assert first.pid is not None
        os.kill(first.pid, signal.SIGCONT)
        facts = await playing
        await asyncio.sleep(1)
        assert told(await history(gateway, CHAT_KEY)) == told(facts) == told(whole.facts)
        assert first.is_alive()
    assert len([fact for fact in facts if isinstance(fact.event, RunClaimed)]) == 1


async def test_a_message_that_is_returned_by_mistake_repeats_what_was_open_and_nothing_else(
    tmp_path: Path, model: ModelStub
) -> None:
    whole = await run_killed_at(NOWHERE, tmp_path / "whole", model)
    slow = two_orchestrators(tmp_path / "both", model, {"TOOL_SECONDS": "1"})
    async with slow as (gateway, first, effects):
        playing = asyncio.create_task(play_to_the_end(gateway, CHAT_KEY))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await asyncio.to_thread(effects.read_text):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await return_everything(gateway)
        facts = await playing
        assert first.is_alive()
    assert told(facts) == told(whole.facts)
    (claimed,) = [fact.event for fact in facts if isinstance(fact.event, RunClaimed)]
    assert claimed.attempt == 2


async def return_everything(gateway: JetStreamGateway) -> None:
    queue = subjects.COMMANDS, "orchestrator"
    found = await list_unacknowledged(gateway, *queue, subjects.ALL_COMMANDS)
    await return_messages(gateway, *queue, found.positions, found.consumer_sequence)


async def claimed_in(gateway: JetStreamGateway) -> None:
    """Return once somebody has taken the chat over."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not any(  # noqa: ASYNC110  # another process appends it
            isinstance(fact.event, RunClaimed) for fact in await history(gateway, CHAT_KEY)
        ):
            await asyncio.sleep(0.05)


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
