"""Which model answers for an agent, and what it costs."""

from dataclasses import replace

import httpx2
import pytest
from ag2.config import OpenAIConfig
from pydantic import SecretStr

from services.orchestrator.agents import demo
from services.orchestrator.agents.models import (
    AskedConfig,
    NoModelError,
    Provider,
    choose_models,
)
from services.orchestrator.agents.windows import WINDOWS
from services.orchestrator.workflows.demo import DemoLine, Script
from services.orchestrator.workflows.spec import ModelChoice
from tests.orchestrator.agents.asking import MANNER

OURS = Provider(SecretStr("our-key"), "big", "http://ours/v1", temperature=0.5, fallback="old")
SCRIPT = Script(lines=[DemoLine(say="Hello.")])


def asked(choice: ModelChoice, **environment: str) -> AskedConfig:
    models = choose_models(OURS, httpx2.AsyncClient(), 0, environment, MANNER)
    config = models.config_of(SCRIPT, choice)
    assert isinstance(config, AskedConfig)
    return config


def chosen(choice: ModelChoice, **environment: str) -> OpenAIConfig:
    config = asked(choice, **environment).wires[0]
    assert isinstance(config, OpenAIConfig)
    return config


def test_an_agent_without_a_choice_answers_by_the_model_of_the_process() -> None:
    config = chosen(ModelChoice())
    told = (config.model, config.base_url, config.api_key, config.temperature, config.max_retries)
    assert told == ("big", "http://ours/v1", "our-key", 0.5, 0)


def test_an_agents_own_choice_goes_over_it() -> None:
    choice = ModelChoice("small", 0.0, "http://theirs/v1", "THEIR_KEY")
    config = chosen(choice, THEIR_KEY="their-key")
    told = (config.model, config.base_url, config.api_key, config.temperature)
    assert told == ("small", "http://theirs/v1", "their-key", 0.0)


def test_a_key_that_is_not_in_the_environment_is_named_by_its_variable() -> None:
    with pytest.raises(NoModelError, match=r"llm_config\.api_key_env: .* THEIR_KEY is not set"):
        chosen(ModelChoice(api_key_env="THEIR_KEY"))


def test_without_a_provider_the_demo_model_answers_whatever_was_chosen() -> None:
    models = choose_models(None, httpx2.AsyncClient(), 0, {}, MANNER)
    assert models.demo
    assert models.config_of(SCRIPT, ModelChoice("small")).model == demo.MODEL


def test_the_fallback_stands_behind_every_model_of_its_own_server_only() -> None:
    def models(choice: ModelChoice) -> list[str]:
        return [wire.model for wire in asked(choice, THEIR_KEY="key").wires]

    assert models(ModelChoice()) == ["big", "old"]
    assert models(ModelChoice("small")) == ["small", "old"]
    assert models(ModelChoice(base_url="http://theirs/v1")) == ["big"]
    assert models(ModelChoice(api_key_env="THEIR_KEY")) == ["big"]


@pytest.mark.parametrize(
    ("model", "window"),
    [("gpt-4o-mini-2024-07-18", 128_000), ("local", 4096), ("nobody knows", None)],
)
def test_a_model_has_the_window_of_the_table(model: str, window: int | None) -> None:
    manner = replace(MANNER, windows={**WINDOWS, "local": 4096})
    assert AskedConfig([OpenAIConfig(model)], manner).window == window
