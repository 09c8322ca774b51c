"""Every pattern on the APIs of Anthropic and Gemini: strict stubs accept each request of a chat."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from contracts.events.chat import ChatCompleted
from contracts.events.turn import ModelRequested, ModelResponded
from services.orchestrator.agents.execution.agent_factory import build_agent_set
from services.orchestrator.agents.execution.sent_request import sent_requests
from services.orchestrator.agents.models.http_client import shared_http_client
from services.orchestrator.agents.models.providers import build_model_factory
from services.orchestrator.agents.registry.catalogue import Catalogue
from services.orchestrator.agents.registry.workflow_version import WorkflowVersion
from services.orchestrator.workflows.demo import DemoScript
from services.orchestrator.workflows.loading import LoadedWorkflow
from tests.orchestrator.agent_sets import CRITIC, EDITOR, WRITER, workflows_by_pattern
from tests.orchestrator.agents import anthropic_stub, gemini_stub
from tests.orchestrator.agents.anthropic_stub import AnthropicStub
from tests.orchestrator.agents.execution.test_resuming import (
    PATTERNS,
    MemoryChat,
    run_to_end,
    speakers,
    started_chat,
)
from tests.orchestrator.agents.gemini_stub import GeminiStub
from tests.orchestrator.agents.native_turn import WIRES, Wire
from tests.orchestrator.agents.provider_stub import ProviderStub, RawReply, Reply
from tests.orchestrator.agents.provider_turn import POLICY

AGENTS = {"You write.": WRITER, "You edit.": EDITOR, "You judge.": CRITIC}


class _ThinkingAnthropic(AnthropicStub):
    """Says what the agents' demo scripts say, after a thought that each answer is counted by."""

    scripts: Mapping[str, DemoScript]

    def reply_to(self, body: dict[str, Any]) -> Reply:
        blocks = [block for message in body["messages"] for block in message["content"]]
        number = sum(block["type"] == "thinking" for block in blocks)
        system = body["system"][0]["text"]
        reply = self.scripts[speaker(system)].reply(number)
        assert reply is not None
        return anthropic_stub.streamed(
            anthropic_stub.thinking(f"{number} é"),
            *([anthropic_stub.text(reply.say)] if reply.say else []),
            *(
                anthropic_stub.tool_use(f"toolu_{number}_{n}", call.tool, **call.arguments)
                for n, call in enumerate(reply.calls)
            ),
            stop="tool_use" if reply.calls else "end_turn",
        )


class _ThinkingGemini(GeminiStub):
    """The same, with a signature in each answer."""

    scripts: Mapping[str, DemoScript]

    def reply_to(self, body: dict[str, Any]) -> Reply:
        parts = [part for content in body["contents"] for part in content["parts"]]
        number = sum("thoughtSignature" in part for part in parts)
        reply = self.scripts[speaker(body["systemInstruction"]["parts"][0]["text"])].reply(number)
        assert reply is not None
        calls = [gemini_stub.call(call.tool, **call.arguments) for call in reply.calls]
        first, *others = calls or [{"text": reply.say}]
        signed = {**first, "thoughtSignature": gemini_stub.signature(str(number))}
        return gemini_stub.streamed(signed, *others)


STUBS: Mapping[str, type[_ThinkingAnthropic | _ThinkingGemini]] = {
    "anthropic": _ThinkingAnthropic,
    "gemini": _ThinkingGemini,
}


def speaker(system: str) -> str:
    """The agent by its prompt; the selector's is none of these."""
    return next((name for prompt, name in AGENTS.items() if system.startswith(prompt)), "_selector")


def catalogue_of(
    loaded: LoadedWorkflow, stub: ProviderStub, wire: Wire, client: httpx2.AsyncClient
) -> Catalogue:
    provider = replace(wire.provider, base_url=stub.url)
    models = build_model_factory(provider, client, 0, {}, POLICY)
    version = WorkflowVersion(loaded, build_agent_set(loaded, models))
    return Catalogue({loaded.workflow.name: version})


async def run_chat(loaded: LoadedWorkflow, wire: Wire, stub: ProviderStub) -> MemoryChat:
    async with shared_http_client() as client:
        return await run_to_end(
            loaded, started_chat(loaded), catalogue_of(loaded, stub, wire, client)
        )


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
@pytest.mark.parametrize("pattern", PATTERNS)
async def test_a_chat_of_several_agents_ends_as_with_the_demo_model(
    tmp_path: Path, pattern: str, wire: Wire
) -> None:
    loaded = workflows_by_pattern(tmp_path)[pattern]
    demo = await run_to_end(loaded, started_chat(loaded))
    stub = STUBS[wire.name](RawReply([]))
    stub.scripts = {str(name): loaded.demo.script(name) for name in (*AGENTS.values(), "_selector")}
    with stub.running():
        chat = await run_chat(loaded, wire, stub)
    assert chat.of(ChatCompleted) == demo.of(ChatCompleted)
    assert speakers(chat.story) == speakers(demo.story)
    assert len(stub.bodies) == len(chat.of(ModelRequested)) == len(chat.of(ModelResponded))
    assert all(response.native for response in chat.of(ModelResponded))
    assert all(one.is_exact for one in sent_requests(chat.story.facts, loaded.workflow))
