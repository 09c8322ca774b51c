from typing import Any

import pytest
from pydantic import ValidationError

from services.transport.settings import Settings

ISSUER = "https://issuer.example/"


def rejected(**settings: Any) -> str:
    with pytest.raises(ValidationError) as error:
        Settings(**settings)
    return str(error.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_a_loopback_address_needs_no_sign_in(host: str) -> None:
    assert not Settings(host=host).authenticates


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "example.com", ""])
def test_other_addresses_need_sign_in_or_an_explicit_setting(host: str) -> None:
    for off in ({}, {"auth_enabled": False}, {"auth_enabled": False, "auth_issuer": ISSUER}):
        message = rejected(host=host, **off)
        assert f"HOST={host}" in message
        assert "AUTH_ISSUER" in message
        assert "AUTH_ALLOW_INSECURE=true" in message
    assert not Settings(host=host, auth_allow_insecure=True).authenticates
    assert Settings(host=host, auth_issuer=ISSUER).authenticates


def test_sign_in_is_on_where_an_issuer_is_configured() -> None:
    assert Settings(auth_issuer=ISSUER).authenticates
    assert Settings(mozaiks_oidc_authority=ISSUER).authenticates
    assert Settings(mozaiks_oidc_discovery_url=ISSUER).authenticates
    assert not Settings(auth_issuer="").authenticates
    assert not Settings(auth_issuer=ISSUER, auth_enabled=False).authenticates


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AUTH_ENABLED", "AUTH_ISSUER", "MOZAIKS_OIDC_AUTHORITY"):
        monkeypatch.setenv(name, "")
    assert not Settings().authenticates
    monkeypatch.setenv("AUTH_ISSUER", ISSUER)
    assert Settings().authenticates


def test_incomplete_sign_in_settings_are_rejected() -> None:
    assert "needs AUTH_ISSUER, MOZAIKS_OIDC_DISCOVERY_URL" in rejected(auth_enabled=True)
    assert "needs AUTH_ISSUER" in rejected(auth_jwks_url=f"{ISSUER}keys")
    assert "AUTH_AUDIENCE" in rejected(auth_issuer=ISSUER, auth_audience=" , ")
    assert "https" in rejected(auth_issuer="http://issuer.example")
    assert Settings(auth_issuer="http://issuer.example", auth_allow_insecure=True).authenticates
    keys = f"{ISSUER}keys"
    assert Settings(auth_issuer="http://issuer.example", auth_jwks_url=keys).authenticates


@pytest.mark.parametrize("algorithms", ["HS256", "RS256,HS256", "none", "RS256,none", "", "rs256"])
def test_only_public_key_algorithms_are_accepted(algorithms: str) -> None:
    assert "AUTH_ALGORITHMS" in rejected(auth_issuer=ISSUER, auth_algorithms=algorithms)


def test_the_discovery_url_follows_the_standard() -> None:
    page = "/.well-known/openid-configuration"
    entra = Settings(mozaiks_oidc_authority="https://login.example/", mozaiks_oidc_tenant_id="t-1")
    configured = Settings(mozaiks_oidc_discovery_url="https://x.example/d", auth_issuer=ISSUER)
    assert Settings(auth_issuer=ISSUER).issuer.discovery_url == f"https://issuer.example{page}"
    assert entra.issuer.discovery_url == f"https://login.example/t-1/v2.0{page}"
    assert (configured.issuer.discovery_url, configured.issuer.name) == (
        "https://x.example/d",
        ISSUER,
    )


def test_a_settings_error_contains_no_other_setting() -> None:
    message = rejected(host="0.0.0.0", nats_url="nats://user:sesame@far")
    assert "sesame" not in message
