"""The spans of a whole chat on a real NATS, also where its process dies and another one goes on."""

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from contracts.codec import Fact
from contracts.commands import Command
from contracts.events.run import RunClaimed
from contracts.events.turn import ToolReturned
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.runtime.runner import Runner
from tests.chassis.tracing.collected import (
    Collected,
    collecting,
    is_of,
    links_of,
    traceparent_of,
)
from tests.orchestrator.chat_harness import (
    ChatUser,
    deliver,
    history,
    last_question,
    runner,
    shipped_catalogue,
    user_with_chat,
)
from tests.orchestrator.runtime.test_killed_patterns import DyingExecutor, RunnerDiedError

pytestmark = pytest.mark.broker

REQUESTS = [f"00-{number:032x}-00f067aa0ba902b7-01" for number in (1, 2, 3)]
"""The traces of the user's three requests."""


@pytest.fixture
def collected() -> Iterator[Collected]:
    with collecting() as spans:
        yield spans


def traced(command: Command, trace: str) -> Command:
    return command.model_copy(update={"trace": trace})


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def trace_of(span: ReadableSpan) -> str:
    return traceparent_of(span)[3:35]


async def play_generator(gateway: JetStreamGateway, workers: list[Runner]) -> list[Fact]:
    """A chat with Generator, whose first process dies after its first append."""
    ann = ChatUser(workflow=user_with_chat("", "Generator").workflow)
    start = traced(ann.start_chat(), REQUESTS[0])
    with pytest.raises(RunnerDiedError):
        await deliver(workers[0], start)
    await deliver(workers[1], start, attempt=2)
    for trace, answer in zip(REQUESTS[1:], ("A garden planner", "Approve"), strict=True):
        question = last_question(await history(gateway, ann.key))
        await deliver(workers[1], traced(ann.answer_question(question, answer), trace))
    return await history(gateway, ann.key)


async def test_a_chat_is_one_tree_for_each_request_and_its_runs_are_linked(
    gateway: JetStreamGateway, collected: Collected
) -> None:
    catalogue = shipped_catalogue()
    workflows = catalogue.workflows
    workers = [
        runner(gateway, executor(catalogue, 25), workflows)
        for executor in (DyingExecutor, AgentExecutor)
    ]
    facts = await play_generator(gateway, workers)
    commands, runs = collected.named("process COMMANDS"), collected.named("invoke_workflow")

    # Each request of the user is a trace; a command that is delivered again belongs to the same.
    assert [trace_of(one) for one in commands] == [f"{n:032x}" for n in (1, 1, 2, 3)]
    assert [is_of(run, command) for run, command in zip(runs, commands, strict=True)] == [True] * 4
    assert {one.name for one in runs} == {"invoke_workflow Generator"}
    # A run is linked to the one that it continues, whether that one died or waited for an answer.
    assert [links_of(run) for run in runs] == [
        [],
        *([traceparent_of(before)] for before in runs[:-1]),
    ]
    died, resumed, *_ = runs
    assert attributes(died)["error.type"] == "RunnerDiedError"
    assert attributes(resumed)["mozaiks.chat.status"] == "waits_for_answer"
    assert attributes(runs[-1])["mozaiks.chat.status"] == "completed"
    for run in runs:
        for child in collected.children(run):
            assert child.split()[0] in {"invoke_agent", "run_lifecycle_tools"}
    agents = collected.named("invoke_agent")
    spans = [collected.children(agent) for agent in agents]
    assert all(child.split()[0] in {"chat", "execute_tool"} for group in spans for child in group)
    for name in ("chat", "execute_tool"):
        assert all(any(is_of(one, agent) for agent in agents) for one in collected.named(name))
    tools = {attributes(one)["gen_ai.tool.name"] for one in collected.named("execute_tool")}
    called = {fact.event.name for fact in facts if isinstance(fact.event, ToolReturned)}
    assert tools == called
    [claim] = [fact for fact in facts if isinstance(fact.event, RunClaimed)]
    assert claim.envelope.trace == traceparent_of(resumed)


async def test_every_event_has_the_trace_of_its_request_and_no_span_has_a_text(
    gateway: JetStreamGateway, collected: Collected
) -> None:
    catalogue = shipped_catalogue()
    worker = runner(gateway, AgentExecutor(catalogue, 25), catalogue.workflows)
    ann = ChatUser(workflow=user_with_chat("", "HelloWorld").workflow)
    await deliver(worker, traced(ann.start_chat("a secret of the user"), REQUESTS[0]))
    await deliver(worker, ann.send_message("another secret"))
    facts = await history(gateway, ann.key)
    first = [fact for fact in facts if (fact.envelope.trace or "")[3:35] == f"{1:032x}"]
    assert first == facts[: len(first)]
    assert all(fact.envelope.trace for fact in facts)
    _, second = collected.named("process COMMANDS")
    assert {fact.envelope.trace[3:35] for fact in facts[len(first) :]} == {trace_of(second)}  # type: ignore[index]
    chat = attributes(collected.named("chat")[0])
    assert chat["gen_ai.operation.name"] == "chat"
    assert chat["gen_ai.conversation.id"] == ann.key.chat
    assert chat["gen_ai.usage.output_tokens"] > 0
    assert chat["gen_ai.response.time_to_first_chunk"] >= 0
    assert "secret" not in "".join(one.to_json() for one in collected.spans)


async def test_without_an_exporter_events_keep_the_traceparent_that_came_with_their_command(
    gateway: JetStreamGateway,
) -> None:
    catalogue = shipped_catalogue()
    worker = runner(gateway, AgentExecutor(catalogue, 25), catalogue.workflows)
    ann = ChatUser(workflow=user_with_chat("", "HelloWorld").workflow)
    await deliver(worker, traced(ann.start_chat("Hi"), REQUESTS[0]))
    await deliver(worker, traced(ann.send_message("Hi"), "00-hostile\r\n-01"))
    traces = [fact.envelope.trace for fact in await history(gateway, ann.key)]
    count = traces.count(REQUESTS[0])
    assert traces == [REQUESTS[0]] * count + [None] * (len(traces) - count)
    assert 0 < count < len(traces)


async def test_the_text_of_prompts_and_answers_is_in_spans_where_that_is_switched_on(
    gateway: JetStreamGateway,
) -> None:
    catalogue = shipped_catalogue()
    worker = runner(gateway, AgentExecutor(catalogue, 25), catalogue.workflows)
    ann = ChatUser(workflow=user_with_chat("", "HelloWorld").workflow)
    with collecting(captures_content=True) as collected:
        await deliver(worker, ann.start_chat("the first words"))
    chat = attributes(collected.named("chat")[0])
    assert "the first words" in chat["gen_ai.input.messages"]
    assert chat["gen_ai.output.messages"].startswith('[{"role": "assistant", "parts": [')
    assert chat["gen_ai.system_instructions"].startswith('[{"type": "text"')
