"""Which model answers for an agent, and what it costs."""

from dataclasses import replace
from typing import get_args

import httpx2
import pytest
from ag2.config import OpenAIConfig
from pydantic import SecretStr

from services.orchestrator.agents import demo
from services.orchestrator.agents.asked import AskedConfig
from services.orchestrator.agents.models import (
    NoModelError,
    Provider,
    choose_models,
    process_provider,
)
from services.orchestrator.agents.windows import WINDOWS
from services.orchestrator.workflows.demo import DemoLine, Script
from services.orchestrator.workflows.providers import ENDPOINTS, ProviderName
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


def test_an_agent_may_answer_by_another_provider_with_that_ones_key_and_address() -> None:
    config = chosen(ModelChoice("large", provider="mistral"), MISTRAL_API_KEY="m-key")
    told = (config.model, config.base_url, config.api_key, config.temperature)
    assert told == ("large", "https://api.mistral.ai/v1", "m-key", 0.5)
    assert len(asked(ModelChoice("l", provider="groq"), GROQ_API_KEY="k").wires) == 1
    elsewhere = ModelChoice("large", None, "http://proxy/v1", "PROXY_KEY", "mistral")
    config = chosen(elsewhere, PROXY_KEY="p-key")
    assert (config.base_url, config.api_key) == ("http://proxy/v1", "p-key")


def test_the_provider_of_the_process_named_again_is_the_same() -> None:
    config = chosen(ModelChoice(provider="openai"))
    assert (config.model, config.base_url, config.api_key) == ("big", "http://ours/v1", "our-key")


def test_a_provider_that_wants_no_key_is_sent_none() -> None:
    config = chosen(ModelChoice("llama3.2", provider="ollama"))
    assert (config.base_url, config.api_key) == ("http://127.0.0.1:11434/v1", "none")


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (ModelChoice("l", provider="groq"), r"llm_config\.provider: .* GROQ_API_KEY is not set"),
        (ModelChoice(provider="ollama"), r"llm_config\.model: must be said .*\(ollama\)"),
    ],
)
def test_what_a_provider_lacks_is_named(choice: ModelChoice, told: str) -> None:
    with pytest.raises(NoModelError, match=told):
        chosen(choice)


def test_the_process_has_the_provider_that_its_environment_names() -> None:
    environment = {"OPENAI_API_KEY": "o-key", "XAI_API_KEY": "x-key"}
    ours = process_provider("openai", "big", environment, base_url="http://ours/v1")
    theirs = process_provider("xai", "grok", environment, temperature=0.1)
    assert ours == Provider(SecretStr("o-key"), "big", "http://ours/v1")
    assert theirs is not None
    assert (theirs.name, theirs.base_url) == ("xai", "https://api.x.ai/v1")
    assert theirs.api_key.get_secret_value() == "x-key"


def test_no_key_means_the_demo_model_only_where_nobody_asked_for_a_provider() -> None:
    assert process_provider("openai", "big", {"OPENAI_API_KEY": ""}) is None
    assert process_provider("ollama", "llama3.2", {}) is not None
    with pytest.raises(
        NoModelError, match=r"DEFAULT_LLM_PROVIDER: mistral needs .* MISTRAL_API_KEY"
    ):
        process_provider("mistral", "large", {})


def test_every_provider_but_openai_has_an_address() -> None:
    assert [name for name, one in ENDPOINTS.items() if one.base_url is None] == ["openai"]
    assert tuple(ENDPOINTS) == get_args(ProviderName)
