from typing import Any

import pytest
from pydantic import ValidationError

from services.transport.app import Settings

ISSUER = "https://issuer.example/"


def refused(**settings: Any) -> str:
    with pytest.raises(ValidationError) as broken:
        Settings(**settings)
    return str(broken.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_a_newcomer_on_loopback_needs_no_sign_in(host: str) -> None:
    assert not Settings(host=host).signs_in


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "example.com", ""])
def test_the_network_is_not_let_in_unless_somebody_says_so(host: str) -> None:
    for off in ({}, {"auth_enabled": False}, {"auth_enabled": False, "auth_issuer": ISSUER}):
        said = refused(host=host, **off)
        assert f"HOST={host}" in said
        assert "AUTH_ISSUER" in said
        assert "AUTH_ALLOW_INSECURE=true" in said
    assert not Settings(host=host, auth_allow_insecure=True).signs_in
    assert Settings(host=host, auth_issuer=ISSUER).signs_in


def test_sign_in_is_on_where_an_issuer_is_given() -> None:
    assert Settings(auth_issuer=ISSUER).signs_in
    assert Settings(mozaiks_oidc_authority=ISSUER).signs_in
    assert Settings(mozaiks_oidc_discovery_url=ISSUER).signs_in
    assert not Settings(auth_issuer="").signs_in
    assert not Settings(auth_issuer=ISSUER, auth_enabled=False).signs_in


def test_a_variable_that_is_set_to_nothing_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AUTH_ENABLED", "AUTH_ISSUER", "MOZAIKS_OIDC_AUTHORITY"):
        monkeypatch.setenv(name, "")
    assert not Settings().signs_in
    monkeypatch.setenv("AUTH_ISSUER", ISSUER)
    assert Settings().signs_in


def test_sign_in_without_all_that_it_needs_does_not_start() -> None:
    assert "needs AUTH_ISSUER, MOZAIKS_OIDC_DISCOVERY_URL" in refused(auth_enabled=True)
    assert "needs AUTH_ISSUER" in refused(auth_jwks_url=f"{ISSUER}keys")
    assert "AUTH_AUDIENCE" in refused(auth_issuer=ISSUER, auth_audience=" , ")
    assert "https" in refused(auth_issuer="http://issuer.example")
    assert Settings(auth_issuer="http://issuer.example", auth_allow_insecure=True).signs_in
    keys = f"{ISSUER}keys"
    assert Settings(auth_issuer="http://issuer.example", auth_jwks_url=keys).signs_in


@pytest.mark.parametrize("algorithms", ["HS256", "RS256,HS256", "none", "RS256,none", "", "rs256"])
def test_no_algorithm_is_allowed_by_which_anyone_could_sign(algorithms: str) -> None:
    assert "AUTH_ALGORITHMS" in refused(auth_issuer=ISSUER, auth_algorithms=algorithms)


def test_discovery_is_where_the_standard_has_it() -> None:
    page = "/.well-known/openid-configuration"
    entra = Settings(mozaiks_oidc_authority="https://login.example/", mozaiks_oidc_tenant_id="t-1")
    told = Settings(mozaiks_oidc_discovery_url="https://x.example/d", auth_issuer=ISSUER)
    assert Settings(auth_issuer=ISSUER).issuer.discovery_url == f"https://issuer.example{page}"
    assert entra.issuer.discovery_url == f"https://login.example/t-1/v2.0{page}"
    assert (told.issuer.discovery_url, told.issuer.name) == ("https://x.example/d", ISSUER)


def test_a_transport_that_does_not_start_says_nothing_but_why() -> None:
    said = refused(host="0.0.0.0", nats_url="nats://user:sesame@far")
    assert "sesame" not in said
