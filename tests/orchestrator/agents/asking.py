"""A turn of the writer's on a provider that a test tells what to do."""

from dataclasses import replace

from ag2 import Agent
from pydantic import SecretStr

from contracts.ids import ChatKey
from services.orchestrator.agents.asked import Manner
from services.orchestrator.agents.models import Provider, asked_of, shared_client
from services.orchestrator.agents.patience import Patience
from services.orchestrator.agents.turn import Task, run_turn
from services.orchestrator.decisions import Outcome
from services.orchestrator.projection import conversation
from tests.orchestrator.agents.provider_stub import ProviderStub, Reply
from tests.orchestrator.agents.stage import BEGUN, MemoryJournal
from tests.story import KEY, NOON, WRITER

MANNER = Manner(clock=lambda: NOON, lot=lambda: 0.5, patience=Patience(retries=2, backoff=0.001))
"""Two more tries, hardly any pause, and always noon."""

OURS = Provider(SecretStr("sk-secret"), "gpt-4o-mini")


async def answer(
    stub: ProviderStub,
    manner: Manner = MANNER,
    provider: Provider = OURS,
    journal: MemoryJournal | None = None,
    key: ChatKey = KEY,
) -> tuple[Outcome, MemoryJournal]:
    """What becomes of the writer's turn, and what was kept of it."""
    journal = journal or MemoryJournal(BEGUN)
    turn = journal.story.state.open
    assert turn is not None
    before = conversation(journal.story.state, WRITER, None)
    task = Task(key=key, turn=turn, before=before, prompt="You write.", variables={})
    async with shared_client() as client:
        config = asked_of(replace(provider, base_url=stub.url), client, manner)
        agent = Agent(str(WRITER), config=config)
        outcome = await run_turn(agent, task, journal, call_limit=5)
    return outcome, journal


async def answered_by(*replies: Reply) -> tuple[Outcome, MemoryJournal, int]:
    """The same, where the provider gives these replies; and how often it was asked."""
    with ProviderStub(*replies).running() as stub:
        outcome, journal = await answer(stub)
        return outcome, journal, len(stub.bodies)
