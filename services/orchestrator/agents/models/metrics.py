"""Prometheus metrics of the requests to models, also by the names of OpenTelemetry's GenAI conventions."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from contracts.events.parts import Tokens
from services.chassis.consumers.slots import FairSlots
from services.chassis.metrics import LabelCap

MOST_MODELS = 50
"""Models with labels of their own."""
MOST_PROVIDERS = 20
OPERATION = "chat"
"""`gen_ai.operation.name` of every request of ours."""

# The bucket boundaries that the conventions advise.
_TOKENS = tuple(float(4**power) for power in range(14))
_DURATION = tuple(0.01 * 2**power for power in range(14))
_FIRST_CHUNK = (
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    30.0,
    60.0,
)
_MODEL = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")


@dataclass(frozen=True, slots=True)
class ModelName:
    """Whom a request asks: the provider's name and the model's."""

    provider: str
    model: str


class ModelMetrics:
    """Requests to models of one process; a call that is retried makes several."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._duration = Histogram(
            "gen_ai_client_operation_duration_seconds",
            "How long a request to a model took; error_type says why it failed, empty where it did not",
            [*_MODEL, "error_type"],
            buckets=_DURATION,
            registry=registry,
        )
        self._first_chunk = Histogram(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "From a request to a model to the first text of its answer",
            _MODEL,
            buckets=_FIRST_CHUNK,
            registry=registry,
        )
        self._tokens = Histogram(
            "gen_ai_client_token_usage",
            "Tokens of one request (input) and of its answer (output), as the provider counted them",
            [*_MODEL, "gen_ai_token_type"],
            buckets=_TOKENS,
            registry=registry,
        )
        self._retries = Counter(
            "mozaiks_model_retries",
            "Requests to models that were made again, by the reason",
            ["provider", "model", "reason"],
            registry=registry,
        )
        self._waits = Counter(
            "mozaiks_model_retry_wait_seconds",
            "How long calls of models waited before their retries",
            ["provider", "model"],
            registry=registry,
        )
        self._calls = Gauge(
            "mozaiks_model_calls",
            "Requests to models that are in progress, by the host of their provider",
            ["host"],
            registry=registry,
        )
        self._awaited = Gauge(
            "mozaiks_model_calls_awaited",
            "Requests to models that wait because MAX_MODEL_CALLS of their provider are in progress, or"
            " their app's share of them",
            ["host"],
            registry=registry,
        )
        self._host = LabelCap(MOST_PROVIDERS)
        self._model = LabelCap(MOST_MODELS)
        self._provider = LabelCap(MOST_PROVIDERS)

    def request(
        self, name: ModelName, seconds: float, first_chunk: float | None, error: str | None
    ) -> None:
        """A request ended; `error` is the code of its failure."""
        labels = self._labels(name)
        self._duration.labels(*labels, error or "").observe(seconds)
        if first_chunk is not None:
            self._first_chunk.labels(*labels).observe(first_chunk)

    def used(self, name: ModelName, tokens: Tokens) -> None:
        """An answer came with these counts."""
        labels = self._labels(name)
        for kind, count in (("input", tokens.prompt), ("output", tokens.completion)):
            if count is not None:
                self._tokens.labels(*labels, kind).observe(count)

    def retried(self, name: ModelName, reason: str, wait_seconds: float) -> None:
        """A request is made again after a wait."""
        provider, model = self._provider(name.provider), self._model(name.model)
        self._retries.labels(provider, model, reason).inc()
        self._waits.labels(provider, model).inc(wait_seconds)

    def count_calls(self, address: str, slots: FairSlots) -> None:
        """The requests to one provider have become more or less."""
        host = self._host(urlsplit(address).netloc or address)
        self._calls.labels(host).set(slots.in_use)
        self._awaited.labels(host).set(slots.waiting)

    def _labels(self, name: ModelName) -> tuple[str, str, str]:
        return OPERATION, self._provider(name.provider), self._model(name.model)
