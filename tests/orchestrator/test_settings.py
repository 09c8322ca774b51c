"""What the orchestrator's environment says of its models."""

import pytest
from pydantic import ValidationError

from contracts.prices import Price
from services.orchestrator.app import Settings


def test_tables_of_prices_and_windows_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MODEL_PRICING_JSON", '{"own": {"prompt": 1, "completion": 2}}')
    monkeypatch.setenv("MODEL_CONTEXT_JSON", '{"own": 4096}')
    settings = Settings()
    assert settings.model_pricing_json == {"own": Price(prompt=1, completion=2)}
    assert settings.model_context_json == {"own": 4096}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODEL_PRICING_JSON", '{"own": {"prompt": -1, "completion": 0}}'),
        ("MODEL_CONTEXT_JSON", '{"own": 0}'),
        ("MODEL_RETRIES", "-1"),
        ("MODEL_WAIT_SECONDS", "soon"),
        ("LLM_DEFAULT_CACHE_SEED", "lucky"),
        ("LLM_CACHE", "perhaps"),
        ("RANDOMIZE_DEFAULT_CACHE_SEED", "perhaps"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()
