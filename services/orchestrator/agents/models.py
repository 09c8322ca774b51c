"""Which model answers, over which connection, and how it is asked."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Self

import httpx2
from ag2.config import LLMClient, ModelConfig, OpenAIConfig
from ag2.config.config import ModelProvider
from ag2.context import ConversationContext
from ag2.events import BaseEvent, ModelResponse
from ag2.tools.schemas import ToolSchema
from openai import Omit
from pydantic import SecretStr

from contracts.prices import PRICES, Prices, cost_of, known_of
from services.orchestrator.agents import demo
from services.orchestrator.agents.account import account_of
from services.orchestrator.agents.answers import Answers, RememberingClient
from services.orchestrator.agents.codec import tokens_of
from services.orchestrator.agents.faults import DENIED, UNKNOWN_MODEL, ModelFaultError
from services.orchestrator.agents.patience import Clock, Lot, Patience, PatientClient
from services.orchestrator.agents.windows import WINDOWS, Windows
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


@dataclass(frozen=True, slots=True)
class Manner:
    """How this process asks its models: with which patience, at which prices, within which windows."""

    clock: Clock
    lot: Lot
    patience: Patience = field(default_factory=Patience)
    prices: Prices = field(default_factory=lambda: PRICES)
    windows: Windows = field(default_factory=lambda: WINDOWS)
    answers: Answers | None = None
    """Where answers are recorded and found again; none where each request is to be made."""


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
    key = environment.get(endpoint.key_env or "", "" if endpoint.key_env else _NO_KEY)
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


def asked_of(provider: Provider, client: httpx2.AsyncClient, manner: Manner) -> "AskedConfig":
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


class AskedConfig(ModelConfig):
    """One model, or the next where the provider has not got it; asked with patience, and charged."""

    def __init__(
        self, wires: Sequence[ModelConfig], manner: Manner, name: str | None = None
    ) -> None:
        """`name` is the provider's, where the wire is not all there is to know."""
        self.wires = tuple(wires)
        self.manner = manner
        self._name = name

    @property
    def provider(self) -> ModelProvider:
        return self.wires[0].provider

    @property
    def model(self) -> str:
        return self.wires[0].model

    @property
    def window(self) -> int | None:
        """How many tokens the model can take; none where nobody knows."""
        return known_of(self.model, self.manner.windows)

    def copy(self) -> Self:
        return self  # nothing in it changes

    def create(self) -> LLMClient:
        return _Falling([self._client_of(wire) for wire in self.wires])

    def _client_of(self, wire: ModelConfig) -> LLMClient:
        manner = self.manner
        patient = PatientClient(
            wire.create(), wire.model, manner.patience, manner.clock, manner.lot
        )
        charged = _Charged(patient, wire.model, manner.prices, self._name)
        if manner.answers is None:
            return charged
        return RememberingClient(charged, manner.answers, _identity(wire))

    def create_files_client(self) -> Any:
        return self.wires[0].create_files_client()


def _identity(wire: ModelConfig) -> list[Any]:
    """What tells a provider's model from every other that may be asked the same."""
    if not isinstance(wire, OpenAIConfig):
        return [wire.model]
    warmth = None if isinstance(wire.temperature, Omit) else wire.temperature
    return [wire.base_url, wire.model, warmth]


class _Falling(LLMClient):
    """Asks the next model where one is not to be had; what is told then is why the first was not."""

    def __init__(self, clients: Sequence[LLMClient]) -> None:
        self._clients = clients

    async def __call__(
        self,
        messages: Sequence[BaseEvent],
        context: ConversationContext,
        *,
        tools: Iterable[ToolSchema],
        **more: Any,
    ) -> ModelResponse:
        more["tools"] = list(tools)  # which may be read once only, and are needed for every try
        first, *others = self._clients
        try:
            return await first(messages, context, **more)
        except ModelFaultError as told:
            if told.fault.code not in (UNKNOWN_MODEL, DENIED.code):
                raise
            for other in others:
                with suppress(ModelFaultError):
                    return await other(messages, context, **more)
            raise


class _Charged(LLMClient):
    """Says whose the answer is, and tells whoever asked what it cost."""

    def __init__(self, inner: LLMClient, model: str, prices: Prices, name: str | None) -> None:
        self._inner = inner
        self._model = model
        self._prices = prices
        self._name = name

    async def __call__(
        self, messages: Sequence[BaseEvent], context: ConversationContext, **more: Any
    ) -> ModelResponse:
        response = await self._inner(messages, context, **more)
        response.provider = self._name or response.provider
        tokens = tokens_of(response.usage)
        cost = cost_of(response.model or self._model, tokens, self._prices)
        account_of(context).charge(cost, cached=False)
        return response
