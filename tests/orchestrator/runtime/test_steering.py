"""Tools of a real folder while the user stops the answer or writes to it, on a real log."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from contracts.codec import Fact
from contracts.event_log import Decision
from contracts.events.chat import UserMessagesConsumed
from contracts.events.parts import text_of
from contracts.events.run import RunClaimed
from contracts.events.turn import ModelRequested, ToolReturned
from contracts.ids import StreamSeq, WorkflowName
from services.chassis.jetstream.event_log import EventLog
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.agents.models import demo
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.agents.registry.catalogue import Catalogue, build_catalogue
from services.orchestrator.domain.agent_conversation import conversation_for, to_ag2
from services.orchestrator.domain.evolution import replay
from services.orchestrator.domain.state import pending
from services.orchestrator.domain.stop_decisions import STOPPED_CALL, STOPPED_IN_DOUBT
from services.orchestrator.runtime.runner import Runner
from tests.orchestrator.chat_harness import (
    ChatUser,
    deliver,
    event_types,
    history,
    last_question,
    runner,
)
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.broker

TOOLS = '''
"""Tools that wait for a file, and note in others what becomes of them."""

import asyncio
import time
from pathlib import Path

HERE = Path(__file__).parent


def note(name: str) -> None:
    (HERE / name).touch()


async def wait() -> str:
    note("waiting")
    try:
        while not (HERE / "go").exists():
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        note("cancelled")
        raise
    return "waited"


def block() -> str:
    note("waiting")
    while not (HERE / "go").exists():
        time.sleep(0.01)
    note("went on")
    return "blocked"


def send() -> str:
    return block()


async def ask(runtime) -> str:
    return await runtime.ask("Which bread?")
'''
BENCH = WorkflowName("Bench")


def folder(root: Path, tool: str, policy: str = "queue") -> Catalogue:
    """A workflow whose agent calls a tool and answers; then it is the user's turn."""
    place = root / "Bench"
    place.mkdir()
    (place / "waiting.py").write_text(TOOLS)
    effect = {"effect": "once"} if tool == "send" else {"effect": "read"}
    declared = {"agent": "Worker", "file": "waiting.py", "function": tool, **effect}
    sections: dict[str, Any] = {
        "workflow": {
            "workflow_name": "Bench",
            "orchestration_pattern": "DefaultPattern",
            "human_in_the_loop": True,
            "while_running": policy,
        },
        "agents": {"agents": [{"name": "Worker"}]},
        "handoffs": {
            "handoff_rules": [
                {
                    "source_agent": "Worker",
                    "target_agent": "user",
                    "handoff_type": "after_work",
                }
            ]
        },
        "tools": {"tools": [declared]},
        "demo": {"agents": {"Worker": {"lines": [{"calls": [{"tool": tool}]}, {"say": "Done."}]}}},
    }
    for name, section in sections.items():
        (place / f"{name}.json").write_text(json.dumps(section))
    models = ModelFactory(
        demo.MODEL, demo=True, config_for=lambda script, _: demo.DemoConfig(script, 0)
    )
    return build_catalogue(root, models)


def worker(gateway: JetStreamGateway, catalogue: Catalogue) -> Runner:
    return runner(gateway, AgentExecutor(catalogue, 25), catalogue.workflows)


async def exists(file: Path) -> None:
    while not file.exists():  # noqa: ASYNC110, ASYNC240  a tool in another thread makes it
        await asyncio.sleep(0.01)


def result(facts: list[Fact]) -> ToolReturned:
    (one,) = [fact.event for fact in facts if isinstance(fact.event, ToolReturned)]
    return one


@pytest.mark.parametrize(
    ("tool", "status", "told"),
    [
        ("wait", "error", STOPPED_CALL),
        ("block", "error", STOPPED_CALL),
        ("send", "unknown", STOPPED_IN_DOUBT),
    ],
)
async def test_a_stop_ends_the_wait_for_a_running_tool(
    gateway: JetStreamGateway, tmp_path: Path, tool: str, status: str, told: str
) -> None:
    user, here = ChatUser(workflow=BENCH), tmp_path / "Bench"
    catalogue = folder(tmp_path, tool)
    async with asyncio.timeout(PATIENCE_SECONDS):
        running = asyncio.create_task(deliver(worker(gateway, catalogue), user.start_chat("Go")))
        await exists(here / "waiting")
        await deliver(worker(gateway, catalogue), user.stop_answer(1))
        await running
        facts = await history(gateway, user.key)
        assert (result(facts).status, text_of(result(facts).parts)) == (status, told)
        assert replay(facts).waits_for_user
        if tool == "wait":
            await exists(here / "cancelled")
        (here / "go").touch()
        if tool == "block":  # a thread cannot be stopped: it is abandoned, and its result ignored
            await exists(here / "went on")
        await deliver(worker(gateway, catalogue), user.send_message("Go on"))
    later = await history(gateway, user.key)
    assert event_types(later)[: len(facts)] == event_types(facts)
    assert replay(later).waits_for_user


async def test_a_stop_ends_a_turn_that_waits_for_an_answer_and_a_late_answer_is_ignored(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    user, catalogue = ChatUser(workflow=BENCH), folder(tmp_path, "ask")
    async with asyncio.timeout(PATIENCE_SECONDS):
        await deliver(worker(gateway, catalogue), user.start_chat("Go"))
        asking = await history(gateway, user.key)
        assert event_types(asking)[-1] == "human.asked"
        await deliver(worker(gateway, catalogue), user.stop_answer(1))
        stopped = await history(gateway, user.key)
        late = user.answer_question(last_question(asking), "rye")
        await deliver(worker(gateway, catalogue), late)
    assert event_types(stopped)[len(asking) :] == [
        "turn.stop_requested",
        "turn.tool_returned",
        "human.question_expired",
        "turn.stopped",
        "turn.speaker_selected",
    ]
    assert await history(gateway, user.key) == stopped


async def with_message(
    gateway: JetStreamGateway, catalogue: Catalogue, user: ChatUser, here: Path, text: str
) -> list[Fact]:
    """A chat to which the user writes while its tool runs."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        running = asyncio.create_task(deliver(worker(gateway, catalogue), user.start_chat("Go")))
        await exists(here / "waiting")
        await deliver(worker(gateway, catalogue), user.send_message(text))
        (here / "go").touch()
        await running
    return await history(gateway, user.key)


def consumed(facts: list[Fact]) -> list[UserMessagesConsumed]:
    return [fact.event for fact in facts if isinstance(fact.event, UserMessagesConsumed)]


async def test_a_message_steers_the_running_turn_after_its_tool(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    user, catalogue = ChatUser(workflow=BENCH), folder(tmp_path, "wait", "steer")
    facts = await with_message(gateway, catalogue, user, tmp_path / "Bench", "In French")
    (one,) = consumed(facts)
    assert (one.turn, one.call) == (1, 1)
    types = event_types(facts)
    place = types.index("chat.user_messages_consumed")
    assert types[place - 1] == "turn.model_requested"
    received = types.index("chat.user_message_received", 2) + 1
    assert list(one.messages) == [received]
    assert types[-1] == "turn.speaker_selected"


async def test_a_queued_message_begins_the_next_turn(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    user, catalogue = ChatUser(workflow=BENCH), folder(tmp_path, "wait")
    facts = await with_message(gateway, catalogue, user, tmp_path / "Bench", "And then?")
    (one,) = consumed(facts)
    assert (one.turn, one.call) == (2, None)
    assert event_types(facts).count("turn.completed") == 2


async def test_a_rejected_message_changes_nothing_but_is_refused_by_name(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    user, catalogue = ChatUser(workflow=BENCH), folder(tmp_path, "wait", "reject")
    facts = await with_message(gateway, catalogue, user, tmp_path / "Bench", "Hurry")
    types = event_types(facts)
    assert types.count("chat.user_message_refused") == 1
    assert types.count("chat.user_message_received") == 1
    assert consumed(facts) == []


class RunnerDiedError(Exception):
    """The runner's process has died."""


class DyingLog(EventLog):
    """A log whose process dies before or after the append of event `seq`."""

    seq, after_it = 0, False

    async def append(self, decision: Decision, *, after: StreamSeq) -> StreamSeq:
        hit = self.seq in {one.envelope.seq for one in decision.events}
        if hit and not self.after_it:
            raise RunnerDiedError
        position = await super().append(decision, after=after)
        if hit:
            raise RunnerDiedError
        return position


def memories(catalogue: Catalogue, facts: list[Fact]) -> list[Any]:
    agent = next(iter(catalogue.workflows[BENCH].agents))
    messages = to_ag2(conversation_for(replay(facts), agent, None))
    return [(one["role"], one["content"]) for one in messages]


def requests(facts: list[Fact]) -> list[ModelRequested]:
    return [fact.event for fact in facts if isinstance(fact.event, ModelRequested)]


@pytest.mark.parametrize("policy", ["queue", "steer", "interrupt"])
@pytest.mark.parametrize("after_it", [False, True], ids=["before", "after"])
async def test_order_and_fate_of_a_message_are_those_of_an_uninterrupted_run_wherever_it_dies(
    gateway: JetStreamGateway, tmp_path: Path, policy: str, *, after_it: bool
) -> None:
    """At every event from the message on; the tool is called before, once."""
    (tmp_path / "whole").mkdir()
    catalogue = folder(tmp_path / "whole", "wait", policy)
    whole_user = ChatUser(workflow=BENCH)
    here = tmp_path / "whole" / "Bench"
    whole = await with_message(gateway, catalogue, whole_user, here, "Now")
    first = event_types(whole).index("chat.user_message_received", 2) + 2
    for seq in range(first, len(whole) + 1):
        user = ChatUser(workflow=BENCH)
        for file in ("waiting", "go"):
            (here / file).unlink(missing_ok=True)
        dying = JetStreamGateway(gateway.nc)
        log = DyingLog(gateway.nc, dying.storage, dying.event_reader)
        log.seq, log.after_it = seq, after_it
        dying.events = log
        start, message = user.start_chat("Go"), user.send_message("Now")
        async with asyncio.timeout(PATIENCE_SECONDS):
            running = asyncio.create_task(deliver(worker(dying, catalogue), start))
            await exists(here / "waiting")
            await deliver(worker(gateway, catalogue), message)
            (here / "go").touch()
            (died,) = await asyncio.gather(running, return_exceptions=True)
            if isinstance(died, BaseException):
                assert isinstance(died, RunnerDiedError)
                await deliver(worker(gateway, catalogue), start, attempt=2)
        facts = await history(gateway, user.key)
        state = replay(facts)
        assert (state.waits_for_user, state.waiting, pending(state)) == (True, (), None)
        found = [one for one in facts if not isinstance(one.event, RunClaimed)]
        assert memories(catalogue, facts) == memories(catalogue, whole), seq
        assert [one.call for one in consumed(facts)] == [one.call for one in consumed(whole)]
        if policy != "interrupt":  # there the tool's cancellation takes the place of its result
            assert without_repeats(found) == without_repeats(whole), seq
            assert [one.digest for one in requests(facts)] == [
                one.digest for one in requests(whole)
            ]


def without_repeats(facts: list[Fact]) -> list[str]:
    """The types of the events, without dispatches and usages of repeated calls."""
    ignored = {"turn.tool_dispatched", "turn.usage_recorded", "turn.text_interrupted"}
    return [one for one in event_types(facts) if one not in ignored]
