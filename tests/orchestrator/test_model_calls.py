"""Model calls of whole chats on a real NATS: what viewers hear of them, and what the log keeps."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from contracts.events.chat import ChatFailed, HistoryCompacted
from contracts.events.turn import ModelResponded
from services.chassis.bus import Bus
from services.orchestrator.agents.asked import Manner
from services.orchestrator.agents.build import build_cast
from services.orchestrator.agents.models import Models, asked_of, shared_client
from services.orchestrator.agents.offer import Edition, build_performer
from services.orchestrator.projection import SUMMARY, messages
from services.orchestrator.runner import Runner
from services.orchestrator.state import replay
from services.orchestrator.workflows.demo import DemoScripts
from services.orchestrator.workflows.loading import Loaded
from services.orchestrator.workflows.spec import USER, Agent, Workflow
from services.transport.speech import Call, heard_of
from tests.orchestrator.agents.asking import MANNER, OURS
from tests.orchestrator.agents.provider_stub import ANSWERS, ProviderStub, Refuses, Reply, Streams
from tests.orchestrator.world import Person, history, runner, tell, types
from tests.story import NEWSROOM, WRITER

pytestmark = pytest.mark.broker


@asynccontextmanager
async def newsroom(
    bus: Bus, *replies: Reply, manner: Manner = MANNER, workflow: Workflow = NEWSROOM
) -> AsyncIterator[tuple[ProviderStub, Callable[[], Runner]]]:
    """A provider that gives these replies, and orchestrators that ask it."""
    with ProviderStub(*replies).running() as stub:
        async with shared_client() as client:
            config = asked_of(replace(OURS, base_url=stub.url), client, manner)
            models = Models("m", demo=False, config_of=lambda _, __: config)
            name = workflow.name
            loaded = Loaded(str(name), workflow, DemoScripts())
            perform = build_performer(Edition(loaded, build_cast(loaded, models)), 25)
            yield stub, lambda: runner(bus, perform, {name: workflow})


async def test_viewers_of_a_stream_that_dropped_hear_the_answer_once(bus: Bus) -> None:
    person = Person()
    broken = Streams(words=("Never ", "mind"), whole=False)
    async with newsroom(bus, broken, broken, ANSWERS) as (_, orchestrator):
        await tell(orchestrator(), person.starts("Write about rain."))
    facts = await history(bus, person.key)
    assert types(facts)[-1] == "chat.completed"
    said = [fact.event.text for fact in facts if isinstance(fact.event, ModelResponded)]
    chunks = await bus.read_deltas(person.key, since="2026-01-01T00:00:00Z")
    speech = heard_of(Call(1, 0), chunks)
    assert speech is not None
    assert (speech.text, said) == ("At last.", ["At last.", "At last."])
    assert len({chunk.runner for chunk in chunks if chunk.turn == 1}) == 3


async def test_a_chat_beyond_its_models_window_goes_on_with_a_summary_that_the_log_keeps(
    bus: Bus,
) -> None:
    monologue = {WRITER: Agent(WRITER, "Write.", after_work=USER)}
    workflow = replace(NEWSROOM, agents=monologue, human_in_the_loop=True, after_user=WRITER)
    small = replace(MANNER, windows={OURS.model: 1300})  # the stub counts 1100 in every call
    person = Person()
    async with newsroom(bus, ANSWERS, manner=small, workflow=workflow) as (stub, orchestrator):
        await tell(orchestrator(), person.starts("Write about rain."))
        for text in ("More.", "And more."):
            await tell(orchestrator(), person.says(text))
    facts = await history(bus, person.key)
    (compacted,) = [fact for fact in facts if isinstance(fact.event, HistoryCompacted)]
    after = facts[compacted.envelope.seq :]
    assert types(after)[:2] == ["turn.usage_recorded", "turn.model_requested"]
    assert [fact.envelope.actor for fact in after[:2]] == ["runtime", f"agent:{WRITER}"]
    told = [message["content"] for message in stub.bodies[-1]["messages"]]
    assert f"{SUMMARY}At last." in told
    assert "Write about rain." not in str(told)
    assert "Write about rain." in str(messages(replay(facts)))


async def test_what_cannot_be_helped_fails_the_chat_in_words(bus: Bus) -> None:
    person = Person()
    async with newsroom(bus, Refuses(429, "insufficient_quota")) as (_, orchestrator):
        await tell(orchestrator(), person.starts("Write about rain."))
    facts = await history(bus, person.key)
    assert types(facts)[-2:] == ["turn.failed", "chat.failed"]
    failed = facts[-1].event
    assert isinstance(failed, ChatFailed)
    assert failed.code == "MODEL_QUOTA_EXHAUSTED"
    assert failed.message == "The account at the model provider has no credit or quota left."
