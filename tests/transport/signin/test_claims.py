from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.ids import AppId
from services.transport.refusals import RefusalError
from services.transport.signin.claims import Expected, judge

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
    skew=timedelta(seconds=60),
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


def judged(expected: Expected = EXPECTED, **changed: Any) -> Any:
    claims = {name: value for name, value in {**GOOD, **changed}.items() if value is not None}
    return judge(claims, ISSUER, expected, NOON)


def refused(**changed: Any) -> RefusalError:
    with pytest.raises(RefusalError) as refusal:
        judged(**changed)
    return refusal.value


def seconds(offset: float) -> float:
    return NOON.timestamp() + offset


def test_a_good_token_speaks_for_its_user_in_its_app_until_it_runs_out() -> None:
    ana = judged()
    assert (ana.user, ana.apps, ana.scopes) == ("ana", {"acme"}, {"user"})
    assert ana.until == NOON + timedelta(seconds=360)


def test_clocks_may_differ_by_the_skew_and_no_more() -> None:
    assert judged(exp=seconds(-59)).until == NOON + timedelta(seconds=1)
    assert refused(exp=seconds(-60)).code == "TOKEN_EXPIRED"
    assert judged(nbf=seconds(60), iat=seconds(60)).user == "ana"
    assert "(nbf)" in str(refused(nbf=seconds(61)))
    assert "(iat)" in str(refused(iat=seconds(61)))


@pytest.mark.parametrize("exp", [None, "tomorrow", True, float("nan"), float("inf"), 1e300, [1]])
def test_a_token_that_does_not_run_out_is_none(exp: Any) -> None:
    assert refused(exp=exp).status == 401


@pytest.mark.parametrize("iss", [None, "https://issuer.example/", "", 7, [ISSUER]])
def test_the_issuer_is_the_one_we_trust_to_the_letter(iss: Any) -> None:
    assert str(refused(iss=iss)) == "token: is of another issuer"


@pytest.mark.parametrize("aud", [None, "", "api://mozaiks-auth ", [], ["other"], [7], {"a": 1}])
def test_a_token_for_somebody_else_is_refused(aud: Any) -> None:
    assert str(refused(aud=aud)) == "token: is for another audience"


def test_one_audience_of_several_is_enough() -> None:
    assert judged(aud=["other", "another"]).user == "ana"


@pytest.mark.parametrize("sub", [None, "", 7, ["ana"]])
def test_a_token_says_whose_it_is(sub: Any) -> None:
    assert refused(sub=sub).status == 401


def test_scopes_may_come_as_words_as_a_list_or_as_roles() -> None:
    assert judged(scope=None, scp="access_as_user").scopes == {"user"}
    assert judged(scope=None, scp=["access_as_user"]).scopes == {"user"}
    assert judged(scope="x", roles=["mozaiks.internal"]).scopes == {"internal"}
    assert judged(roles=["mozaiks.operator"]).scopes == {"user", "operator"}
    assert judged(scope=None).scopes == set()


def test_no_scope_is_needed_where_none_is_asked_for() -> None:
    fields = {name: getattr(EXPECTED, name) for name in EXPECTED.__dataclass_fields__}
    lenient = Expected(**{**fields, "user_scope": "", "operator_scope": ""})
    assert judged(lenient, scope=None).scopes == {"user"}


def test_an_app_is_named_by_the_token_or_by_the_installation() -> None:
    assert judged(app_id=["acme", "beta", 7]).apps == {"acme", "beta"}
    assert judged(app_id=None).apps == set()
    fields = {name: getattr(EXPECTED, name) for name in EXPECTED.__dataclass_fields__}
    of_one = Expected(**{**fields, "default_app": AppId("only")})
    assert judged(of_one, app_id=None).apps == {"only"}
    assert judged(of_one).apps == {"acme"}


def test_a_person_is_one_user_and_a_back_end_is_any_user_of_its_app() -> None:
    ana, service = judged(), judged(scope="mozaiks.internal", sub="shop")
    assert ana.may_act_for("acme", "ana")
    assert not ana.may_act_for("acme", "bob")
    assert not ana.may_act_for("other", "ana")
    assert service.may_act_for("acme", "bob")
    assert not service.may_act_for("other", "bob")
