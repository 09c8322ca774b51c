"""Whom a request speaks for, and what they may touch."""

from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from contracts.ids import AppId, UserId
from services.transport.refusals import RefusalError

Scope = Literal["user", "internal", "operator"]
"""A person in a chat, an app's own back end that speaks for its people, who runs the house."""

OpenTo = Literal["everyone", "users", "services", "operators"]
"""Who may ask for a page: without a word of its own, signed-in users and their app's services."""

OPEN_TO = "open_to"
"""Under this name a handler's `opt` says whom it is open to."""


def open_to(whom: OpenTo) -> dict[str, OpenTo]:
    """How a page says it: `@get(path, opt=open_to(...))`."""
    return {OPEN_TO: whom}


_SCOPES: dict[OpenTo, frozenset[Scope]] = {
    "users": frozenset({"user", "internal"}),
    "services": frozenset({"internal"}),
    "operators": frozenset({"operator"}),
}


class Who(BaseModel, ABC):
    """Whom a request speaks for: a `Principal`, or `Anyone`."""

    model_config = ConfigDict(frozen=True)

    until: datetime | None

    @abstractmethod
    def has(self, scope: Scope) -> bool: ...

    @abstractmethod
    def may_enter(self, app: AppId) -> bool: ...

    @abstractmethod
    def may_be(self, user: UserId) -> bool: ...

    def may_act_for(self, app: AppId, user: UserId) -> bool:
        return self.may_enter(app) and self.may_be(user)


class Principal(Who):
    """Whom a token speaks for, until it runs out."""

    kind: Literal["principal"] = "principal"
    user: UserId
    apps: frozenset[AppId]
    scopes: frozenset[Scope]
    until: datetime

    def has(self, scope: Scope) -> bool:
        return scope in self.scopes

    def may_enter(self, app: AppId) -> bool:
        return app in self.apps

    def may_be(self, user: UserId) -> bool:
        return user == self.user or self.has("internal")


class Anyone(Who):
    """Sign-in is off: a request speaks for whomever it names."""

    kind: Literal["anyone"] = "anyone"
    until: None = None

    def has(self, scope: Scope) -> bool:  # noqa: ARG002
        return True

    def may_enter(self, app: AppId) -> bool:  # noqa: ARG002
        return True

    def may_be(self, user: UserId) -> bool:  # noqa: ARG002
        return True


ANYONE = Anyone()
NOBODY = Principal(
    user=UserId(""),
    apps=frozenset(),
    scopes=frozenset(),
    until=datetime(1970, 1, 1, tzinfo=UTC),
)
"""Whom a page that is open to everyone is asked by: there is no chat of theirs."""


def refuse_unfit(who: Who, open_to: OpenTo) -> None:
    """Raises RefusalError where a page is not for their kind."""
    wanted = _SCOPES.get(open_to, frozenset())
    if wanted and not any(who.has(scope) for scope in wanted):
        raise RefusalError("SCOPE_MISSING", "token", f"this is open to {open_to} only")


def refuse_stranger(who: Who, app: AppId | None, user: UserId | None) -> None:
    """Raises RefusalError where an app or a user is named that the token does not speak for.

    It is said before anyone looks whether there is such an app or user, so it tells nothing.
    """
    if app is not None and not who.may_enter(app):
        raise RefusalError("NOT_YOURS", "app_id", "is not an app of this token")
    if user is not None and not who.may_be(user):
        raise RefusalError("NOT_YOURS", "user_id", "is not the user of this token")
