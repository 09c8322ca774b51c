"""What the claims of a token say, once its signature is known to be good."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from contracts.ids import AppId, UserId
from services.transport.refusals import RefusalError
from services.transport.signin.principal import Principal, Scope

Claims = Mapping[str, Any]

FAR = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token has to say, and by which names it says it."""

    audiences: frozenset[str]
    user_claim: str
    app_claim: str
    roles_claim: str
    default_app: AppId | None
    """The app of a token that names none."""
    user_scope: str
    """Empty: every token of this audience is a user's."""
    internal_scope: str
    operator_scope: str
    skew: timedelta


def judge(claims: Claims, issuer: str, expected: Expected, now: datetime) -> Principal:
    """Raises RefusalError."""
    until = _until(claims, expected.skew, now)
    if claims.get("iss") != issuer:
        raise invalid("is of another issuer")
    if not expected.audiences & _texts(claims.get("aud")):
        raise invalid("is for another audience")
    return Principal(
        user=_user(claims, expected.user_claim),
        apps=_apps(claims, expected),
        scopes=_scopes(claims, expected),
        until=until,
    )


def invalid(problem: str) -> RefusalError:
    return RefusalError("TOKEN_INVALID", "token", problem)


def expired() -> RefusalError:
    return RefusalError("TOKEN_EXPIRED", "token", "has run out")


def _until(claims: Claims, skew: timedelta, now: datetime) -> datetime:
    """Until when it is good, the clocks' difference included."""
    apart, instant = skew.total_seconds(), now.timestamp()
    ends = _instant(claims, "exp")
    if ends is None:
        raise invalid("does not say when it runs out (exp)")
    if instant >= ends + apart:
        raise expired()
    for begin in ("nbf", "iat"):
        begins = _instant(claims, begin)
        if begins is not None and instant < begins - apart:
            raise invalid(f"is not good yet ({begin})")
    return datetime.fromtimestamp(min(ends + apart, FAR), UTC)


def _instant(claims: Claims, name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= FAR:
        raise invalid(f"has a claim that is no time ({name})")
    return float(value)


def _user(claims: Claims, name: str) -> UserId:
    user = claims.get(name)
    if not isinstance(user, str) or not user:
        raise invalid(f"does not say whose it is ({name})")
    return UserId(user)


def _apps(claims: Claims, expected: Expected) -> frozenset[AppId]:
    named = _texts(claims.get(expected.app_claim))
    if not named and expected.default_app is not None:
        return frozenset({expected.default_app})
    return frozenset(AppId(app) for app in named)


def _scopes(claims: Claims, expected: Expected) -> frozenset[Scope]:
    granted = {
        *_words(claims.get("scope")),
        *_words(claims.get("scp")),
        *_words(claims.get(expected.roles_claim)),
    }
    names: dict[Scope, str] = {
        "internal": expected.internal_scope,
        "operator": expected.operator_scope,
    }
    held = {scope for scope, name in names.items() if name in granted}
    if expected.user_scope in granted or not expected.user_scope:
        held.add("user")
    return frozenset(held)


def _texts(value: object) -> frozenset[str]:
    match value:
        case str():
            return frozenset({value} - {""})
        case list():
            return frozenset(one for one in value if isinstance(one, str) and one)
        case _:
            return frozenset()


def _words(value: object) -> frozenset[str]:
    return frozenset(value.split()) if isinstance(value, str) else _texts(value)
