"""The settings of the orchestrator, read from its environment."""

import pytest
from pydantic import ValidationError

from contracts.prices import Price
from services.orchestrator.settings import Settings


def test_tables_of_prices_and_windows_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MODEL_PRICING_JSON", '{"own": {"prompt": 1, "completion": 2}}')
    monkeypatch.setenv("MODEL_CONTEXT_WINDOWS_JSON", '{"own": 4096}')
    settings = Settings()
    assert settings.model_pricing_json == {"own": Price(prompt=1, completion=2)}
    assert settings.model_context_windows_json == {"own": 4096}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODEL_PRICING_JSON", '{"own": {"prompt": -1, "completion": 0}}'),
        ("MODEL_CONTEXT_WINDOWS_JSON", '{"own": 0}'),
        ("MODEL_MAX_RETRIES", "-1"),
        ("MODEL_MAX_WAIT_SECONDS", "soon"),
        ("LLM_DEFAULT_CACHE_SEED", "lucky"),
        ("LLM_CACHE_ENABLED", "perhaps"),
        ("RANDOMIZE_DEFAULT_CACHE_SEED", "perhaps"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


RELOADING = [{}, {"ENVIRONMENT": "production", "CLEAR_TOOL_CACHE_ON_START": "true"}]
NOT_RELOADING = [{"ENVIRONMENT": "Production"}, {"CLEAR_TOOL_CACHE_ON_START": "0"}]


def settings_of(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Settings:
    for name in ("ENVIRONMENT", "CLEAR_TOOL_CACHE_ON_START"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings()


@pytest.mark.parametrize("environment", RELOADING)
def test_changes_are_loaded_by_default_and_if_configured(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    assert settings_of(monkeypatch, environment).reload_workflows


@pytest.mark.parametrize("environment", NOT_RELOADING)
def test_changes_are_not_loaded_in_production_and_if_configured(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    assert not settings_of(monkeypatch, environment).reload_workflows
