"""Which model and provider an agent uses."""

from dataclasses import replace
from typing import get_args

import httpx2
import pytest
from pydantic import SecretStr

from services.orchestrator.agents.models import demo
from services.orchestrator.agents.models.anthropic_wire.config import AnthropicWireConfig
from services.orchestrator.agents.models.client import ResilientModelConfig, _identity
from services.orchestrator.agents.models.context_windows import CONTEXT_WINDOWS
from services.orchestrator.agents.models.gemini_wire.config import GeminiWireConfig
from services.orchestrator.agents.models.openai_wire.config import OpenAIWireConfig
from services.orchestrator.agents.models.providers import (
    ModelNotConfiguredError,
    Provider,
    build_model_factory,
    default_provider,
    resilient_config,
)
from services.orchestrator.workflows.demo import DemoReply, DemoScript
from services.orchestrator.workflows.known_providers import ENDPOINTS, ProviderName
from services.orchestrator.workflows.spec import ModelChoice
from tests.orchestrator.agents.provider_turn import POLICY

PROVIDER = Provider(SecretStr("our-key"), "big", "http://ours/v1", temperature=0.5, fallback="old")
SCRIPT = DemoScript(lines=[DemoReply(say="Hello.")])


def config_of(choice: ModelChoice, **environment: str) -> ResilientModelConfig:
    models = build_model_factory(PROVIDER, httpx2.AsyncClient(), 0, environment, POLICY)
    config = models.config_for(SCRIPT, choice)
    assert isinstance(config, ResilientModelConfig)
    return config


def wire_config_of(choice: ModelChoice, **environment: str) -> OpenAIWireConfig:
    config = config_of(choice, **environment).configs[0]
    assert isinstance(config, OpenAIWireConfig)
    return config


def key_of(config: OpenAIWireConfig | AnthropicWireConfig | GeminiWireConfig) -> str:
    return config.api_key.get_secret_value()


def test_an_agent_without_a_choice_uses_the_default_model() -> None:
    config = wire_config_of(ModelChoice())
    values = (config.model, config.base_url, key_of(config), config.temperature)
    assert values == ("big", "http://ours/v1", "our-key", 0.5)


def test_an_agents_own_choice_overrides_the_default() -> None:
    choice = ModelChoice("small", 0.0, "http://theirs/v1", "THEIR_KEY")
    config = wire_config_of(choice, THEIR_KEY="their-key")
    values = (config.model, config.base_url, key_of(config), config.temperature)
    assert values == ("small", "http://theirs/v1", "their-key", 0.0)


def test_a_missing_key_is_reported_with_its_environment_variable() -> None:
    with pytest.raises(
        ModelNotConfiguredError, match=r"llm_config\.api_key_env: .* THEIR_KEY is not set"
    ):
        wire_config_of(ModelChoice(api_key_env="THEIR_KEY"))


def test_without_a_provider_every_agent_uses_the_demo_model() -> None:
    models = build_model_factory(None, httpx2.AsyncClient(), 0, {}, POLICY)
    assert models.demo
    assert models.config_for(SCRIPT, ModelChoice("small")).model == demo.MODEL


def test_the_fallback_is_used_for_models_of_the_same_account_only() -> None:
    def models(choice: ModelChoice) -> list[str]:
        return [config.model for config in config_of(choice, THEIR_KEY="key").configs]

    assert models(ModelChoice()) == ["big", "old"]
    assert models(ModelChoice("small")) == ["small", "old"]
    assert models(ModelChoice(base_url="http://theirs/v1")) == ["big"]
    assert models(ModelChoice(api_key_env="THEIR_KEY")) == ["big"]


@pytest.mark.parametrize(
    ("model", "window"),
    [("gpt-4o-mini-2024-07-18", 128_000), ("local", 4096), ("unknown", None)],
)
def test_the_context_window_is_that_of_the_table(model: str, window: int | None) -> None:
    policy = replace(POLICY, context_windows={**CONTEXT_WINDOWS, "local": 4096})
    config = resilient_config(replace(PROVIDER, model=model), httpx2.AsyncClient(), policy)
    assert config.context_window == window


def test_an_agent_may_use_another_provider_with_its_key_and_address() -> None:
    config = wire_config_of(ModelChoice("large", provider="mistral"), MISTRAL_API_KEY="m-key")
    values = (config.model, config.base_url, key_of(config), config.temperature)
    assert values == ("large", "https://api.mistral.ai/v1", "m-key", 0.5)
    assert len(config_of(ModelChoice("l", provider="groq"), GROQ_API_KEY="k").configs) == 1
    proxied = ModelChoice("large", None, "http://proxy/v1", "PROXY_KEY", "mistral")
    config = wire_config_of(proxied, PROXY_KEY="p-key")
    assert (config.base_url, key_of(config)) == ("http://proxy/v1", "p-key")


def test_naming_the_default_provider_again_changes_nothing() -> None:
    config = wire_config_of(ModelChoice(provider="openai"))
    assert (config.model, config.base_url, key_of(config)) == ("big", "http://ours/v1", "our-key")


def test_a_provider_without_keys_is_sent_no_key() -> None:
    config = wire_config_of(ModelChoice("llama3.2", provider="ollama"))
    assert (config.base_url, key_of(config)) == ("http://127.0.0.1:11434/v1", "none")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (ModelChoice("l", provider="groq"), r"llm_config\.provider: .* GROQ_API_KEY is not set"),
        (ModelChoice(provider="ollama"), r"llm_config\.model: missing; .*\(ollama\)"),
    ],
)
def test_what_is_missing_for_a_provider_is_reported(choice: ModelChoice, message: str) -> None:
    with pytest.raises(ModelNotConfiguredError, match=message):
        wire_config_of(choice)


def test_the_default_provider_is_that_of_the_settings() -> None:
    environment = {"OPENAI_API_KEY": "o-key", "XAI_API_KEY": "x-key"}
    ours = default_provider("openai", "big", environment, base_url="http://ours/v1")
    theirs = default_provider("xai", "grok", environment, temperature=0.1)
    assert ours == Provider(SecretStr("o-key"), "big", "http://ours/v1")
    assert theirs is not None
    assert (theirs.name, theirs.base_url) == ("xai", "https://api.x.ai/v1")
    assert theirs.api_key.get_secret_value() == "x-key"


def test_a_missing_key_means_the_demo_model_only_for_the_unconfigured_provider() -> None:
    assert default_provider("openai", "big", {"OPENAI_API_KEY": ""}) is None
    assert default_provider("ollama", "llama3.2", {}) is not None
    with pytest.raises(
        ModelNotConfiguredError, match=r"DEFAULT_LLM_PROVIDER: mistral needs .* MISTRAL_API_KEY"
    ):
        default_provider("mistral", "large", {})


GOOGLE = "https://generativelanguage.googleapis.com"
NATIVE = {"ANTHROPIC_API_KEY": "a-key", "GEMINI_API_KEY": "g-key"}


@pytest.mark.parametrize(
    ("choice", "kind", "url"),
    [
        (
            ModelChoice("claude", provider="anthropic"),
            AnthropicWireConfig,
            "https://api.anthropic.com/v1/messages",
        ),
        (
            ModelChoice("claude", provider="anthropic-openai"),
            OpenAIWireConfig,
            "https://api.anthropic.com/v1/chat/completions",
        ),
        (
            ModelChoice("gemini-x", provider="gemini"),
            GeminiWireConfig,
            f"{GOOGLE}/v1beta/models/gemini-x:streamGenerateContent?alt=sse",
        ),
        (
            ModelChoice("gemini-x", provider="gemini-openai"),
            OpenAIWireConfig,
            f"{GOOGLE}/v1beta/openai/chat/completions",
        ),
        (
            ModelChoice("g", provider="gemini", base_url="https://proxy/v1beta/openai/"),
            OpenAIWireConfig,
            "https://proxy/v1beta/openai/chat/completions",
        ),
        (
            ModelChoice("models/g", provider="gemini", base_url="https://proxy/g/v1/"),
            GeminiWireConfig,
            "https://proxy/g/v1/models/g:streamGenerateContent?alt=sse",
        ),
        (
            ModelChoice("tunedModels/g", provider="gemini"),
            GeminiWireConfig,
            f"{GOOGLE}/v1beta/tunedModels/g:streamGenerateContent?alt=sse",
        ),
        (
            ModelChoice("c", provider="anthropic", base_url="https://proxy/a/v1"),
            AnthropicWireConfig,
            "https://proxy/a/v1/messages",
        ),
    ],
)
def test_a_providers_name_and_address_select_its_api(
    choice: ModelChoice, kind: type, url: str
) -> None:
    config = config_of(choice, **NATIVE).configs[0]
    assert type(config) is kind
    assert isinstance(config, OpenAIWireConfig | AnthropicWireConfig | GeminiWireConfig)
    assert str(config._endpoint().url) == url
    assert key_of(config) in ("a-key", "g-key")


def test_the_address_and_another_key_are_those_of_the_environment() -> None:
    environment = {"ANTHROPIC_API_KEY": "a", "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
    anthropic = default_provider("anthropic", "claude", environment)
    google = {"GOOGLE_API_KEY": "g", "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:8"}
    gemini = default_provider("gemini", "gemini-x", google)
    assert anthropic is not None
    assert gemini is not None
    assert (anthropic.base_url, gemini.base_url) == ("http://127.0.0.1:9", "http://127.0.0.1:8")
    assert gemini.api_key.get_secret_value() == "g"
    both = default_provider("gemini-openai", "g", {**google, "GEMINI_API_KEY": "first"})
    assert both is not None
    assert both.api_key.get_secret_value() == "first"


def test_an_agents_limit_and_thinking_override_the_default() -> None:
    default = replace(PROVIDER, name="anthropic", max_tokens=100, thinking="low")
    models = build_model_factory(default, httpx2.AsyncClient(), 0, NATIVE, POLICY)

    def values(choice: ModelChoice) -> tuple[object, object]:
        config = models.config_for(SCRIPT, choice)
        assert isinstance(config, ResilientModelConfig)
        wire = config.configs[0]
        assert isinstance(wire, AnthropicWireConfig)
        return wire.max_tokens, wire.thinking

    assert values(ModelChoice()) == (100, "low")
    assert values(ModelChoice(max_tokens=9, thinking=2048)) == (9, 2048)
    assert values(ModelChoice(thinking="off")) == (100, "off")
    gemini = models.config_for(SCRIPT, ModelChoice("g", provider="gemini"))
    assert isinstance(gemini, ResilientModelConfig)
    assert isinstance(gemini.configs[0], GeminiWireConfig)
    assert gemini.configs[0].generation() == {
        "temperature": 0.5,
        "maxOutputTokens": 100,
        "thinkingConfig": {"thinkingLevel": "LOW"},
    }
    compatible = models.config_for(SCRIPT, ModelChoice("c", provider="anthropic-openai"))
    assert isinstance(compatible, ResilientModelConfig)
    assert isinstance(compatible.configs[0], OpenAIWireConfig)
    assert compatible.configs[0].max_tokens == 100


def test_thinking_is_refused_where_the_api_does_not_have_it() -> None:
    with pytest.raises(ModelNotConfiguredError, match=r"llm_config\.thinking: low"):
        wire_config_of(ModelChoice(thinking="low"))
    with pytest.raises(ModelNotConfiguredError, match=r"llm_config\.thinking: 2048"):
        wire_config_of(ModelChoice("c", provider="anthropic-openai", thinking=2048), **NATIVE)
    with pytest.raises(ModelNotConfiguredError, match="DEFAULT_LLM_THINKING: high"):
        default_provider("openai", "big", {"OPENAI_API_KEY": "o"}, thinking="high")


@pytest.mark.parametrize(
    ("url", "name"),
    [("https://api.openai.com/v1", "max_completion_tokens"), ("http://ours/v1", "max_tokens")],
)
def test_the_limit_of_an_answer_has_the_name_that_the_server_knows(url: str, name: str) -> None:
    models = build_model_factory(
        replace(PROVIDER, base_url=url, max_tokens=7), httpx2.AsyncClient(), 0, {}, POLICY
    )
    config = models.config_for(SCRIPT, ModelChoice())
    assert isinstance(config, ResilientModelConfig)
    wire = config.configs[0]
    assert isinstance(wire, OpenAIWireConfig)
    assert wire.options()[name] == 7


def test_models_of_other_settings_do_not_share_recorded_answers() -> None:
    choices = [
        ModelChoice("m", provider="anthropic"),
        ModelChoice("m", provider="anthropic", thinking=2048),
        ModelChoice("m", provider="anthropic", max_tokens=9),
        ModelChoice("m", provider="gemini"),
        ModelChoice("m", provider="gemini", thinking="low"),
        ModelChoice("m", provider="gemini-openai"),
    ]
    identities = [str(_identity(config_of(one, **NATIVE).configs[0])) for one in choices]
    assert len(set(identities)) == len(identities)


def test_every_provider_has_an_endpoint() -> None:
    assert tuple(ENDPOINTS) == get_args(ProviderName)
