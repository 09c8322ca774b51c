"""Which model answers, and over which connection."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import httpx2
from ag2.config import ModelConfig, OpenAIConfig
from pydantic import SecretStr

from services.orchestrator.agents import demo
from services.orchestrator.agents.asked import AskedConfig, Manner
from services.orchestrator.workflows.demo import Script
from services.orchestrator.workflows.providers import ENDPOINTS, ProviderName
from services.orchestrator.workflows.spec import ModelChoice

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 300.0
"""How long a provider may stay silent: between two chunks, not for a whole answer."""


@dataclass(frozen=True, slots=True)
class Provider:
    """An OpenAI-compatible server and the model that it is asked for.

    `fallback` is asked where the server does not know that model, or refuses it.
    """

    api_key: SecretStr
    model: str
    base_url: str | None = None
    temperature: float | None = None
    fallback: str | None = None
    name: ProviderName = "openai"


class NoModelError(Exception):
    """An agent's model cannot be asked; the message names the key of its manifest."""


def shared_client() -> httpx2.AsyncClient:
    """One connection pool for all agents: AG2 would otherwise build a client for every turn."""
    timeout = httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
    return httpx2.AsyncClient(timeout=timeout)


@dataclass(frozen=True, slots=True)
class Models:
    """Who answers in this process.

    `config_of` gives an agent's model, by its demo script and its choice. Raises NoModelError.
    """

    name: str
    demo: bool
    config_of: Callable[[Script, ModelChoice], ModelConfig]


def choose_models(
    provider: Provider | None,
    client: httpx2.AsyncClient,
    demo_pause: float,
    environment: Mapping[str, str],
    manner: Manner,
) -> Models:
    """The provider's model, or the agent's own; with no provider, the demo model by its scripts."""
    if provider is None:
        return Models(
            name=demo.MODEL,
            demo=True,
            config_of=lambda script, _: demo.DemoConfig(script, demo_pause),
        )

    def config_of(_: Script, choice: ModelChoice) -> ModelConfig:
        return asked_of(_chosen(provider, choice, environment), client, manner)

    return Models(name=provider.model, demo=False, config_of=config_of)


def process_provider(
    name: ProviderName,
    model: str,
    environment: Mapping[str, str],
    *,
    base_url: str | None = None,
    temperature: float | None = None,
    fallback: str | None = None,
) -> Provider | None:
    """The provider of all agents that choose none; none at all where OpenAI is meant without a key.

    Raises NoModelError where another was asked for by name and its key is missing.
    """
    endpoint = ENDPOINTS[name]
    key = _NO_KEY if endpoint.key_env is None else environment.get(endpoint.key_env)
    if not key and name == "openai":
        return None
    if not key:
        raise NoModelError(
            f"DEFAULT_LLM_PROVIDER: {name} needs the environment variable {endpoint.key_env}"
        )
    return Provider(
        SecretStr(key), model, base_url or endpoint.base_url, temperature, fallback, name
    )


_NO_KEY = "none"
"""What the client sends where no key is wanted: it insists on one."""


def _chosen(provider: Provider, choice: ModelChoice, environment: Mapping[str, str]) -> Provider:
    home = _home(provider, choice, environment)
    key = home.api_key
    if choice.api_key_env is not None:
        key = _key(choice.api_key_env, "api_key_env", environment)
    temperature = provider.temperature if choice.temperature is None else choice.temperature
    elsewhere = choice.base_url is not None or choice.api_key_env is not None
    return replace(
        home,
        api_key=key,
        model=choice.model or home.model,
        base_url=choice.base_url or home.base_url,
        temperature=temperature,
        fallback=None if elsewhere else home.fallback,
    )


def _home(provider: Provider, choice: ModelChoice, environment: Mapping[str, str]) -> Provider:
    """The process's provider, or the one that the agent names, as that one is by itself."""
    name = choice.provider
    if name is None or name == provider.name:
        return provider
    if choice.model is None:
        raise NoModelError(f"llm_config.model: must be said for a provider of its own ({name})")
    endpoint = ENDPOINTS[name]
    key = SecretStr(_NO_KEY)
    if endpoint.key_env is not None and choice.api_key_env is None:
        key = _key(endpoint.key_env, "provider", environment)
    return Provider(key, choice.model, endpoint.base_url, name=name)


def _key(variable: str, field_: str, environment: Mapping[str, str]) -> SecretStr:
    if not (key := environment.get(variable)):
        raise NoModelError(f"llm_config.{field_}: the environment variable {variable} is not set")
    return SecretStr(key)


def asked_of(provider: Provider, client: httpx2.AsyncClient, manner: Manner) -> AskedConfig:
    """The provider's model as agents ask it, and after it the model to fall back to."""
    first = _openai_config(provider, client)
    others = [first.copy(model=provider.fallback)] if provider.fallback else []
    return AskedConfig([first, *others], manner, provider.name)


def _openai_config(provider: Provider, client: httpx2.AsyncClient) -> OpenAIConfig:
    config = OpenAIConfig(
        provider.model,
        api_key=provider.api_key.get_secret_value(),
        base_url=provider.base_url,
        streaming=True,
        max_retries=0,  # PatientClient's to do: it tells a full quota from a busy hour
        http_client=client,
    )
    if provider.temperature is None:
        return config
    return config.copy(temperature=provider.temperature)
