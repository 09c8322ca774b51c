"""The door: every request and socket passes it, and is somebody from there on."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.handlers.base import BaseRouteHandler

from contracts.ids import AppId, UserId
from services.transport.addresses import plain
from services.transport.refusals import RefusalError
from services.transport.signin import origins
from services.transport.signin.claims import expired
from services.transport.signin.principal import (
    ANYONE,
    NOBODY,
    OPEN_TO,
    OpenTo,
    Who,
    refuse_stranger,
    refuse_unfit,
)
from services.transport.signin.rates import Rates
from services.transport.signin.tickets import Tickets
from services.transport.signin.tokens import SignIn

Connection = ASGIConnection[Any, Any, Any, Any]

SUBPROTOCOL = "bearer"
"""`Sec-WebSocket-Protocol: bearer, <token>`: a browser can set no other header of a socket."""


class Door:
    """Lets in who has a token for what they ask for; everyone, where sign-in is off."""

    def __init__(
        self,
        sign_in: SignIn | None,
        tickets: Tickets,
        rates: Rates,
        allowed_origins: frozenset[str],
        clock: Callable[[], datetime],
        ticks: Callable[[], float],
        *,
        allow_query_token: bool,
    ) -> None:
        self._sign_in = sign_in
        self._tickets = tickets
        self._rates = rates
        self._allowed_origins = allowed_origins
        self._clock = clock
        self._ticks = ticks
        self._allow_query_token = allow_query_token

    async def admit(self, asked: Connection, handler: BaseRouteHandler) -> Who:
        """Whom the request speaks for. Raises RefusalError, nats errors."""
        if asked.scope.get("method") not in origins.SAFE:  # a socket has no method
            host = _header(asked, b"host") or ""
            origins.refuse_foreign(_header(asked, b"origin"), host, self._allowed_origins)
        open_to: OpenTo = handler.opt.get(OPEN_TO, "users")
        if self._sign_in is None:
            return ANYONE
        if open_to == "everyone":
            return NOBODY
        who = await self._speaker(asked, self._sign_in)
        refuse_unfit(who, open_to)
        self._let_pass(who, asked)
        return who

    def _let_pass(self, who: Who, asked: Connection) -> None:
        """Check whom the address names, and count it as theirs only then."""
        app = _app_of(asked)
        refuse_stranger(who, app, None)
        for user in _users_of(asked):
            refuse_stranger(who, None, user)
        self._rates.take(who, app, self._ticks())

    async def _speaker(self, asked: Connection, sign_in: SignIn) -> Who:
        token, ticket = bearer(asked), None
        if token is None and asked.scope["type"] == ScopeType.WEBSOCKET:
            token, ticket = self._of_socket(asked)
        if ticket is not None:
            return self._still_good(await self._tickets.redeem(ticket))
        if token is None:
            raise RefusalError("TOKEN_MISSING", "token", "is needed: Authorization: Bearer ...")
        return await sign_in.principal(token, self._clock())

    def _of_socket(self, asked: Connection) -> tuple[str | None, str | None]:
        """A token, or a ticket: what a browser can send when it opens a socket."""
        offered = offered_token(asked)
        if offered is not None:
            return offered, None
        query = asked.query_params
        token = query.get("access_token") if self._allow_query_token else None
        return token, query.get("ticket")

    def _still_good(self, who: Who) -> Who:
        if who.until is not None and self._clock() >= who.until:
            raise expired()
        return who


def _users_of(asked: Connection) -> list[UserId]:
    """Every user that the address names: a page may look at any of them."""
    named = asked.path_params.get("user_id")
    in_path = [] if named is None else [plain(named, "user_id")]
    return [UserId(user) for user in (*in_path, *asked.query_params.getall("user_id", []))]


def _app_of(asked: Connection) -> AppId | None:
    named = asked.path_params.get("app_id")
    return None if named is None else AppId(plain(named, "app_id"))


def offered_token(asked: Connection) -> str | None:
    """The token that comes in the place of a subprotocol."""
    match asked.scope:
        case {"subprotocols": [protocol, str(token)]} if protocol == SUBPROTOCOL:
            return token
        case _:
            return None


def bearer(asked: Connection) -> str | None:
    """The token of the header `Authorization`; an empty one is one that is refused."""
    scheme, _, token = (_header(asked, b"authorization") or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _header(asked: Connection, name: bytes) -> str | None:
    """A header's first value.

    Litestar's own `headers` are decoded and kept as long as the connection is, of which thousands sit idle.
    """
    found = (value for key, value in asked.scope["headers"] if key.lower() == name)
    value = next(found, None)
    return None if value is None else value.decode("latin-1")
