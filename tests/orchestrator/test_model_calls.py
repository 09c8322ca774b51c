"""Model calls of whole chats on a real NATS: what viewers hear of them, and what the log keeps."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from contracts.events.turn import ModelResponded
from services.chassis.bus import Bus
from services.orchestrator.agents.build import build_agents
from services.orchestrator.agents.models import Manner, Models, asked_of, shared_client
from services.orchestrator.agents.offer import Offer, build_performer
from services.orchestrator.runner import Runner
from services.orchestrator.workflows.demo import DemoScripts
from services.orchestrator.workflows.loading import Loaded
from services.transport.speech import Call, heard_of
from tests.orchestrator.agents.asking import MANNER, OURS
from tests.orchestrator.agents.provider_stub import ANSWERS, ProviderStub, Reply, Streams
from tests.orchestrator.world import Person, history, leases, runner, tell, types
from tests.story import NEWSROOM

pytestmark = pytest.mark.broker


@asynccontextmanager
async def newsroom(
    bus: Bus, *replies: Reply, manner: Manner = MANNER
) -> AsyncIterator[tuple[ProviderStub, Callable[[], Runner]]]:
    """A provider that gives these replies, and orchestrators that ask it."""
    with ProviderStub(*replies).running() as stub:
        async with shared_client() as client:
            config = asked_of(replace(OURS, base_url=stub.url), client, manner)
            models = Models("m", demo=False, config_of=lambda _, __: config)
            loaded = Loaded(str(NEWSROOM.name), NEWSROOM, DemoScripts())
            agents = build_agents(loaded, models)
            offer = Offer({NEWSROOM.name: NEWSROOM}, {NEWSROOM.name: agents}, ())
            bucket = await leases(bus)
            yield stub, lambda: runner(bus, bucket, build_performer(offer, 25))


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
