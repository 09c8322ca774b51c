from prometheus_client import CollectorRegistry, generate_latest

from contracts.events.parts import Tokens
from services.chassis.metrics import OTHER
from services.orchestrator.agents.models.metrics import MOST_MODELS, ModelMetrics, ModelName

NAMES = {
    "gen_ai_operation_name": "chat",
    "gen_ai_provider_name": "openai",
    "gen_ai_request_model": "gpt-4o-mini",
}
MODEL = ModelName("openai", "gpt-4o-mini")


def test_a_request_is_measured_by_the_names_of_the_conventions() -> None:
    registry = CollectorRegistry()
    metrics = ModelMetrics(registry)
    metrics.request(MODEL, 2.0, 0.5, None)
    metrics.used(MODEL, Tokens(prompt=100, completion=20))
    metrics.request(MODEL, 1.0, None, "RATE_LIMITED")
    metrics.retried(MODEL, "RATE_LIMITED", 1.5)
    of = registry.get_sample_value
    duration = "gen_ai_client_operation_duration_seconds_sum"
    assert of(duration, {**NAMES, "error_type": ""}) == 2.0
    assert of(duration, {**NAMES, "error_type": "RATE_LIMITED"}) == 1.0
    assert of("gen_ai_client_operation_time_to_first_chunk_seconds_sum", NAMES) == 0.5
    for kind, count in (("input", 100), ("output", 20)):
        used = of("gen_ai_client_token_usage_sum", {**NAMES, "gen_ai_token_type": kind})
        assert used == count
    who = {"provider": "openai", "model": "gpt-4o-mini"}
    assert of("mozaiks_model_retries_total", {**who, "reason": "RATE_LIMITED"}) == 1
    assert of("mozaiks_model_retry_wait_seconds_total", who) == 1.5


def test_the_models_of_a_process_have_a_bounded_number_of_series() -> None:
    registry = CollectorRegistry()
    metrics = ModelMetrics(registry)
    for number in range(10 * MOST_MODELS):
        metrics.request(ModelName("openai", f"model-{number}"), 1.0, None, None)
    page = generate_latest(registry).decode()
    assert page.count("\ngen_ai_client_operation_duration_seconds_count{") == MOST_MODELS + 1
    others = {**NAMES, "gen_ai_request_model": OTHER, "error_type": ""}
    counted = registry.get_sample_value("gen_ai_client_operation_duration_seconds_count", others)
    assert counted == 9 * MOST_MODELS
