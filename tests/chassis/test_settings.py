import pytest
from pydantic import ValidationError

from services.chassis.settings import Settings


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", "nats://elsewhere:4222")
    monkeypatch.setenv("LOGS_AS_JSON", "true")
    settings = Settings()
    assert (settings.nats_url, settings.logs_as_json) == ("nats://elsewhere:4222", True)
    assert (settings.host, settings.log_level) == ("127.0.0.1", "INFO")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LOG_LEVEL", "LOUD"),
        ("LOGS_AS_JSON", "perhaps"),
        ("STREAM_REPLICAS", "0"),
        ("STREAM_REPLICAS", "many"),
        ("DRAIN_SECONDS", "-1"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError, match=variable.lower()):
        Settings()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().host = "0.0.0.0"  # type: ignore[misc]  # the point of the test
