"""Which model answers, over which connection, and what its failures mean."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import httpx2
import openai
from ag2.config import ModelConfig, OpenAIConfig
from pydantic import SecretStr

from services.orchestrator.agents import demo
from services.orchestrator.agents.codec import told_of
from services.orchestrator.workflows.demo import Script
from services.orchestrator.workflows.spec import ModelChoice

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 300.0
"""How long a provider may stay silent: between two chunks, not for a whole answer."""


@dataclass(frozen=True, slots=True)
class Provider:
    """An OpenAI-compatible server and the model that it is asked for."""

    api_key: SecretStr
    model: str
    base_url: str | None = None
    temperature: float | None = None
    retries: int = 4
    """Of a call that the provider refuses for now; it waits as long as the provider says."""


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
) -> Models:
    """The provider's model, or the agent's own; with no provider, the demo model by its scripts."""
    if provider is None:
        return Models(
            name=demo.MODEL,
            demo=True,
            config_of=lambda script, _: demo.DemoConfig(script, demo_pause),
        )
    return Models(
        name=provider.model,
        demo=False,
        config_of=lambda _, choice: _openai_config(_chosen(provider, choice, environment), client),
    )


def _chosen(provider: Provider, choice: ModelChoice, environment: Mapping[str, str]) -> Provider:
    key = provider.api_key
    if choice.api_key_env is not None:
        if not (own := environment.get(choice.api_key_env)):
            raise NoModelError(
                f"llm_config.api_key_env: the environment variable {choice.api_key_env} is not set"
            )
        key = SecretStr(own)
    temperature = provider.temperature if choice.temperature is None else choice.temperature
    return replace(
        provider,
        api_key=key,
        model=choice.model or provider.model,
        base_url=choice.base_url or provider.base_url,
        temperature=temperature,
    )


def _openai_config(provider: Provider, client: httpx2.AsyncClient) -> ModelConfig:
    config = OpenAIConfig(
        provider.model,
        api_key=provider.api_key.get_secret_value(),
        base_url=provider.base_url,
        streaming=True,
        max_retries=provider.retries,
        http_client=client,
    )
    if provider.temperature is None:
        return config
    return config.copy(temperature=provider.temperature)


def failure(trouble: Exception) -> tuple[str, str]:
    """A code for programs and a sentence for the person who waits; no key, no path."""
    match trouble:
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            return "MODEL_ACCESS_DENIED", "The model provider refused access: check its API key."
        case openai.RateLimitError():
            return "MODEL_RATE_LIMITED", "The model provider's rate limit is reached."
        case openai.APIConnectionError():
            return "MODEL_UNREACHABLE", "The model provider does not answer."
        case openai.APIError():
            return "MODEL_FAILED", told_of(trouble)
        case _:
            return "TURN_FAILED", told_of(trouble)
