from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.ids import AppId
from services.transport.auth.claims import Expected, principal_from_claims
from services.transport.errors import ApiError

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
ISSUER = "https://issuer.example"
EXPECTED = Expected(
    audiences=frozenset({"api://mozaiks-auth", "another"}),
    user_claim="sub",
    app_claim="app_id",
    roles_claim="roles",
    default_app=None,
    user_scope="access_as_user",
    internal_scope="mozaiks.internal",
    operator_scope="mozaiks.operator",
    clock_skew=timedelta(seconds=60),
)
GOOD = {
    "iss": ISSUER,
    "aud": "api://mozaiks-auth",
    "sub": "ana",
    "app_id": "acme",
    "scope": "openid access_as_user",
    "iat": NOON.timestamp() - 10,
    "exp": NOON.timestamp() + 300,
}


def validated(expected: Expected = EXPECTED, **changed: Any) -> Any:
    claims = {name: value for name, value in {**GOOD, **changed}.items() if value is not None}
    return principal_from_claims(claims, ISSUER, expected, NOON)


def rejected(**changed: Any) -> ApiError:
    with pytest.raises(ApiError) as raised:
        validated(**changed)
    return raised.value


def seconds(offset: float) -> float:
    return NOON.timestamp() + offset


def test_a_valid_token_gives_a_principal_with_user_apps_scopes_and_expiry() -> None:
    ana = validated()
    assert (ana.user, ana.apps, ana.scopes) == ("ana", {"acme"}, {"user"})
    assert ana.expires_at == NOON + timedelta(seconds=360)


def test_clocks_may_differ_by_the_clock_skew_and_no_more() -> None:
    assert validated(exp=seconds(-59)).expires_at == NOON + timedelta(seconds=1)
    assert rejected(exp=seconds(-60)).code == "TOKEN_EXPIRED"
    assert validated(nbf=seconds(60), iat=seconds(60)).user == "ana"
    assert "(nbf)" in str(rejected(nbf=seconds(61)))
    assert "(iat)" in str(rejected(iat=seconds(61)))


@pytest.mark.parametrize("exp", [None, "tomorrow", True, float("nan"), float("inf"), 1e300, [1]])
def test_a_token_without_a_valid_expiry_is_rejected(exp: Any) -> None:
    assert rejected(exp=exp).status == 401


@pytest.mark.parametrize("iss", [None, "https://issuer.example/", "", 7, [ISSUER]])
def test_the_issuer_must_match_exactly(iss: Any) -> None:
    assert str(rejected(iss=iss)) == "token: issuer (iss) is not accepted"


@pytest.mark.parametrize("aud", [None, "", "api://mozaiks-auth ", [], ["other"], [7], {"a": 1}])
def test_a_token_for_another_audience_is_rejected(aud: Any) -> None:
    assert str(rejected(aud=aud)) == "token: audience (aud) is not accepted"


def test_one_audience_of_several_is_enough() -> None:
    assert validated(aud=["other", "another"]).user == "ana"


@pytest.mark.parametrize("sub", [None, "", 7, ["ana"]])
def test_a_token_without_a_user_is_rejected(sub: Any) -> None:
    assert rejected(sub=sub).status == 401


def test_scopes_are_read_from_a_string_from_a_list_or_from_roles() -> None:
    assert validated(scope=None, scp="access_as_user").scopes == {"user"}
    assert validated(scope=None, scp=["access_as_user"]).scopes == {"user"}
    assert validated(scope="x", roles=["mozaiks.internal"]).scopes == {"internal"}
    assert validated(roles=["mozaiks.operator"]).scopes == {"user", "operator"}
    assert validated(scope=None).scopes == set()


def test_without_a_required_scope_every_token_is_one_of_a_user() -> None:
    fields = {name: getattr(EXPECTED, name) for name in EXPECTED.__dataclass_fields__}
    lenient = Expected(**{**fields, "user_scope": "", "operator_scope": ""})
    assert validated(lenient, scope=None).scopes == {"user"}


def test_apps_come_from_the_token_or_from_the_configured_default() -> None:
    assert validated(app_id=["acme", "beta", 7]).apps == {"acme", "beta"}
    assert validated(app_id=None).apps == set()
    fields = {name: getattr(EXPECTED, name) for name in EXPECTED.__dataclass_fields__}
    of_one = Expected(**{**fields, "default_app": AppId("only")})
    assert validated(of_one, app_id=None).apps == {"only"}
    assert validated(of_one).apps == {"acme"}


def test_a_user_acts_as_one_user_and_a_back_end_as_any_user_of_its_apps() -> None:
    ana, service = validated(), validated(scope="mozaiks.internal", sub="shop")
    assert ana.can_act_for("acme", "ana")
    assert not ana.can_act_for("acme", "bob")
    assert not ana.can_act_for("other", "ana")
    assert service.can_act_for("acme", "bob")
    assert not service.can_act_for("other", "bob")
