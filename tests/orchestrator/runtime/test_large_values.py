"""Values of several megabytes on a real log: kept apart, read by whoever continues, of one chat only."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from contracts import subjects
from contracts.codec import Fact
from contracts.commands import Command
from contracts.event_log import Decision
from contracts.events.chat import ChatCompleted, ChatFailed
from contracts.events.parts import TextPart, text_of
from contracts.events.turn import ToolReturned, VariablesChanged
from contracts.ids import AppId, ChatKey, StreamSeq, WorkflowName
from contracts.large_values import INLINE_BYTES, LargeValue
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.value_store import ValueLostError
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.agents.models import demo
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.agents.registry.catalogue import Catalogue, build_catalogue
from services.orchestrator.domain.evolution import replay
from services.orchestrator.runtime.runner import Runner
from tests.orchestrator.chat_harness import (
    ChatUser,
    deliver,
    history,
    last_question,
    runner,
    whole_history,
)

pytestmark = pytest.mark.broker

TOOLS = '''
def collect(context_variables: dict) -> str:
    context_variables["rows"] = [{"id": n, "name": "x" * 30} for n in range(40_000)]
    context_variables["page"] = "é" * 1_500_000
    return "collected"


async def confirm(runtime, context_variables: dict) -> str:
    answer = await runtime.ask("Right?")
    context_variables["count"] = len(context_variables["rows"])
    context_variables["page"] += "!"
    return answer


def report(context_variables: dict) -> dict:
    """Several megabytes, of which a model gets the beginning."""
    return {"rows": context_variables["rows"], "count": context_variables["count"]}
'''
NAMES = ("collect", "confirm", "report")


def folder(root: Path) -> Catalogue:
    place = root / "Large"
    place.mkdir()
    (place / "large.py").write_text(TOOLS)
    sections: dict[str, Any] = {
        "workflow": {"workflow_name": "Large", "orchestration_pattern": "DefaultPattern"},
        "agents": {"agents": [{"name": "Worker"}]},
        "context_variables": {
            "context_variables": {
                "definitions": {
                    name: {"type": kind, "source": {"type": "state", "default": None}}
                    for name, kind in {"rows": "list", "page": "string", "count": "integer"}.items()
                },
                "agents": {"Worker": {"variables": ["page", "count"]}},
            }
        },
        "tools": {
            "tools": [{"agent": "Worker", "file": "large.py", "function": name} for name in NAMES]
        },
        "demo": {
            "agents": {
                "Worker": {
                    "lines": [*({"calls": [{"tool": name}]} for name in NAMES), {"say": "Done."}]
                }
            }
        },
    }
    for name, section in sections.items():
        (place / f"{name}.json").write_text(json.dumps(section))
    models = ModelFactory(
        demo.MODEL, demo=True, config_for=lambda script, _: demo.DemoConfig(script, 0)
    )
    return build_catalogue(root, models)


def worker(gateway: JetStreamGateway, catalogue: Catalogue) -> Runner:
    """A runner of a process that knows no chat yet."""
    return runner(gateway, AgentExecutor(catalogue, 25), catalogue.workflows)


async def delivered(to: Runner, command: Command) -> None:
    async with asyncio.timeout(60):
        await deliver(to, command)


async def played(gateway: JetStreamGateway, root: Path, user: ChatUser) -> list[Fact]:
    """A chat of which another process runs each half."""
    catalogue = folder(root)
    await delivered(worker(gateway, catalogue), user.start_chat())
    question = last_question(await history(gateway, user.key))
    await delivered(worker(gateway, catalogue), user.answer_question(question, "Right."))
    return await whole_history(gateway, user.key)


async def test_a_chat_with_variables_and_results_of_megabytes_is_continued_by_another_process(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    user = ChatUser(WorkflowName("Large"))
    facts = await played(gateway, tmp_path, user)
    assert isinstance(facts[-1].event, ChatCompleted)
    state = replay(facts)
    assert state.variables["count"] == len(state.variables["rows"]) == 40_000
    assert state.variables["page"] == "é" * 1_500_000 + "!"
    messages = [len(commit.events[-1].data) async for commit in gateway.events.read(user.key)]
    assert max(messages) <= INLINE_BYTES
    # A model gets the beginning of a large result, and the whole is stored.
    (result,) = [
        fact.event
        for fact in facts
        if isinstance(fact.event, ToolReturned) and fact.event.name == "report"
    ]
    assert len(text_of(result.parts)) < 250_000
    assert result.status == "ok"
    (part,) = result.parts
    assert part.whole is not None
    whole = json.loads(await gateway.values.get(user.key, part.whole.digest))
    assert len(whole["rows"]) == whole["count"] == 40_000


class ProcessDiedError(Exception):
    """The orchestrator's process has died."""


async def test_a_process_that_dies_between_a_value_and_its_event_leaves_a_chat_that_goes_on(
    gateway: JetStreamGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, catalogue = ChatUser(WorkflowName("Large")), folder(tmp_path)
    append = gateway.events.append
    stored: list[str] = []

    async def die_before_large_events(decision: Decision, *, after: StreamSeq) -> StreamSeq:
        if decision.large:
            stored.extend(value.reference.digest for value in decision.large)
            raise ProcessDiedError
        return await append(decision, after=after)

    start = user.start_chat()
    with monkeypatch.context() as patched:
        patched.setattr(gateway.events, "append", die_before_large_events)
        with pytest.raises(ProcessDiedError):
            await delivered(worker(gateway, catalogue), start)
    assert all([await gateway.values.get(user.key, digest) for digest in stored])  # objects alone
    async with asyncio.timeout(60):
        await deliver(worker(gateway, catalogue), start, attempt=2)
    facts = await whole_history(gateway, user.key)
    assert len(replay(facts).variables["rows"]) == 40_000
    named = {value.digest for fact in facts for value in fact.envelope.values or ()}
    assert set(stored) <= named  # the step was repeated, and its values are the same objects


async def test_a_value_of_one_chat_is_no_value_of_another(gateway: JetStreamGateway) -> None:
    user, value = ChatUser(), LargeValue.of_json("x" * 300_000)
    await gateway.values.put(user.key, [value])
    assert await gateway.values.get(user.key, value.reference.digest) == value.data
    others = [ChatUser().key, ChatKey(AppId("another.app"), user.key.chat)]
    for key in others:
        with pytest.raises(ValueLostError):
            await gateway.values.get(key, value.reference.digest)


async def test_a_value_that_is_stored_twice_is_one_object(gateway: JetStreamGateway) -> None:
    user, value = ChatUser(), LargeValue.of_json("y" * 300_000)
    await gateway.values.put(user.key, [value, value])
    store = await gateway.js.object_store(subjects.VALUES)
    name = subjects.value_key(user.key, value.reference.digest)
    first = await store.get_info(name)
    await gateway.values.put(user.key, [value])
    assert (await store.get_info(name)).nuid == first.nuid


async def test_an_incomplete_object_is_stored_again(gateway: JetStreamGateway) -> None:
    user, value = ChatUser(), LargeValue.of_json("z" * 300_000)
    await gateway.values.put(user.key, [value])
    await _lose_chunks(gateway, user.key, value.reference.digest)
    with pytest.raises(ValueLostError):
        await gateway.values.get(user.key, value.reference.digest)
    await gateway.values.put(user.key, [value])
    assert await gateway.values.get(user.key, value.reference.digest) == value.data


async def test_a_chat_whose_value_is_lost_fails_by_name_and_does_not_use_the_beginning(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    user, catalogue = ChatUser(WorkflowName("Large")), folder(tmp_path)
    await delivered(worker(gateway, catalogue), user.start_chat())
    facts = await history(gateway, user.key)
    for fact in facts:
        for value in fact.envelope.values or ():
            await _lose_chunks(gateway, user.key, value.digest)
    question = last_question(facts)
    await delivered(worker(gateway, catalogue), user.answer_question(question, "Right."))
    events = [fact.event for fact in await history(gateway, user.key)]
    (failed,) = [event for event in events if isinstance(event, ChatFailed)]
    assert failed.code == "VALUE_LOST"
    assert len([event for event in events if isinstance(event, VariablesChanged)]) == 1


async def _lose_chunks(gateway: JetStreamGateway, key: ChatKey, digest: str) -> None:
    store = await gateway.js.object_store(subjects.VALUES)
    info = await store.get_info(subjects.value_key(key, digest))
    stream = subjects.object_stream(subjects.VALUES)
    chunks = subjects.object_chunks(subjects.VALUES, str(info.nuid))
    await gateway.js.purge_stream(stream, subject=chunks)


def test_a_part_without_a_whole_value_is_written_as_it_always_was() -> None:
    assert TextPart(text="x").model_dump() == {"metadata": {}, "kind": "text", "text": "x"}
