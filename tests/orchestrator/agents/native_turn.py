"""A turn of the writer, with tools, on the API of Anthropic or of Gemini."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ag2 import Agent
from pydantic import SecretStr

from contracts.codec import decode, encode, open_event
from contracts.events import Event
from services.orchestrator.agents.ag2.conversation import AgentHistory
from services.orchestrator.agents.execution.hooks import NO_HOOKS, Hooks
from services.orchestrator.agents.execution.turn_context import TurnContext
from services.orchestrator.agents.execution.turn_executor import execute_turn
from services.orchestrator.agents.models.client import ModelCallPolicy
from services.orchestrator.agents.models.http_client import shared_http_client
from services.orchestrator.agents.models.providers import Provider, resilient_config
from services.orchestrator.agents.tools.function_tools import build_tool
from services.orchestrator.domain.turn_steps import Outcome
from tests.orchestrator.agents import anthropic_stub, gemini_stub
from tests.orchestrator.agents.anthropic_stub import AnthropicStub
from tests.orchestrator.agents.gemini_stub import GeminiStub
from tests.orchestrator.agents.provider_stub import ProviderStub, Reply
from tests.orchestrator.agents.provider_turn import POLICY
from tests.orchestrator.agents.turn_harness import (
    OPEN_TURN,
    PLAIN_WRITER,
    MemoryJournal,
    function_of,
)
from tests.story import KEY, WRITER, sealed

ANTHROPIC = Provider(SecretStr("sk-ant-secret"), "claude-x", name="anthropic", thinking=2048)
GEMINI = Provider(SecretStr("AIza-secret"), "gemini-3-x", name="gemini")


def weather(town: str) -> str:
    return f"rain in {town}"


def clock() -> dict[str, Any]:
    return {"hour": 12, "zone": None}


def broken() -> str:
    raise ValueError("no")


TOOLS = (weather, clock, broken)


@dataclass(frozen=True)
class Wire:
    """One API: its stub and a provider, and a turn of three model calls on it."""

    name: str
    stub: type[AnthropicStub | GeminiStub]
    provider: Provider
    turn: Sequence[Reply]


WIRES = (
    Wire(
        "anthropic",
        AnthropicStub,
        ANTHROPIC,
        (
            anthropic_stub.streamed(
                anthropic_stub.thinking("Where? é 🌧"),
                anthropic_stub.redacted("x"),
                anthropic_stub.text("I look. "),
                anthropic_stub.thinking("Both at once."),
                anthropic_stub.tool_use("toolu_1", "weather", town="Bern"),
                anthropic_stub.tool_use("toolu_2", "clock"),
                stop="tool_use",
            ),
            anthropic_stub.streamed(
                anthropic_stub.thinking("Once more."),
                anthropic_stub.tool_use("toolu_3", "broken"),
                stop="tool_use",
            ),
            anthropic_stub.streamed(
                anthropic_stub.thinking("Enough."), anthropic_stub.text("It rains.")
            ),
        ),
    ),
    Wire(
        "gemini",
        GeminiStub,
        GEMINI,
        (
            gemini_stub.streamed(
                {"text": "Where?", "thought": True},
                {"text": "I "},
                {"text": "look. "},
                gemini_stub.call("weather", "one", town="Bern é"),
                gemini_stub.call("clock"),
            ),
            gemini_stub.streamed(gemini_stub.call("broken", "two", call_id="fc-9")),
            gemini_stub.streamed(
                {"text": "It rains."},
                {"text": "", "thoughtSignature": gemini_stub.signature("end")},
            ),
        ),
    ),
)


async def native_turn(
    stub: ProviderStub,
    provider: Provider,
    journal: MemoryJournal | None = None,
    *,
    hooks: Hooks = NO_HOOKS,
    policy: ModelCallPolicy = POLICY,
    **options: Any,
) -> tuple[Outcome, MemoryJournal]:
    """The outcome of the turn from where the journal ends; `options` are those of AG2's agent."""
    journal = journal or MemoryJournal(OPEN_TURN)
    async with shared_http_client() as client:
        config = resilient_config(replace(provider, base_url=stub.url), client, policy)
        agent = Agent(
            str(WRITER),
            config=config,
            tools=[build_tool(function_of(one)) for one in TOOLS],
            **options,
        )
        context = TurnContext(
            key=KEY,
            agent=PLAIN_WRITER,
            ag2_agent=agent,
            history=AgentHistory(WRITER, None).before_turn,
            prompt=lambda _: "You write.",
            functions={},
            hooks=hooks,
            call_limit=5,
        )
        return await execute_turn(context, journal), journal


def resumed_after(journal: MemoryJournal, batches: int) -> MemoryJournal:
    """The journal as another process reads it after so many writes of the first one."""
    resumed = MemoryJournal(OPEN_TURN)
    for batch in journal.batches[:batches]:
        resumed.add(*(_read_back(event) for event in batch))
    return resumed


def _read_back(event: Event) -> Event:
    return open_event(decode(encode(sealed([event])[0].envelope)))
