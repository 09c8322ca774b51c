"""Validation of the claims of a token whose signature is already verified. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from contracts.ids import AppId, UserId
from services.transport.auth.principal import Principal, Scope
from services.transport.errors import ApiError

Claims = Mapping[str, Any]

MAX_TIMESTAMP = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True)
class Expected:
    """What the claims of a token must contain, and the names of the claims."""

    audiences: frozenset[str]
    user_claim: str
    app_claim: str
    roles_claim: str
    default_app: AppId | None
    """The app of a token without an app claim."""
    user_scope: str
    """Empty: every token of this audience has the user scope."""
    internal_scope: str
    operator_scope: str
    clock_skew: timedelta


def principal_from_claims(
    claims: Claims, issuer: str, expected: Expected, now: datetime
) -> Principal:
    """The principal that the claims describe. Raises ApiError."""
    expires_at = _valid_until(claims, expected.clock_skew, now)
    if claims.get("iss") != issuer:
        raise invalid_token("issuer (iss) is not accepted")
    if not expected.audiences & _strings(claims.get("aud")):
        raise invalid_token("audience (aud) is not accepted")
    return Principal(
        user=_user(claims, expected.user_claim),
        apps=_apps(claims, expected),
        scopes=_scopes(claims, expected),
        roles=_scope_names(claims.get(expected.roles_claim)),
        expires_at=expires_at,
    )


def invalid_token(problem: str) -> ApiError:
    return ApiError("TOKEN_INVALID", "token", problem)


def token_expired() -> ApiError:
    return ApiError("TOKEN_EXPIRED", "token", "expired")


def _valid_until(claims: Claims, clock_skew: timedelta, now: datetime) -> datetime:
    """When the token expires, clock skew included. Raises ApiError."""
    skew, timestamp = clock_skew.total_seconds(), now.timestamp()
    expires = _timestamp_claim(claims, "exp")
    if expires is None:
        raise invalid_token("expiry (exp) is missing")
    if timestamp >= expires + skew:
        raise token_expired()
    for claim in ("nbf", "iat"):
        starts = _timestamp_claim(claims, claim)
        if starts is not None and timestamp < starts - skew:
            raise invalid_token(f"not valid yet ({claim})")
    return datetime.fromtimestamp(min(expires + skew, MAX_TIMESTAMP), UTC)


def _timestamp_claim(claims: Claims, name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not abs(value) <= MAX_TIMESTAMP
    ):
        raise invalid_token(f"claim {name} is not a timestamp")
    return float(value)


def _user(claims: Claims, name: str) -> UserId:
    user = claims.get(name)
    if not isinstance(user, str) or not user:
        raise invalid_token(f"user claim ({name}) is missing")
    return UserId(user)


def _apps(claims: Claims, expected: Expected) -> frozenset[AppId]:
    apps = _strings(claims.get(expected.app_claim))
    if not apps and expected.default_app is not None:
        return frozenset({expected.default_app})
    return frozenset(AppId(app) for app in apps)


def _scopes(claims: Claims, expected: Expected) -> frozenset[Scope]:
    granted = {
        *_scope_names(claims.get("scope")),
        *_scope_names(claims.get("scp")),
        *_scope_names(claims.get(expected.roles_claim)),
    }
    scope_names: dict[Scope, str] = {
        "internal": expected.internal_scope,
        "operator": expected.operator_scope,
    }
    scopes = {scope for scope, name in scope_names.items() if name in granted}
    if expected.user_scope in granted or not expected.user_scope:
        scopes.add("user")
    return frozenset(scopes)


def _strings(value: object) -> frozenset[str]:
    match value:
        case str():
            return frozenset({value} - {""})
        case list():
            return frozenset(item for item in value if isinstance(item, str) and item)
        case _:
            return frozenset()


def _scope_names(value: object) -> frozenset[str]:
    return frozenset(value.split()) if isinstance(value, str) else _strings(value)
