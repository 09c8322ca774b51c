"""Every sample workflow runs on a strict provider: each request is one that all providers accept."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from services.orchestrator.testkit import Component, play
from tests.orchestrator.agents.scripted_provider import strict_models

ROOT = Path(__file__).parents[3] / "workflows"
POSTCARD = (
    "a birthday",
    Component({"approved": False, "wish": "warmer"}),
    Component({"approved": True}),
    Component({"quantity": 50}),
)
INPUTS: dict[str, tuple[Sequence[Any], str | None]] = {
    "Brainstorm": (("A picnic",), "completed"),
    "Clock": (("What time is it in Vienna?", "And in Tokyo?"), None),
    "Debate": (("Cats or dogs?",), "completed"),
    "Generator": (("A garden planner", "Approve"), "completed"),
    "HelloWorld": (("Hi", "And you?"), None),
    "Helpdesk": (("My bill is wrong", "thanks"), "completed"),
    "Postcard": (POSTCARD, "completed"),
}
"""What the user does, and how the chat ends; None: it waits for the user's next message."""


def test_every_sample_is_played() -> None:
    assert {path.parent.name for path in ROOT.glob("*/agents.*")} == set(INPUTS)


@pytest.mark.parametrize("name", INPUTS)
async def test_a_sample_runs_to_its_end_on_a_strict_provider(name: str) -> None:
    inputs, ended = INPUTS[name]
    async with strict_models() as models:
        chat = await play(ROOT / name, inputs, models=models)
    assert chat.ended == ended, chat.events[-1]
    assert (ended is not None) or chat.state.waits_for_user
