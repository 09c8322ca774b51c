"""The models of a process, as its settings and its environment configure them."""

from collections.abc import Mapping
from random import SystemRandom

import httpx2
from prometheus_client import CollectorRegistry

from contracts.prices import with_own_prices
from services.orchestrator.agents.models.call_slots import ModelSlots
from services.orchestrator.agents.models.client import ModelCallPolicy
from services.orchestrator.agents.models.context_windows import CONTEXT_WINDOWS
from services.orchestrator.agents.models.metrics import ModelMetrics
from services.orchestrator.agents.models.providers import (
    ModelFactory,
    Provider,
    build_model_factory,
    default_provider,
)
from services.orchestrator.agents.models.response_cache import ResponseCache
from services.orchestrator.agents.models.retry import Clock, RetryPolicy
from services.orchestrator.settings import Settings


def configured_models(
    settings: Settings,
    environment: Mapping[str, str],
    client: httpx2.AsyncClient,
    clock: Clock,
    cache: ResponseCache | None = None,
    metrics: ModelMetrics | None = None,
) -> ModelFactory:
    """Raises ModelNotConfiguredError where the default provider's key is missing."""
    return build_model_factory(
        _provider(settings, environment),
        client,
        settings.demo_word_delay_seconds,
        environment,
        _call_policy(settings, clock, cache, metrics or ModelMetrics(CollectorRegistry())),
    )


def _provider(settings: Settings, environment: Mapping[str, str]) -> Provider | None:
    """The default provider, None for the demo model: its API key is not set."""
    name = settings.default_llm_provider
    openai_base_url = settings.openai_base_url if name == "openai" else None
    return default_provider(
        name,
        settings.default_llm_model,
        environment,
        base_url=settings.default_llm_base_url or openai_base_url,
        temperature=settings.default_llm_temperature,
        fallback=settings.openai_model_fallback,
        max_tokens=settings.default_llm_max_tokens,
        thinking=settings.default_llm_thinking,
    )


def _call_policy(
    settings: Settings, clock: Clock, cache: ResponseCache | None, metrics: ModelMetrics
) -> ModelCallPolicy:
    return ModelCallPolicy(
        clock=clock,
        jitter=SystemRandom().random,
        retry=RetryPolicy(settings.model_max_retries, settings.model_max_wait_seconds),
        prices=with_own_prices(settings.model_pricing_json),
        context_windows={**CONTEXT_WINDOWS, **settings.model_context_windows_json},
        cache=cache,
        slots=ModelSlots(settings.model_shares, metrics.count_calls),
        metrics=metrics,
    )
