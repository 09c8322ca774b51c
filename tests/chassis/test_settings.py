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
def test_an_invalid_setting_is_rejected_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError, match=variable.lower()):
        Settings()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().host = "0.0.0.0"  # type: ignore[misc]  # the point of the test


def test_the_error_of_a_setting_contains_no_secret_of_another() -> None:
    with pytest.raises(ValidationError, match="stream_replicas") as broken:
        Settings(nats_url="nats://user:sesame@far", stream_replicas=9)
    assert "sesame" not in str(broken.value)


@pytest.mark.parametrize(
    ("host", "is_ours_alone"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("", False)],
)
def test_only_loopback_addresses_are_limited_to_this_machine(
    host: str, *, is_ours_alone: bool
) -> None:
    assert Settings(host=host).is_loopback is is_ours_alone
