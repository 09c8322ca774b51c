"""Model providers: which model an agent uses, with which key, address and HTTP connection."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypedDict

import httpx2
from ag2.config import ModelConfig
from pydantic import SecretStr

from services.orchestrator.agents.models import demo
from services.orchestrator.agents.models.anthropic_wire.config import AnthropicWireConfig
from services.orchestrator.agents.models.client import ModelCallPolicy, ResilientModelConfig
from services.orchestrator.agents.models.gemini_wire.config import GeminiWireConfig
from services.orchestrator.agents.models.openai_wire.config import OpenAIWireConfig
from services.orchestrator.agents.models.openai_wire.message_bytes import MessageBytes
from services.orchestrator.agents.models.openai_wire.refused_members import RefusedMembers
from services.orchestrator.workflows.demo import DemoScript
from services.orchestrator.workflows.known_providers import (
    ENDPOINTS,
    ProviderName,
    Thinking,
    wire_of,
)
from services.orchestrator.workflows.spec import ModelChoice

_NO_KEY = "none"
"""Sent to providers that need no key."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider's server and the model to use there.

    Its API is that of `name`. `fallback` is the model to use when the server does not know the first or denies access to it.
    """

    api_key: SecretStr
    model: str
    base_url: str = ENDPOINTS["openai"].base_url
    temperature: float | None = None
    fallback: str | None = None
    name: ProviderName = "openai"
    max_tokens: int | None = None
    thinking: Thinking | None = None


class ModelNotConfiguredError(Exception):
    """An agent's model cannot be used; the message names the key of the manifest or the setting."""


@dataclass(frozen=True, slots=True)
class ModelFactory:
    """Creates the models of this process; `name` is the default model.

    `config_for` is given an agent's demo script and its model choice, and raises
    ModelNotConfiguredError.
    """

    name: str
    demo: bool
    config_for: Callable[[DemoScript, ModelChoice], ModelConfig]


def build_model_factory(
    provider: Provider | None,
    client: httpx2.AsyncClient,
    demo_pause: float,
    environment: Mapping[str, str],
    policy: ModelCallPolicy,
) -> ModelFactory:
    """Uses `provider` unless an agent chooses another; without one, the demo model for all agents."""
    if provider is None:
        return ModelFactory(
            name=demo.MODEL,
            demo=True,
            config_for=lambda script, _: demo.DemoConfig(script, demo_pause),
        )

    shared = SharedByAgents()

    def config_for(_: DemoScript, choice: ModelChoice) -> ModelConfig:
        chosen = _with_choice(provider, choice, environment)
        return resilient_config(chosen, client, policy, shared)

    return ModelFactory(name=provider.model, demo=False, config_for=config_for)


def default_provider(
    name: ProviderName,
    model: str,
    environment: Mapping[str, str],
    *,
    base_url: str | None = None,
    temperature: float | None = None,
    fallback: str | None = None,
    max_tokens: int | None = None,
    thinking: Thinking | None = None,
) -> Provider | None:
    """The provider of agents that choose none; none when it is `openai` and there is no key.

    Raises ModelNotConfiguredError when another one is configured and its key is missing.
    """
    endpoint = ENDPOINTS[name]
    key = _NO_KEY if endpoint.key_env is None else endpoint.key(environment)
    if not key and name == "openai":
        return None
    if not key:
        raise ModelNotConfiguredError(
            f"DEFAULT_LLM_PROVIDER: {name} needs the environment variable {endpoint.key_env}"
        )
    provider = Provider(
        SecretStr(key),
        model,
        base_url or endpoint.url(environment),
        temperature,
        fallback,
        name,
        max_tokens,
        thinking,
    )
    _check(provider, "DEFAULT_LLM_THINKING")
    return provider


def _with_choice(
    provider: Provider, choice: ModelChoice, environment: Mapping[str, str]
) -> Provider:
    """The provider with an agent's own choices applied."""
    base = _chosen_provider(provider, choice, environment)
    key = base.api_key
    if choice.api_key_env is not None:
        key = _key(choice.api_key_env, "api_key_env", environment)
    temperature = provider.temperature if choice.temperature is None else choice.temperature
    is_other_account = choice.base_url is not None or choice.api_key_env is not None
    url = choice.base_url or base.base_url
    default_thinking = None if wire_of(base.name, url) == "openai" else provider.thinking
    chosen = replace(
        base,
        api_key=key,
        model=choice.model or base.model,
        base_url=url,
        temperature=temperature,
        fallback=None if is_other_account else base.fallback,
        max_tokens=choice.max_tokens or provider.max_tokens,
        thinking=default_thinking if choice.thinking is None else choice.thinking,
    )
    _check(chosen, "llm_config.thinking")
    return chosen


def _check(provider: Provider, where: str) -> None:
    """Raises ModelNotConfiguredError for what the provider's API does not have."""
    if provider.thinking is not None and wire_of(provider.name, provider.base_url) == "openai":
        raise ModelNotConfiguredError(
            f"{where}: {provider.thinking}, but only the providers anthropic and gemini have it, at "
            "an address of their own API"
        )


def _chosen_provider(
    provider: Provider, choice: ModelChoice, environment: Mapping[str, str]
) -> Provider:
    """The default provider, or the one that the agent names with that one's own defaults."""
    name = choice.provider
    if name is None or name == provider.name:
        return provider
    if choice.model is None:
        raise ModelNotConfiguredError(
            f"llm_config.model: missing; it is required together with llm_config.provider ({name})"
        )
    endpoint = ENDPOINTS[name]
    key = SecretStr(_NO_KEY)
    if endpoint.key_env is not None and choice.api_key_env is None:
        if not (found := endpoint.key(environment)):
            raise ModelNotConfiguredError(
                f"llm_config.provider: the environment variable {endpoint.key_env} is not set"
            )
        key = SecretStr(found)
    return Provider(key, choice.model, endpoint.url(environment), name=name)


def _key(variable: str, manifest_key: str, environment: Mapping[str, str]) -> SecretStr:
    if not (key := environment.get(variable)):
        raise ModelNotConfiguredError(
            f"llm_config.{manifest_key}: the environment variable {variable} is not set"
        )
    return SecretStr(key)


@dataclass(frozen=True, slots=True)
class SharedByAgents:
    """What the configurations of agents that talk in the same chats share."""

    message_bytes: MessageBytes = field(default_factory=MessageBytes)
    refused: RefusedMembers = field(default_factory=RefusedMembers)


def resilient_config(
    provider: Provider,
    client: httpx2.AsyncClient,
    policy: ModelCallPolicy,
    shared: SharedByAgents | None = None,
) -> ResilientModelConfig:
    """The provider's model, and after it the model to fall back to."""
    first = _wire_config(provider, client, shared or SharedByAgents())
    fallbacks = [first.copy(model_name=provider.fallback)] if provider.fallback else []
    return ResilientModelConfig([first, *fallbacks], policy, provider.name)


class _Common(TypedDict):
    """The arguments of every ProviderConfig."""

    model_name: str
    api_key: SecretStr
    base_url: str
    http: httpx2.AsyncClient
    temperature: float | None
    max_tokens: int | None


def _wire_config(
    provider: Provider, client: httpx2.AsyncClient, shared: SharedByAgents
) -> OpenAIWireConfig | AnthropicWireConfig | GeminiWireConfig:
    common: _Common = {
        "model_name": provider.model,
        "api_key": provider.api_key,
        "base_url": provider.base_url,
        "http": client,
        "temperature": provider.temperature,
        "max_tokens": provider.max_tokens,
    }
    match wire_of(provider.name, provider.base_url):
        case "openai":
            return OpenAIWireConfig(
                **common, message_bytes=shared.message_bytes, refused=shared.refused
            )
        case "anthropic":
            return AnthropicWireConfig(**common, thinking=provider.thinking)
        case "gemini":
            return GeminiWireConfig(**common, thinking=provider.thinking)
