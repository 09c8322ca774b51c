"""Every request to a model can be shown exactly: the digest in the log proves it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ag2.testing import Turn

from contracts.events.turn import ModelRequested
from contracts.ids import Seq
from services.orchestrator.agents.execution import sent_request
from services.orchestrator.agents.execution.sent_request import SentRequest, sent_requests
from services.orchestrator.workflows.spec import USER, Workflow
from tests.orchestrator.agent_sets import WRITER, workflows_by_pattern
from tests.orchestrator.agents.execution import test_compaction, test_turn_executor
from tests.orchestrator.agents.execution.test_resuming import PATTERNS, run_to_end, started_chat
from tests.orchestrator.agents.turn_harness import (
    MemoryJournal,
    TurnHarness,
    model_response,
    tool_call,
)


def sent(chat: MemoryJournal, workflow: Workflow | None = None) -> list[SentRequest]:
    """The requests of a chat; there is one for each event that says so."""
    requests = list(sent_requests(chat.story.facts, workflow))
    assert len(requests) == sum(isinstance(f.event, ModelRequested) for f in chat.story.facts) > 0
    return requests


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_every_request_of_a_chat_is_shown_exactly(tmp_path: Path, pattern: str) -> None:
    loaded = workflows_by_pattern(tmp_path)[pattern]
    chat = await run_to_end(loaded, started_chat(loaded))
    assert all(one.is_exact for one in sent(chat, loaded.workflow))


async def test_requests_after_a_summary_are_shown_exactly(tmp_path: Path) -> None:
    pattern = workflows_by_pattern(tmp_path)["RoundRobinPattern"]
    writer = replace(pattern.workflow.agents[WRITER], after_work=USER)
    workflow = replace(
        pattern.workflow,
        agents={WRITER: writer},
        after_user=WRITER,
        max_turns=8,
    )
    loaded = replace(pattern, workflow=workflow)
    model = test_compaction.SmallModel()
    chat = await test_compaction.run_chat(loaded, started_chat(loaded), model)
    assert model.summaries > 1
    assert all(one.is_exact for one in sent(chat, loaded.workflow))


async def test_requests_with_hooks_and_a_correction_are_shown_exactly() -> None:
    journal = MemoryJournal()
    await test_turn_executor.run_to_end(journal)
    first, second = sent(journal)
    assert (first.is_exact, second.is_exact) == (True, True)
    assert first.prompt == ("You write. The till is 1.",)
    assert [message["role"] for message in second.messages] == ["user", "assistant", "user"]
    assert "bread: Field required" in second.messages[-1]["content"]


async def test_a_request_after_tool_calls_has_the_calls_and_their_results() -> None:
    def look() -> dict[str, int]:
        return {"rain": 3}

    journal = MemoryJournal()
    lines: list[Turn] = [
        model_response("I look.", tool_call("look", "c1"), tool_call("look", "c2")),
        "Done.",
    ]
    await TurnHarness(lines, [look]).run(journal)
    first, second = sent(journal)
    assert (first.is_exact, second.is_exact) == (True, True)
    asked, called, *results = second.messages
    assert (asked["role"], called["content"]) == ("user", "I look.")
    assert [one["tool_call_id"] for one in results] == ["c1", "c2"]
    assert (first.turn, first.call, second.call) == (1, 0, 1)


async def test_without_the_workflows_hidden_message_a_request_is_not_exact(tmp_path: Path) -> None:
    loaded = workflows_by_pattern(tmp_path)["RoundRobinPattern"]
    workflow = replace(loaded.workflow, initial_message="Be brief.")
    loaded = replace(loaded, workflow=workflow)
    chat = await run_to_end(loaded, started_chat(loaded))
    assert all(one.is_exact for one in sent(chat, workflow))
    assert not all(one.is_exact for one in sent(chat))


async def test_only_the_request_of_an_event_is_made_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = workflows_by_pattern(tmp_path)["RoundRobinPattern"]
    chat = await run_to_end(loaded, started_chat(loaded))
    every = sent(chat, loaded.workflow)
    made: list[SentRequest] = []
    make = sent_request._request

    def counted(*arguments: Any) -> SentRequest:
        made.append(make(*arguments))
        return made[-1]

    monkeypatch.setattr(sent_request, "_request", counted)
    for one in every:
        assert list(sent_requests(chat.story.facts, loaded.workflow, one.seq)) == [one]
    assert made == every
    assert not list(sent_requests(chat.story.facts, loaded.workflow, Seq(10_000)))
