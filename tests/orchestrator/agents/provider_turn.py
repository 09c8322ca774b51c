"""A turn of the writer with a provider whose replies a test determines."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ag2 import Agent
from ag2.response import ResponseProto, ResponseSchema
from pydantic import SecretStr

from contracts.ids import ChatKey
from services.orchestrator.agents.ag2.conversation import AgentHistory
from services.orchestrator.agents.execution.hooks import NO_HOOKS, Hooks
from services.orchestrator.agents.execution.turn_context import TurnContext
from services.orchestrator.agents.execution.turn_executor import execute_turn
from services.orchestrator.agents.models.client import ModelCallPolicy
from services.orchestrator.agents.models.http_client import shared_http_client
from services.orchestrator.agents.models.providers import (
    Provider,
    SharedByAgents,
    resilient_config,
)
from services.orchestrator.agents.models.retry import RetryPolicy
from services.orchestrator.agents.tools.function_tools import build_tool, on_human_input
from services.orchestrator.domain.turn_steps import Outcome
from services.orchestrator.workflows import spec
from tests.orchestrator.agents.provider_stub import ProviderStub, Reply, Rule
from tests.orchestrator.agents.turn_harness import (
    OPEN_TURN,
    PLAIN_WRITER,
    MemoryJournal,
    function_of,
)
from tests.story import KEY, NOON, WRITER

POLICY = ModelCallPolicy(
    clock=lambda: NOON,
    jitter=lambda: 0.5,
    retry=RetryPolicy(retries=2, first_backoff_seconds=0.001),
)
"""Two retries, hardly any delay, and a clock that stands at noon."""

PROVIDER = Provider(SecretStr("sk-secret"), "gpt-4o-mini")


async def run_turn(
    stub: ProviderStub,
    policy: ModelCallPolicy = POLICY,
    provider: Provider = PROVIDER,
    journal: MemoryJournal | None = None,
    key: ChatKey = KEY,
    agent: spec.Agent = PLAIN_WRITER,
    tools: Sequence[Callable[..., Any]] = (),
    shared: SharedByAgents | None = None,
    hooks: Hooks = NO_HOOKS,
) -> tuple[Outcome, MemoryJournal]:
    """The outcome of the writer's turn, and its journal.

    Answers have to match the agent's output model, if it requires one.
    """
    journal = journal or MemoryJournal(OPEN_TURN)
    async with shared_http_client() as client:
        config = resilient_config(replace(provider, base_url=stub.url), client, policy, shared)
        context = TurnContext(
            key=key,
            agent=agent,
            ag2_agent=Agent(
                str(WRITER),
                config=config,
                tools=[build_tool(function_of(one)) for one in tools],
                hitl_hook=on_human_input,
                response_schema=_schema(agent),
            ),
            history=AgentHistory(WRITER, None).before_turn,
            prompt=lambda _: "You write.",
            functions={},
            hooks=hooks,
            call_limit=5,
        )
        return await execute_turn(context, journal), journal


def _schema(agent: spec.Agent) -> ResponseProto[str] | None:
    if agent.output is None:
        return None
    return ResponseSchema.from_schema(dict(agent.output.schema), name=agent.output.schema_name)


async def run_turn_with(*replies: Reply | Rule) -> tuple[Outcome, MemoryJournal, int]:
    """The same with these replies of the provider; and the number of requests it got."""
    with ProviderStub(*replies).running() as stub:
        outcome, journal = await run_turn(stub)
        return outcome, journal, len(stub.bodies)
