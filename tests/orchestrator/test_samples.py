"""Every shipped workflow and a new one, from the first word to the last, on the demo model."""

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
from services.chassis.bus import Bus
from services.orchestrator.agents import demo
from services.orchestrator.agents.models import Models
from services.orchestrator.agents.offer import Offer, build_offer, build_performer
from services.orchestrator.workflows.scaffold import make
from tests.orchestrator.world import (
    Person,
    history,
    last_component,
    runner,
    shipped,
    tell,
    types,
)

pytestmark = pytest.mark.broker


async def talk(bus: Bus, offer: Offer, workflow: str, *said: str) -> list[Fact]:
    """What the log holds once a person has said this much and nobody goes on."""
    person = Person(workflow=WorkflowName(workflow))
    told = runner(bus, build_performer(offer, 25), offer.workflows)
    await tell(told, person.starts())
    for text in said:
        await tell(told, person.says(text))
    return await history(bus, person.key)


def speakers(facts: list[Fact]) -> list[tuple[str, str]]:
    chosen = [fact.event for fact in facts if isinstance(fact.event, SpeakerSelected)]
    return [(str(event.agent), event.by) for event in chosen]


def words(facts: list[Fact]) -> str:
    return " ".join(f.event.text or "" for f in facts if isinstance(f.event, TurnCompleted))


async def test_a_debate_goes_round_and_ends_with_the_verdict(bus: Bus) -> None:
    facts = await talk(bus, shipped(), "Debate", "Shall we write it in Go?")
    assert [name for name, _ in speakers(facts)] == ["user", "Advocate", "Critic", "Judge"]
    assert speakers(facts)[-2:] == [("Critic", "round_robin"), ("Judge", "round_robin")]
    assert "Shall we write it in Go?" in words(facts)
    assert types(facts)[-1] == "chat.completed"


async def test_a_brainstorm_is_drawn_by_lot_and_nobody_speaks_twice_running(bus: Bus) -> None:
    facts = await talk(bus, shipped(), "Brainstorm", "A name for our cat")
    order = [name for name, _ in speakers(facts)][1:]
    assert len(order) == 6
    assert all(one != other for one, other in pairwise(order))
    pinned = [fact.event for fact in facts if isinstance(fact.event, VariablesChanged)]
    assert len(pinned[-1].changed["board"]) == 6
    assert types(facts)[-1] == "chat.completed"


async def test_a_helpdesk_chooses_who_helps_and_closes_the_ticket(bus: Bus) -> None:
    said = ("My invoice is wrong", "The printer, too")
    facts = await talk(bus, shipped(), "Helpdesk", *said)
    assert [name for name, _ in speakers(facts) if name != SELECTOR] == [
        "user",
        "Receptionist",
        "Billing",
        "user",
        "Technician",
    ]
    assert ("Billing", "auto") in speakers(facts)
    assert "TICKET_CLOSED" in str([fact.envelope.body for fact in facts])
    assert types(facts)[-1] == "chat.completed"


async def test_a_postcard_is_shown_changed_as_wished_approved_and_ordered(bus: Bus) -> None:
    offer = shipped()
    person = Person(workflow=WorkflowName("Postcard"))
    told = runner(bus, build_performer(offer, 25), offer.workflows)
    await tell(told, person.starts())
    await tell(told, person.says("A holiday at the sea"))
    first = last_component(await history(bus, person.key))
    assert (first.component, first.display) == ("PostcardPreview", "artifact")
    assert first.payload["colour"] == "sea"
    wish = {"approved": False, "wish": "warmer"}
    await tell(told, person.presses(first.question_id, wish))
    second = last_component(await history(bus, person.key))
    assert second.payload["colour"] == "sunset"
    await tell(told, person.presses(second.question_id, {"approved": True}))
    third = last_component(await history(bus, person.key))
    assert (third.component, third.display) == ("QuantityPicker", "inline")
    await tell(told, person.presses(third.question_id, {"quantity": 50}))
    facts = await history(bus, person.key)
    assert [name for name, _ in speakers(facts)] == ["user", "Designer", "Designer", "Clerk"]
    assert 'wish: "warmer"' in str(
        [f.event.prompt for f in facts if isinstance(f.event, ModelRequested)]
    )
    assert "50 postcards for 17.50 euros" in words(facts)
    assert "POSTCARDS_ORDERED" in str([fact.envelope.body for fact in facts])
    outputs = [fact.event for fact in facts if isinstance(fact.event, OutputStructured)]
    assert [one.data["colour"] for one in outputs] == ["sea", "sunset"]
    assert types(facts)[-1] == "chat.completed"


async def test_a_clock_asks_an_mcp_server_and_says_what_it_answers(bus: Bus) -> None:
    facts = await talk(bus, shipped(), "Clock", "What time is it in Vienna?", "And in Tokyo?")
    results = [fact.event for fact in facts if isinstance(fact.event, ToolReturned)]
    assert [(one.name, one.status) for one in results] == [
        ("get_current_time", "ok"),
        ("convert_time", "ok"),
    ]
    now = json.loads(text_of(results[0].parts))
    assert now["timezone"] == "Europe/Vienna"
    assert now["datetime"] in words(facts)
    assert speakers(facts)[-1][0] == "user"


async def test_a_new_workflow_runs_at_once(bus: Bus, tmp_path: Path) -> None:
    make("Notebook", tmp_path)
    models = Models(demo.MODEL, demo=True, config_of=lambda script, _: demo.DemoConfig(script, 0))
    offer = build_offer(tmp_path, models)
    facts = await talk(bus, offer, "Notebook", "Buy bread", "Feed the cat")
    assert "Noted, that makes 2." in words(facts)
    assert speakers(facts)[-1][0] == "user"


def test_warnings_are_told_by_folder_and_errors_on_the_card(tmp_path: Path) -> None:
    idle, bad = make("Idle", tmp_path), make("Bad", tmp_path)
    (idle / "hooks.yaml").write_text("{}\n")
    (idle / "agent.yaml").write_text("{}\n")
    (bad / "agents.json").write_text("{")
    models = Models(demo.MODEL, demo=True, config_of=lambda script, _: demo.DemoConfig(script, 0))
    offer = build_offer(tmp_path, models)
    told = "agent.yaml: is no section of a workflow, and not read; did you mean agents?"
    assert offer.warnings == {"Idle": (told,)}
    assert {card.name: bool(card.problems) for card in offer.cards if not card.general} == {
        "Idle": False,
        "Bad": True,
    }


async def test_the_general_assistant_answers_everything_and_never_ends(bus: Bus) -> None:
    asked = ("What is sourdough?", "Why?", "?")
    facts = await talk(bus, shipped(), "General", *asked)
    replies = [f.event.text for f in facts if isinstance(f.event, TurnCompleted)]
    assert len(replies) == len(asked)
    # ChatUI takes what is almost the person's own text for an echo, and swallows it.
    assert all(len(said) - len(heard) > 3 for said, heard in zip(replies, asked, strict=True))
    assert speakers(facts)[-1][0] == "user"


@pytest.mark.parametrize("name", ["General", "general"])
def test_a_general_assistant_of_ones_own_takes_the_place_of_ours(tmp_path: Path, name: str) -> None:
    models = Models(demo.MODEL, demo=True, config_of=lambda script, _: demo.DemoConfig(script, 0))
    (ours,) = build_offer(tmp_path, models).cards
    make(name, tmp_path)
    (theirs,) = build_offer(tmp_path, models).cards
    assert (ours.general, ours.agents) == (True, ["Assistant"])
    assert (theirs.general, theirs.name) == (True, name)
    assert theirs.agents != ours.agents
