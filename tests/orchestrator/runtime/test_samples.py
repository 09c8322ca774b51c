"""Every shipped workflow and a new one, run to the end on the demo model."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from contracts.codec import Fact
from contracts.events.parts import text_of
from contracts.events.turn import (
    SELECTOR,
    ModelRequested,
    OutputStructured,
    SpeakerSelected,
    ToolReturned,
    TurnCompleted,
    VariablesChanged,
)
from contracts.ids import WorkflowName
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.agents.models import demo
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.agents.registry.catalogue import Catalogue, build_catalogue
from services.orchestrator.workflows.scaffold import create_workflow
from tests.orchestrator.chat_harness import (
    ChatUser,
    deliver,
    event_types,
    history,
    last_ui_tool,
    runner,
    shipped_catalogue,
)

pytestmark = pytest.mark.broker


async def talk(
    gateway: JetStreamGateway, catalogue: Catalogue, workflow: str, *texts: str
) -> list[Fact]:
    """The log of a chat after these messages of the user, once it is quiet."""
    user = ChatUser(workflow=WorkflowName(workflow))
    worker = runner(gateway, AgentExecutor(catalogue, 25), catalogue.workflows)
    await deliver(worker, user.start_chat())
    for text in texts:
        await deliver(worker, user.send_message(text))
    return await history(gateway, user.key)


def speakers(facts: list[Fact]) -> list[tuple[str, str]]:
    chosen = [fact.event for fact in facts if isinstance(fact.event, SpeakerSelected)]
    return [(str(event.agent), event.by) for event in chosen]


def text_of_chat(facts: list[Fact]) -> str:
    return " ".join(f.event.text or "" for f in facts if isinstance(f.event, TurnCompleted))


async def test_a_debate_follows_the_order_and_ends_with_the_verdict(
    gateway: JetStreamGateway,
) -> None:
    facts = await talk(gateway, shipped_catalogue(), "Debate", "Shall we write it in Go?")
    assert [name for name, _ in speakers(facts)] == ["user", "Advocate", "Critic", "Judge"]
    assert speakers(facts)[-2:] == [("Critic", "round_robin"), ("Judge", "round_robin")]
    assert "Shall we write it in Go?" in text_of_chat(facts)
    assert event_types(facts)[-1] == "chat.completed"


async def test_a_brainstorm_is_in_random_order_without_repetitions(
    gateway: JetStreamGateway,
) -> None:
    facts = await talk(gateway, shipped_catalogue(), "Brainstorm", "A name for our cat")
    order = [name for name, _ in speakers(facts)][1:]
    assert len(order) == 6
    assert all(one != other for one, other in pairwise(order))
    pinned = [fact.event for fact in facts if isinstance(fact.event, VariablesChanged)]
    assert len(pinned[-1].changed["board"]) == 6
    assert event_types(facts)[-1] == "chat.completed"


async def test_a_helpdesk_selects_agents_and_closes_the_ticket(
    gateway: JetStreamGateway,
) -> None:
    texts = ("My invoice is wrong", "The printer, too")
    facts = await talk(gateway, shipped_catalogue(), "Helpdesk", *texts)
    assert [name for name, _ in speakers(facts) if name != SELECTOR] == [
        "user",
        "Receptionist",
        "Billing",
        "user",
        "Technician",
    ]
    assert ("Billing", "auto") in speakers(facts)
    assert "TICKET_CLOSED" in str([fact.envelope.body for fact in facts])
    assert event_types(facts)[-1] == "chat.completed"


async def test_a_postcard_is_shown_changed_approved_and_ordered(
    gateway: JetStreamGateway,
) -> None:
    catalogue = shipped_catalogue()
    user = ChatUser(workflow=WorkflowName("Postcard"))
    worker = runner(gateway, AgentExecutor(catalogue, 25), catalogue.workflows)
    await deliver(worker, user.start_chat())
    await deliver(worker, user.send_message("A holiday at the sea"))
    first = last_ui_tool(await history(gateway, user.key))
    assert (first.component, first.display) == ("PostcardPreview", "artifact")
    assert first.payload["colour"] == "sea"
    wish = {"approved": False, "wish": "warmer"}
    await deliver(worker, user.answer_ui_tool(first.question_id, wish))
    second = last_ui_tool(await history(gateway, user.key))
    assert second.payload["colour"] == "sunset"
    await deliver(worker, user.answer_ui_tool(second.question_id, {"approved": True}))
    third = last_ui_tool(await history(gateway, user.key))
    assert (third.component, third.display) == ("QuantityPicker", "inline")
    await deliver(worker, user.answer_ui_tool(third.question_id, {"quantity": 50}))
    facts = await history(gateway, user.key)
    assert [name for name, _ in speakers(facts)] == ["user", "Designer", "Designer", "Clerk"]
    assert 'wish: "warmer"' in str(
        [f.event.prompt for f in facts if isinstance(f.event, ModelRequested)]
    )
    assert "50 postcards for 17.50 euros" in text_of_chat(facts)
    assert "POSTCARDS_ORDERED" in str([fact.envelope.body for fact in facts])
    outputs = [fact.event for fact in facts if isinstance(fact.event, OutputStructured)]
    assert [one.data["colour"] for one in outputs] == ["sea", "sunset"]
    assert event_types(facts)[-1] == "chat.completed"


async def test_a_clock_calls_an_mcp_server_and_reports_its_result(
    gateway: JetStreamGateway,
) -> None:
    facts = await talk(
        gateway, shipped_catalogue(), "Clock", "What time is it in Vienna?", "And in Tokyo?"
    )
    results = [fact.event for fact in facts if isinstance(fact.event, ToolReturned)]
    assert [(one.name, one.status) for one in results] == [
        ("get_current_time", "ok"),
        ("convert_time", "ok"),
    ]
    now = json.loads(text_of(results[0].parts))
    assert now["timezone"] == "Europe/Vienna"
    assert now["datetime"] in text_of_chat(facts)
    assert speakers(facts)[-1][0] == "user"


async def test_a_new_workflow_runs_without_changes(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    create_workflow("Notebook", tmp_path)
    models = ModelFactory(
        demo.MODEL, demo=True, config_for=lambda script, _: demo.DemoConfig(script, 0)
    )
    catalogue = build_catalogue(tmp_path, models)
    facts = await talk(gateway, catalogue, "Notebook", "Buy bread", "Feed the cat")
    assert "Noted, that makes 2." in text_of_chat(facts)
    assert speakers(facts)[-1][0] == "user"


def test_warnings_are_listed_by_folder_and_errors_on_the_card(tmp_path: Path) -> None:
    idle, bad = create_workflow("Idle", tmp_path), create_workflow("Bad", tmp_path)
    (idle / "hooks.yaml").write_text("{}\n")
    (idle / "agent.yaml").write_text("{}\n")
    (bad / "agents.json").write_text("{")
    models = ModelFactory(
        demo.MODEL, demo=True, config_for=lambda script, _: demo.DemoConfig(script, 0)
    )
    catalogue = build_catalogue(tmp_path, models)
    warning = "agent.yaml: is not a section of a workflow and is not read; did you mean agents?"
    assert catalogue.warnings == {"Idle": (warning,)}
    assert {card.name: bool(card.problems) for card in catalogue.cards if not card.general} == {
        "Idle": False,
        "Bad": True,
    }


async def test_the_general_assistant_answers_every_message_without_end(
    gateway: JetStreamGateway,
) -> None:
    asked = ("What is sourdough?", "Why?", "?")
    facts = await talk(gateway, shipped_catalogue(), "General", *asked)
    replies = [f.event.text for f in facts if isinstance(f.event, TurnCompleted)]
    assert len(replies) == len(asked)
    # ChatUI takes what is almost the user's own text for an echo, and swallows it.
    assert all(len(reply) - len(text) > 3 for reply, text in zip(replies, asked, strict=True))
    assert speakers(facts)[-1][0] == "user"


@pytest.mark.parametrize("name", ["General", "general"])
def test_a_workflow_named_general_replaces_the_built_in_one(tmp_path: Path, name: str) -> None:
    models = ModelFactory(
        demo.MODEL, demo=True, config_for=lambda script, _: demo.DemoConfig(script, 0)
    )
    (ours,) = build_catalogue(tmp_path, models).cards
    create_workflow(name, tmp_path)
    (theirs,) = build_catalogue(tmp_path, models).cards
    assert (ours.general, ours.agents) == (True, ["Assistant"])
    assert (theirs.general, theirs.name) == (True, name)
    assert theirs.agents != ours.agents
