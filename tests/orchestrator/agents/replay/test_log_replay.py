"""A recorded chat is replayed on other code, and the first event that differs is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.codec import Fact
from contracts.events.human import HumanAsked
from contracts.events.turn import (
    ModelRequested,
    ModelResponded,
    SpeakerSelected,
    ToolDispatched,
    ToolReturned,
    TurnCompleted,
)
from services.orchestrator.agents.replay import report
from services.orchestrator.agents.replay.log_file import RecordedLog
from services.orchestrator.agents.replay.log_replay import (
    NotReplayableError,
    Replayed,
    agents_of,
    replay_log,
)
from services.orchestrator.testkit import play
from services.orchestrator.workflows.loading import LoadedWorkflow, load
from tests.golden_logs.chats import WORKSHOP

ANSWERS = ("a shelf", "large", "approve")


def workflow(folder: Path) -> LoadedWorkflow:
    loaded = load(folder)
    assert isinstance(loaded, LoadedWorkflow), loaded.problems
    return loaded


@pytest.fixture
async def sale() -> list[Fact]:
    """A chat with tools, a question, an approval, a handoff and hooks."""
    chat = await play(WORKSHOP, ANSWERS)
    assert chat.ended == "completed"
    return list(chat.facts)


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[str, str, str], LoadedWorkflow]:
    """The workflow with another text in one of its files."""

    def change(file: str, before: str, after: str) -> LoadedWorkflow:
        folder = tmp_path / "Workshop"
        shutil.copytree(WORKSHOP, folder, ignore=shutil.ignore_patterns("__pycache__"))
        text = (folder / file).read_text()
        assert before in text
        (folder / file).write_text(text.replace(before, after))
        return workflow(folder)

    return change


Change = Callable[[str, str, str], LoadedWorkflow]


async def replayed(facts: list[Fact], on: LoadedWorkflow, patience: float = 30) -> Replayed:
    return await replay_log(RecordedLog(facts), on, patience=patience)


async def test_nothing_differs_on_the_same_code_and_no_tool_is_run(
    sale: list[Fact], changed: Change
) -> None:
    tools = changed("tools/shop.py", 'return f"charged {cents}"', "raise AssertionError")
    found = await replayed(sale, tools)
    assert (found.divergence, found.events) == (None, len(sale))


async def test_a_log_that_ends_anywhere_is_replayed_to_its_end(sale: list[Fact]) -> None:
    loaded = workflow(WORKSHOP)
    for end in range(1, len(sale), 5):
        found = await replayed(sale[:end], loaded)
        assert (found.divergence, found.events) == (None, end)


async def test_a_changed_system_message_is_named(sale: list[Fact], changed: Change) -> None:
    found = await replayed(sale, changed("agents.json", "confirm in one", "confirm in two"))
    divergence = found.divergence
    assert divergence is not None
    assert isinstance(divergence.recorded.event, ModelRequested)
    assert divergence.recorded.event.agent == "Clerk"
    (field,) = divergence.fields
    assert (field.path, field.part) == ("prompt.0", "system message")
    text = "\n".join(report.as_lines(found, sale))
    assert "turn.model_requested (turn 2, call 0, agent Clerk)" in text
    assert "+You sell shelves" in text


async def test_a_changed_tool_schema_is_named(sale: list[Fact], changed: Change) -> None:
    now = changed("tools/shop.py", "Take the payment.", "Take the money.")
    found = await replayed(sale, now)
    assert found.divergence is not None
    assert [one.path for one in found.divergence.fields] == ["offered"]
    named = report.with_offer(found, agents_of(workflow(WORKSHOP)), agents_of(now)).divergence
    assert named is not None
    (field,) = named.fields
    assert field.path == "tools.charge.description"
    assert (field.recorded, field.found) == ("Take the payment.", "Take the money.")


async def test_a_log_of_a_release_without_digests_of_tools_is_not_compared_with_them(
    sale: list[Fact], changed: Change
) -> None:
    def without(fact: Fact) -> Fact:
        if not isinstance(fact.event, ModelRequested):
            return fact
        return Fact(fact.envelope, fact.event.model_copy(update={"offered": None}))

    now = changed("tools/shop.py", "Take the payment.", "Take the money.")
    found = await replayed([without(one) for one in sale], now)
    assert found.divergence is None


async def test_another_next_speaker_is_named(sale: list[Fact], changed: Change) -> None:
    found = await replayed(sale, changed("handoffs.json", "== 'large'", "== 'huge'"))
    divergence = found.divergence
    assert divergence is not None
    assert isinstance(divergence.recorded.event, SpeakerSelected)
    assert isinstance(divergence.found, SpeakerSelected)
    assert (divergence.recorded.event.agent, divergence.found.agent) == ("Packer", "user")


async def test_a_call_that_needs_an_approval_now_is_named(
    sale: list[Fact], changed: Change
) -> None:
    before = '"function": "price_of"'
    found = await replayed(sale, changed("tools.json", before, f'{before}, "approval": {{}}'))
    divergence = found.divergence
    assert divergence is not None
    assert isinstance(divergence.recorded.event, ToolDispatched)
    assert isinstance(divergence.found, HumanAsked)


async def test_a_changed_hook_is_named(sale: list[Fact], changed: Change) -> None:
    found = await replayed(sale, changed("tools/shop.py", "Mind the", "Heed the"))
    divergence = found.divergence
    assert divergence is not None
    assert divergence.recorded.envelope.type == "turn.conversation_processed"
    assert [one.path for one in divergence.fields] == ["prompt"]


@pytest.mark.parametrize("kind", [TurnCompleted, ToolDispatched, SpeakerSelected])
async def test_the_first_event_of_a_log_that_this_code_makes_otherwise_is_named(
    sale: list[Fact], kind: type[Any]
) -> None:
    place = next(n for n, fact in enumerate(sale) if isinstance(fact.event, kind))
    other = sale[place].event.model_copy(update={"agent": "Somebody"})
    sale[place] = Fact(sale[place].envelope, other)
    found = await replayed(sale, workflow(WORKSHOP), patience=2)
    assert found.divergence is not None
    assert found.divergence.recorded.envelope.seq == place + 1


async def test_an_event_that_this_code_does_not_come_to_is_named(sale: list[Fact]) -> None:
    place = next(n for n, fact in enumerate(sale) if isinstance(fact.event, ToolReturned))
    extra = ModelResponded(turn=1, call=7, agent=sale[place].event.agent)  # type: ignore[union-attr]
    log = [*sale[:2], Fact(sale[2].envelope, extra), *sale[2:]]
    found = await replayed(log, workflow(WORKSHOP), patience=0.5)
    assert found.divergence is not None
    assert found.divergence.recorded.event == extra


async def test_the_outcome_as_json_has_the_event_and_both_values(
    sale: list[Fact], changed: Change
) -> None:
    found = await replayed(sale, changed("agents.json", "confirm in one", "confirm in two"))
    shown = json.loads(json.dumps(report.as_json(found, sale)))
    assert shown["workflow_name"] == "Workshop"
    divergence = shown["divergence"]
    assert (divergence["type"], divergence["agent"]) == ("turn.model_requested", "Clerk")
    assert divergence["seq"] == shown["replayed"] + 1
    assert divergence["fields"][0]["part"] == "system message"
    assert divergence["now"]["prompt"] != divergence["recorded"]["prompt"]


async def test_an_empty_log_is_refused() -> None:
    with pytest.raises(NotReplayableError, match="no event"):
        await replayed([], workflow(WORKSHOP))
