"""Model clients that agents use: with retries, recorded answers, cost, and a fallback model."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, runtime_checkable

from ag2.config import LLMClient, ModelConfig
from ag2.config.config import ModelProvider
from ag2.context import ConversationContext
from ag2.events import BaseEvent, ModelResponse
from ag2.tools.schemas import ToolSchema
from prometheus_client import CollectorRegistry

from contracts.prices import PRICES, Prices, cost_of, find_by_model
from services.orchestrator.agents.ag2.codec import tokens_of
from services.orchestrator.agents.models.call_slots import ModelSlots
from services.orchestrator.agents.models.context_windows import CONTEXT_WINDOWS, ContextWindows
from services.orchestrator.agents.models.errors import ACCESS_DENIED, MODEL_NOT_FOUND, ModelError
from services.orchestrator.agents.models.metrics import ModelMetrics, ModelName
from services.orchestrator.agents.models.model_spans import CalledModel, TracingClient
from services.orchestrator.agents.models.model_traits import ModelKey, ModelTraits
from services.orchestrator.agents.models.offline import OfflineConfig
from services.orchestrator.agents.models.response_cache import CachingClient, ResponseCache
from services.orchestrator.agents.models.retry import Clock, Jitter, RetryingClient, RetryPolicy
from services.orchestrator.agents.session.call_meter import call_meter_of


@dataclass(frozen=True, slots=True)
class ModelCallPolicy:
    """How this process calls its models; `cache` is none when every request is to be made."""

    clock: Clock
    jitter: Jitter
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    prices: Prices = field(default_factory=lambda: PRICES)
    context_windows: ContextWindows = field(default_factory=lambda: CONTEXT_WINDOWS)
    cache: ResponseCache | None = None
    traits: ModelTraits = field(default_factory=ModelTraits)
    slots: ModelSlots = field(default_factory=ModelSlots)
    metrics: ModelMetrics = field(default_factory=lambda: ModelMetrics(CollectorRegistry()))


@runtime_checkable
class Identified(Protocol):
    """A configuration whose model may be configured otherwise elsewhere."""

    @property
    def identity(self) -> Sequence[Any]: ...

    @property
    def base_url(self) -> str: ...

    @property
    def max_tokens(self) -> int | None: ...


class ResilientModelConfig(ModelConfig):
    """AG2's configuration of a model, or of the next one when the provider does not offer it.

    `configs` are those of the same provider, the preferred model first.
    """

    def __init__(
        self, configs: Sequence[ModelConfig], policy: ModelCallPolicy, provider: str | None = None
    ) -> None:
        """`provider` is its name when it is not the one whose API it implements."""
        self.configs = tuple(configs)
        self.policy = policy
        self._provider = provider

    @property
    def provider(self) -> ModelProvider:
        return self.configs[0].provider

    @property
    def model(self) -> str:
        return self.configs[0].model

    @property
    def context_window(self) -> int | None:
        """Tokens that the model takes, prompt and answer together; none when that is not known.

        What the provider itself named counts first.
        """
        named = self.policy.traits.context_window(self.key)
        return named or find_by_model(self.model, self.policy.context_windows)

    @property
    def key(self) -> ModelKey:
        """The preferred model among all of all providers."""
        first = self.configs[0]
        address = first.base_url if isinstance(first, Identified) else str(first.provider)
        return ModelKey(address, first.model)

    @property
    def prices(self) -> Prices | None:
        """None where this process answers itself, so that nothing is paid."""
        return None if isinstance(self.configs[0], OfflineConfig) else self.policy.prices

    @property
    def max_tokens(self) -> int | None:
        """The limit of an answer's tokens that the agent configures."""
        first = self.configs[0]
        return first.max_tokens if isinstance(first, Identified) else None

    def copy(self) -> Self:
        return self  # immutable

    def create(self) -> LLMClient:
        return FallbackClient([self._client_of(config) for config in self.configs])

    def _client_of(self, config: ModelConfig) -> LLMClient:
        policy, model = self.policy, config.model
        name = ModelName(self._provider or str(config.provider), model)
        address = config.base_url if isinstance(config, Identified) else str(config.provider)
        retrying = RetryingClient(
            config.create(),
            name,
            policy.retry,
            policy.clock,
            policy.jitter,
            policy.metrics,
            policy.slots.of(address),
        )
        client: LLMClient = CostRecordingClient(retrying, model, policy.prices, self._provider)
        if policy.cache is not None:
            client = CachingClient(client, policy.cache, _identity(config))
        return TracingClient(client, CalledModel.of(config, self._provider))

    def create_files_client(self) -> Any:
        return self.configs[0].create_files_client()


def _identity(config: ModelConfig) -> list[Any]:
    """What distinguishes a provider's model from all others that may get the same request."""
    return list(config.identity) if isinstance(config, Identified) else [config.model]


class FallbackClient(LLMClient):
    """Calls the next model when the provider does not know the first one or denies access to it.

    Raises the first model's ModelError when none of them answers.
    """

    def __init__(self, clients: Sequence[LLMClient]) -> None:
        self._clients = clients

    async def __call__(
        self,
        messages: Sequence[BaseEvent],
        context: ConversationContext,
        *,
        tools: Iterable[ToolSchema],
        **options: Any,
    ) -> ModelResponse:
        options["tools"] = list(tools)  # an iterator could be read by the first client only
        first, *others = self._clients
        try:
            return await first(messages, context, **options)
        except ModelError as error:
            if error.failure.code not in (MODEL_NOT_FOUND, ACCESS_DENIED.code):
                raise
            for other in others:
                with suppress(ModelError):
                    return await other(messages, context, **options)
            raise


class CostRecordingClient(LLMClient):
    """Names the provider in the response, and records the cost of the call in its meter."""

    def __init__(self, inner: LLMClient, model: str, prices: Prices, provider: str | None) -> None:
        self._inner = inner
        self._model = model
        self._prices = prices
        self._provider = provider

    async def __call__(
        self, messages: Sequence[BaseEvent], context: ConversationContext, **options: Any
    ) -> ModelResponse:
        try:
            response = await self._inner(messages, context, **options)
        except ModelError as error:
            if error.response is not None:
                self._record(error.response, context)
            raise
        self._record(response, context)
        return response

    def _record(self, response: ModelResponse, context: ConversationContext) -> None:
        response.provider = self._provider or response.provider
        tokens = tokens_of(response.usage)
        cost = cost_of(response.model or self._model, tokens, self._prices)
        call_meter_of(context).record_cost(cost, cached=False)
