"""Every pattern, cut after every append: the rest is what it would have been, event by event.

Events that are appended together are stored together or not at all, so there is no cut between.
"""

from pathlib import Path
from typing import Any

import pytest

from contracts.events import Event
from contracts.events.chat import ChatCompleted
from contracts.events.turn import SELECTOR, ModelRequested, SpeakerSelected
from contracts.ids import AgentName
from contracts.live import Delta, TextStreamed
from services.orchestrator.agents.offer import Offer, build_performer
from services.orchestrator.decisions import conclude, decide
from services.orchestrator.projection import messages
from services.orchestrator.state import pending
from services.orchestrator.workflows.loading import Loaded
from services.orchestrator.workflows.spec import USER
from tests.orchestrator.agents.stage import MemoryJournal
from tests.orchestrator.casts import CRITIC, EDITOR, WRITER, cast, more, offered, timeless
from tests.story import KEY, Story, given, say, start

PATTERNS = ["DefaultPattern", "RoundRobinPattern", "RandomPattern", "AutoPattern"]


class MemoryChat(MemoryJournal):
    """A chat's log in memory."""

    key = KEY

    async def show(self, delta: Delta) -> None:
        assert isinstance(delta, TextStreamed)
        assert delta.agent != SELECTOR
        self.shown.append((delta.call, 0, delta.text))


@pytest.fixture(params=PATTERNS)
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> Loaded:
    return cast(tmp_path)[request.param]


async def play(loaded: Loaded, story: Story, offer: Offer | None = None) -> MemoryChat:
    """The chat from where the story ends to its end; played by the demo model, or as offered."""
    workflow = loaded.workflow
    perform: Any = build_performer(offer or offered(loaded), 25)
    chat = MemoryChat(story)
    while True:
        state = chat.story.state
        if (effect := pending(state)) is not None:
            outcome = await perform(effect, workflow, chat)
            if concluded := conclude(outcome, chat.story.state, workflow):
                chat.add(*concluded)
        elif state.ended is not None:
            return chat
        else:
            text = more(state)
            chat.add(*decide(say(text, name=text), state, workflow))


def begun(loaded: Loaded) -> Story:
    return given().under(loaded.workflow).then(start())


def speakers(story: Story) -> list[tuple[AgentName, str]]:
    chosen = [fact.event for fact in story.facts if isinstance(fact.event, SpeakerSelected)]
    return [(one.agent, one.by) for one in chosen]


async def test_a_chat_resumed_after_every_append_ends_the_same_event_by_event(
    loaded: Loaded,
) -> None:
    whole = await play(loaded, begun(loaded))
    events = [timeless(event) for event in whole.events]
    assert whole.of(ChatCompleted)
    for cut in range(len(whole.batches)):
        kept = [event for batch in whole.batches[:cut] for event in batch]
        resumed = await play(loaded, begun(loaded).then(*kept))
        assert [timeless(event) for event in (*kept, *resumed.events)] == events, cut
        assert resumed.story.state.variables == whole.story.state.variables


async def test_a_word_thrown_in_at_any_point_leaves_no_chat_without_an_end(loaded: Loaded) -> None:
    whole = await play(loaded, begun(loaded))
    for cut in range(len(whole.batches) - 1):
        kept: list[Event] = [event for batch in whole.batches[:cut] for event in batch]
        story = begun(loaded).then(*kept).then(say("Wait!", name="thrown in"))
        thrown = await play(loaded, story)
        assert thrown.state.ended == "completed"
        again = await play(loaded, story.then(*thrown.batches[0]))
        rest = [timeless(event) for event in (*thrown.batches[0], *again.events)]
        assert rest == [timeless(event) for event in thrown.events], cut


async def test_rules_lead_through_the_default_pattern(tmp_path: Path) -> None:
    whole = await play(loaded := cast(tmp_path)["DefaultPattern"], begun(loaded))
    assert speakers(whole.story) == [
        (WRITER, "initial"),
        (USER, "after_work"),
        (WRITER, "user_message"),
        (EDITOR, "before_reply"),
        (WRITER, "handoff"),
        (CRITIC, "after_work"),
    ]
    assert whole.of(ChatCompleted)[0].reason == "terminate"


async def test_a_selector_leads_through_the_auto_pattern(tmp_path: Path) -> None:
    whole = await play(loaded := cast(tmp_path)["AutoPattern"], begun(loaded))
    assert speakers(whole.story)[:12] == [
        (WRITER, "initial"),
        (SELECTOR, "auto"),
        (CRITIC, "auto"),
        (SELECTOR, "auto"),
        (SELECTOR, "auto"),  # "Somebody" is nobody
        (WRITER, "auto"),
        (SELECTOR, "auto"),
        (USER, "auto"),
        (SELECTOR, "auto"),
        (WRITER, "auto"),
        (SELECTOR, "auto"),
        (CRITIC, "auto"),
    ]
    assert whole.of(ChatCompleted)[0].reason == "max_turns"
    assert whole.of(ChatCompleted)[0].turns == 6


async def test_the_selector_hears_everyone_and_nobody_hears_the_selector(tmp_path: Path) -> None:
    whole = await play(loaded := cast(tmp_path)["AutoPattern"], begun(loaded))
    asked = [one for one in whole.of(ModelRequested) if one.agent == SELECTOR]
    assert all("- Critic: You judge." in one.prompt[0] for one in asked)
    texts = [part.text for one in asked for part in one.parts if part.kind == "text"]
    assert texts[0] == "Who speaks next? One of: Writer, Editor, Critic, user."
    assert texts[2] == f"Nobody is called that. {texts[0]}"
    said = [message["content"] for message in messages(whole.story.state)]
    assert not {"Critic", "Somebody", '{"next": "Writer"}'} & set(said)
    assert SELECTOR not in {message["name"] for message in messages(whole.story.state)}
