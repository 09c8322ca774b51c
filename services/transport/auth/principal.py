"""Identities, scopes and the rules of access: which apps and users a request may act for. Pure."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from contracts.ids import AppId, UserId
from services.transport.errors import ApiError

Scope = Literal["user", "internal", "operator"]
"""A user of chats, the back end of an app, which acts for the users of its apps, and the operator."""

Access = Literal["everyone", "users", "services", "administrators", "operators"]
"""Who may use a route; by default `users`: signed-in users and the back ends of their apps.

`administrators` are the back ends of the app and operators whose token names it.
"""

ACCESS_KEY = "access"
"""The key of a handler's `opt` that holds its access level."""


def access(access: Access) -> dict[str, Access]:
    """Declares the access level of a route: `@get(path, opt=access("operators"))`."""
    return {ACCESS_KEY: access}


_SCOPES: dict[Access, frozenset[Scope]] = {
    "users": frozenset({"user", "internal"}),
    "services": frozenset({"internal"}),
    "administrators": frozenset({"internal", "operator"}),
    "operators": frozenset({"operator"}),
}


class Identity(BaseModel, ABC):
    """Who a request acts for: a `Principal`, or `Unrestricted`."""

    model_config = ConfigDict(frozen=True)

    expires_at: datetime | None

    @abstractmethod
    def has_scope(self, scope: Scope) -> bool: ...

    @abstractmethod
    def can_access_app(self, app: AppId) -> bool: ...

    @abstractmethod
    def can_act_as(self, user: UserId) -> bool: ...

    @abstractmethod
    def role_among(self, roles: Sequence[str]) -> str | None:
        """The first of these roles that the request has; None if it has none of them."""

    def can_act_for(self, app: AppId, user: UserId) -> bool:
        return self.can_access_app(app) and self.can_act_as(user)


class Principal(Identity):
    """The identity of a verified token, until it expires."""

    kind: Literal["principal"] = "principal"
    user: UserId
    apps: frozenset[AppId]
    scopes: frozenset[Scope]
    roles: frozenset[str] = frozenset()
    expires_at: datetime

    def has_scope(self, scope: Scope) -> bool:
        return scope in self.scopes

    def can_access_app(self, app: AppId) -> bool:
        return app in self.apps

    def can_act_as(self, user: UserId) -> bool:
        return user == self.user or self.has_scope("internal")

    def role_among(self, roles: Sequence[str]) -> str | None:
        return next((role for role in roles if role in self.roles), None)


class Unrestricted(Identity):
    """Sign-in is off: a request may act for any app and user."""

    kind: Literal["unrestricted"] = "unrestricted"
    expires_at: None = None

    def has_scope(self, scope: Scope) -> bool:  # noqa: ARG002
        return True

    def can_access_app(self, app: AppId) -> bool:  # noqa: ARG002
        return True

    def can_act_as(self, user: UserId) -> bool:  # noqa: ARG002
        return True

    def role_among(self, roles: Sequence[str]) -> str | None:
        return next(iter(roles), None)


UNRESTRICTED = Unrestricted()
ANONYMOUS = Principal(
    user=UserId(""),
    apps=frozenset(),
    scopes=frozenset(),
    expires_at=datetime(1970, 1, 1, tzinfo=UTC),
)
"""The identity on routes that need no sign-in: it has access to nothing."""


def require_scope(identity: Identity, access: Access) -> None:
    """Raises ApiError where the identity has no scope for this access level."""
    accepted = _SCOPES.get(access, frozenset())
    if accepted and not any(identity.has_scope(scope) for scope in accepted):
        raise ApiError("SCOPE_MISSING", "token", f"scope is missing: this is open to {access} only")


def require_owner(identity: Identity, app: AppId | None, user: UserId | None) -> None:
    """Raises ApiError where the identity may not act for the app or the user.

    It is checked before anything is looked up, so the error reveals nothing about what exists.
    """
    if app is not None and not identity.can_access_app(app):
        raise ApiError("NOT_YOURS", "app_id", "not an app of this token")
    if user is not None and not identity.can_act_as(user):
        raise ApiError("NOT_YOURS", "user_id", "not the user of this token")
