"""A turn of the writer's on a provider that a test tells what to do."""

from dataclasses import replace

from ag2 import Agent
from pydantic import SecretStr

from contracts.ids import ChatKey
from services.orchestrator.agents.asked import Manner
from services.orchestrator.agents.hooks import NO_HOOKS
from services.orchestrator.agents.models import Provider, asked_of, shared_client
from services.orchestrator.agents.patience import Patience
from services.orchestrator.agents.performing import Part, take_turn
from services.orchestrator.projection import conversation
from services.orchestrator.turns import Outcome
from tests.orchestrator.agents.provider_stub import ProviderStub, Reply
from tests.orchestrator.agents.stage import BEGUN, PLAIN_WRITER, MemoryJournal
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
    async with shared_client() as client:
        config = asked_of(replace(provider, base_url=stub.url), client, manner)
        part = Part(
            key=key,
            agent=PLAIN_WRITER,
            built=Agent(str(WRITER), config=config),
            before=lambda state: conversation(state, WRITER, None),
            prompt=lambda _: "You write.",
            functions={},
            hooks=NO_HOOKS,
            call_limit=5,
        )
        return await take_turn(part, journal), journal


async def answered_by(*replies: Reply) -> tuple[Outcome, MemoryJournal, int]:
    """The same, where the provider gives these replies; and how often it was asked."""
    with ProviderStub(*replies).running() as stub:
        outcome, journal = await answer(stub)
        return outcome, journal, len(stub.bodies)
