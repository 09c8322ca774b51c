"""The selector as an AG2 agent: what it is built with, and what a provider is asked for."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ag2.config import LLMClient
from ag2.context import ConversationContext
from ag2.events import BaseEvent, ModelMessage, ModelResponse

from contracts.events.turn import SELECTOR
from services.orchestrator.agents import demo
from services.orchestrator.agents.build import build_cast
from services.orchestrator.agents.models import Models
from services.orchestrator.agents.offer import Edition, build_performer
from services.orchestrator.state import RunTurn
from services.orchestrator.turns import Broke, Spoke
from services.orchestrator.workflows.demo import Script
from tests.orchestrator.agents.test_resuming import MemoryChat
from tests.orchestrator.casts import EDITOR, SCRIPTS, WRITER, cast
from tests.story import STARTED, done, given, speaks


class Provider(demo.DemoConfig):
    """A model that keeps what it was asked for, and says one name, or breaks."""

    def __init__(self, script: Script) -> None:
        super().__init__(script, 0)
        self.asked: list[dict[str, Any]] = []
        self.broken = False

    def create(self) -> LLMClient:
        return _Client(self)


class _Client(LLMClient):
    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def __call__(
        self, messages: Sequence[BaseEvent], context: ConversationContext, **more: Any
    ) -> ModelResponse:
        del messages, context
        self._provider.asked.append(more)
        if self._provider.broken:
            raise ConnectionError("the provider is away")
        return ModelResponse(ModelMessage('{"next": "Editor"}'))


async def selected(folder: Path, provider: Provider) -> Any:
    loaded = cast(folder)["AutoPattern"]
    models = Models("one", demo=False, config_of=lambda _, __: provider)
    perform: Any = build_performer(Edition(loaded, build_cast(loaded, models)), 25)
    story = given(STARTED, speaks(), done(), speaks(SELECTOR, 2, "auto")).under(loaded.workflow)
    chat = MemoryChat(story)
    return await perform(RunTurn(2), loaded.workflow, chat)


async def test_the_provider_is_held_to_the_names(tmp_path: Path) -> None:
    provider = Provider(SCRIPTS[SELECTOR])
    assert await selected(tmp_path, provider) == Spoke('{"next": "Editor"}', None)
    (asked,) = provider.asked
    schema = asked["response_schema"].json_schema
    assert schema["properties"]["next"]["enum"] == [WRITER, EDITOR, "Critic", "user"]
    assert not asked["tools"]


async def test_a_selector_whose_provider_is_away_fails_the_chat_in_words(tmp_path: Path) -> None:
    provider = Provider(SCRIPTS[SELECTOR])
    provider.broken = True
    broke = await selected(tmp_path, provider)
    assert isinstance(broke, Broke)
    story = given(STARTED, speaks(), done(), speaks(SELECTOR, 2, "auto"))
    failed, ended = story.when(broke)
    assert (failed.type, ended.type) == ("turn.failed", "chat.failed")


@pytest.mark.parametrize("pattern", ["DefaultPattern", "RoundRobinPattern", "RandomPattern"])
def test_only_the_auto_pattern_has_a_selector(tmp_path: Path, pattern: str) -> None:
    loaded = cast(tmp_path)[pattern]
    models = Models("one", demo=True, config_of=lambda script, _: demo.DemoConfig(script, 0))
    assert SELECTOR not in build_cast(loaded, models).agents
    automatic = replace(loaded, workflow=replace(loaded.workflow, pattern="AutoPattern"))
    assert SELECTOR in build_cast(automatic, models).agents
