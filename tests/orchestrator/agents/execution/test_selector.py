"""The selector as an AG2 agent: how it is built, and what its provider is sent."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ag2.config import LLMClient
from ag2.context import ConversationContext
from ag2.events import BaseEvent, ModelMessage, ModelResponse

from contracts.events.turn import SELECTOR, SpeakerSelected
from services.orchestrator.agents.execution.agent_factory import build_agent_set
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.agents.models import demo
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.agents.registry.workflow_version import WorkflowVersion
from services.orchestrator.domain.state import RunTurn
from services.orchestrator.domain.turn_steps import Failed, Outcome
from services.orchestrator.workflows.demo import DemoScript
from tests.orchestrator.agent_sets import EDITOR, SCRIPTS, WRITER, workflows_by_pattern
from tests.orchestrator.agents.execution.test_resuming import MemoryChat
from tests.story import STARTED, done, given, speaks


class Provider(demo.DemoConfig):
    """A model that records the options of its requests and answers with one name, or fails."""

    def __init__(self, script: DemoScript) -> None:
        super().__init__(script, 0)
        self.requests: list[dict[str, Any]] = []
        self.fails = False

    def create(self) -> LLMClient:
        return _Client(self)


class _Client(LLMClient):
    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def __call__(
        self, messages: Sequence[BaseEvent], context: ConversationContext, **options: Any
    ) -> ModelResponse:
        del messages, context
        self._provider.requests.append(options)
        if self._provider.fails:
            raise ConnectionError("no connection")
        return ModelResponse(ModelMessage('{"next": "Editor"}'))


async def run_selector(folder: Path, provider: Provider) -> tuple[Outcome, MemoryChat]:
    loaded = workflows_by_pattern(folder)["AutoPattern"]
    models = ModelFactory("one", demo=False, config_for=lambda _, __: provider)
    execute: Any = AgentExecutor(WorkflowVersion(loaded, build_agent_set(loaded, models)), 25)
    story = given(STARTED, speaks(), done(), speaks(SELECTOR, 2, "auto")).under(loaded.workflow)
    chat = MemoryChat(story)
    return await execute(RunTurn(2), loaded.workflow, chat), chat


async def test_the_selectors_response_schema_allows_only_the_candidates(tmp_path: Path) -> None:
    provider = Provider(SCRIPTS[SELECTOR])
    _, chat = await run_selector(tmp_path, provider)
    assert [(one.agent, one.by) for one in chat.of(SpeakerSelected)] == [(EDITOR, "auto")]
    (request,) = provider.requests
    schema = request["response_schema"].json_schema
    assert schema["properties"]["next"]["enum"] == [WRITER, EDITOR, "Critic", "user"]
    assert not request["tools"]


async def test_a_selector_whose_provider_does_not_answer_fails_the_chat_with_a_message(
    tmp_path: Path,
) -> None:
    provider = Provider(SCRIPTS[SELECTOR])
    provider.fails = True
    outcome, _ = await run_selector(tmp_path, provider)
    assert isinstance(outcome, Failed)
    story = given(STARTED, speaks(), done(), speaks(SELECTOR, 2, "auto"))
    failed, ended = story.when(outcome)
    assert (failed.type, ended.type) == ("turn.failed", "chat.failed")


@pytest.mark.parametrize("pattern", ["DefaultPattern", "RoundRobinPattern", "RandomPattern"])
def test_only_the_auto_pattern_has_a_selector(tmp_path: Path, pattern: str) -> None:
    loaded = workflows_by_pattern(tmp_path)[pattern]
    models = ModelFactory("one", demo=True, config_for=lambda script, _: demo.DemoConfig(script, 0))
    assert SELECTOR not in build_agent_set(loaded, models).agents
    automatic = replace(loaded, workflow=replace(loaded.workflow, pattern="AutoPattern"))
    assert SELECTOR in build_agent_set(automatic, models).agents
