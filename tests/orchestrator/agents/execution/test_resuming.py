"""Every pattern, interrupted after any append: the rest has the same events as without it.

Events that are appended together are stored all or none, so there is no interruption between them.
"""

from pathlib import Path
from typing import Any

import pytest

from contracts.deltas import Delta, TextStreamed
from contracts.events import Event
from contracts.events.chat import ChatCompleted, TurnLimitReported
from contracts.events.turn import SELECTOR, ModelRequested, SpeakerSelected
from contracts.ids import AgentName
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.agents.registry.catalogue import Catalogue
from services.orchestrator.domain.decisions import conclude, decide
from services.orchestrator.domain.state import pending
from services.orchestrator.workflows.loading import LoadedWorkflow
from services.orchestrator.workflows.spec import USER
from tests.orchestrator.agent_sets import (
    CRITIC,
    EDITOR,
    WRITER,
    demo_catalogue,
    lasting,
    next_user_message,
    workflows_by_pattern,
)
from tests.orchestrator.agents.turn_harness import MemoryJournal
from tests.story import KEY, Story, given, say, start
from tests.thorough import some

PATTERNS = ["DefaultPattern", "RoundRobinPattern", "RandomPattern", "AutoPattern"]


class MemoryChat(MemoryJournal):
    """A chat's log in memory."""

    key = KEY

    async def show(self, delta: Delta) -> None:
        assert isinstance(delta, TextStreamed)
        assert delta.agent != SELECTOR
        self.shown.append((delta.call, 0, delta.text))


@pytest.fixture(params=PATTERNS)
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> LoadedWorkflow:
    return workflows_by_pattern(tmp_path)[request.param]


async def run_to_end(
    loaded: LoadedWorkflow, story: Story, catalogue: Catalogue | None = None
) -> MemoryChat:
    """Run the chat from where the story ends to its end, with the demo model or this catalogue."""
    workflow = loaded.workflow
    execute: Any = AgentExecutor(catalogue or demo_catalogue(loaded), 25)
    chat = MemoryChat(story)
    while True:
        state = chat.story.state
        if (effect := pending(state)) is not None:
            outcome = await execute(effect, workflow, chat)
            if events := conclude(outcome, chat.story.state, workflow):
                chat.add(*events)
        elif state.ended is not None:
            return chat
        else:
            text = next_user_message(state)
            chat.add(*decide(say(text, name=text), state, workflow))


def started_chat(loaded: LoadedWorkflow) -> Story:
    return given().under(loaded.workflow).then(start())


def speakers(story: Story) -> list[tuple[AgentName, str]]:
    chosen = [fact.event for fact in story.facts if isinstance(fact.event, SpeakerSelected)]
    return [(one.agent, one.by) for one in chosen]


async def test_a_chat_resumed_after_any_append_has_the_same_events(
    loaded: LoadedWorkflow,
) -> None:
    uninterrupted = await run_to_end(loaded, started_chat(loaded))
    events = lasting(uninterrupted.events)
    assert uninterrupted.of(ChatCompleted)
    for cut in some(len(uninterrupted.batches)):
        recorded = [event for batch in uninterrupted.batches[:cut] for event in batch]
        resumed = await run_to_end(loaded, started_chat(loaded).then(*recorded))
        assert lasting([*recorded, *resumed.events]) == events, cut
        assert resumed.story.state.variables == uninterrupted.story.state.variables


async def test_a_chat_ends_wherever_a_user_message_arrives(
    loaded: LoadedWorkflow,
) -> None:
    uninterrupted = await run_to_end(loaded, started_chat(loaded))
    for cut in some(len(uninterrupted.batches) - 1):
        recorded: list[Event] = [event for batch in uninterrupted.batches[:cut] for event in batch]
        story = started_chat(loaded).then(*recorded).then(say("Wait!", name="interruption"))
        interrupted = await run_to_end(loaded, story)
        assert interrupted.state.ended == "completed"
        again = await run_to_end(loaded, story.then(*interrupted.batches[0]))
        rest = lasting([*interrupted.batches[0], *again.events])
        assert rest == lasting(interrupted.events), cut


async def test_handoff_rules_choose_the_speakers_of_the_default_pattern(tmp_path: Path) -> None:
    uninterrupted = await run_to_end(
        loaded := workflows_by_pattern(tmp_path)["DefaultPattern"], started_chat(loaded)
    )
    assert speakers(uninterrupted.story) == [
        (WRITER, "initial"),
        (USER, "after_work"),
        (WRITER, "user_message"),
        (EDITOR, "before_reply"),
        (WRITER, "handoff"),
        (CRITIC, "after_work"),
    ]
    assert uninterrupted.of(ChatCompleted)[0].reason == "terminate"


async def test_the_selector_chooses_the_speakers_of_the_auto_pattern(tmp_path: Path) -> None:
    uninterrupted = await run_to_end(
        loaded := workflows_by_pattern(tmp_path)["AutoPattern"], started_chat(loaded)
    )
    assert speakers(uninterrupted.story)[:12] == [
        (WRITER, "initial"),
        (SELECTOR, "auto"),
        (CRITIC, "auto"),
        (SELECTOR, "auto"),
        (SELECTOR, "auto"),  # "Somebody" is no participant
        (WRITER, "auto"),
        (SELECTOR, "auto"),
        (USER, "auto"),
        (SELECTOR, "auto"),
        (WRITER, "auto"),
        (SELECTOR, "auto"),
        (CRITIC, "auto"),
    ]
    assert speakers(uninterrupted.story)[-1] == (USER, "max_turns")
    assert [(one.turns, one.waits) for one in uninterrupted.of(TurnLimitReported)] == [
        (5, False),
        (6, True),
    ]
    assert uninterrupted.of(ChatCompleted)[0].turns == 6


async def test_the_selector_sees_all_messages_and_no_agent_sees_the_selectors(
    tmp_path: Path,
) -> None:
    uninterrupted = await run_to_end(
        loaded := workflows_by_pattern(tmp_path)["AutoPattern"], started_chat(loaded)
    )
    asked = [one for one in uninterrupted.of(ModelRequested) if one.agent == SELECTOR]
    assert all("- Critic: You judge." in one.prompt[0] for one in asked)
    texts = [part.text for one in asked for part in one.parts if part.kind == "text"]
    assert texts[0] == "Who speaks next? One of: Writer, Editor, Critic, user."
    assert texts[2] == f"Your answer names no participant. {texts[0]}"
    texts = [message["content"] for message in uninterrupted.story.transcript]
    assert not {"Critic", "Somebody", '{"next": "Writer"}'} & set(texts)
    assert SELECTOR not in {message["name"] for message in uninterrupted.story.transcript}
