"""Authentication: finds the identity that a request or socket acts for, by bearer token or ticket."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.handlers.base import BaseRouteHandler

from contracts.ids import AppId, UserId
from services.transport.auth import origin
from services.transport.auth.claims import token_expired
from services.transport.auth.principal import (
    ACCESS_KEY,
    ANONYMOUS,
    UNRESTRICTED,
    Access,
    Identity,
    require_owner,
    require_scope,
)
from services.transport.auth.rate_limit import RateLimiter
from services.transport.auth.tickets import Tickets
from services.transport.errors import ApiError
from services.transport.path_segments import decode_segment

if TYPE_CHECKING:
    from services.transport.auth.jwt import TokenVerifier

Connection = ASGIConnection[Any, Any, Any, Any]

SUBPROTOCOL = "bearer"
"""`Sec-WebSocket-Protocol: bearer, <token>`: a browser can set no other header of a WebSocket."""


class Authenticator:
    """Authenticates and authorizes every connection; without a token verifier sign-in is off."""

    def __init__(
        self,
        verifier: "TokenVerifier | None",
        tickets: Tickets,
        rate_limiter: RateLimiter,
        allowed_origins: frozenset[str],
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        *,
        allow_query_token: bool,
    ) -> None:
        self._verifier = verifier
        self._tickets = tickets
        self._rate_limiter = rate_limiter
        self._allowed_origins = allowed_origins
        self._clock = clock
        self._monotonic = monotonic
        self._allow_query_token = allow_query_token

    async def authenticate(self, connection: Connection, handler: BaseRouteHandler) -> Identity:
        """The identity that the request acts for. Raises ApiError, errors of NATS."""
        if connection.scope.get("method") not in origin.SAFE_METHODS:  # a socket has no method
            host = _header(connection, b"host") or ""
            origin.require_allowed_origin(
                _header(connection, b"origin"), host, self._allowed_origins
            )
        access: Access = handler.opt.get(ACCESS_KEY, "users")
        if access == "everyone":
            client = connection.client
            self._rate_limiter.consume_address(client.host if client else "", self._monotonic())
        if self._verifier is None:
            return UNRESTRICTED
        if access == "everyone":
            return ANONYMOUS
        identity = await self._identify(connection, self._verifier)
        require_scope(identity, access)
        self._authorize(identity, connection)
        return identity

    def _authorize(self, identity: Identity, connection: Connection) -> None:
        """Check the app and the users in the URL; only then count the request against the rate limits."""
        app = _app_in_path(connection)
        require_owner(identity, app, None)
        for user in _users_in_url(connection):
            require_owner(identity, None, user)
        self._rate_limiter.consume(identity, app, self._monotonic())

    async def _identify(self, connection: Connection, verifier: "TokenVerifier") -> Identity:
        token, ticket = bearer_token(connection), None
        if token is None and connection.scope["type"] == ScopeType.WEBSOCKET:
            token, ticket = self._socket_credentials(connection)
        if ticket is not None:
            return self._require_not_expired(await self._tickets.redeem(ticket))
        if token is None:
            problem = "required: send the header Authorization: Bearer <token>"
            raise ApiError("TOKEN_MISSING", "token", problem)
        return await verifier.verify(token, self._clock())

    def _socket_credentials(self, connection: Connection) -> tuple[str | None, str | None]:
        """The token or the ticket that a browser sent to open a socket."""
        token = subprotocol_token(connection)
        if token is not None:
            return token, None
        query = connection.query_params
        token = query.get("access_token") if self._allow_query_token else None
        return token, query.get("ticket")

    def _require_not_expired(self, identity: Identity) -> Identity:
        if identity.expires_at is not None and self._clock() >= identity.expires_at:
            raise token_expired()
        return identity


def _users_in_url(connection: Connection) -> list[UserId]:
    """Every `user_id` in the path and in the query: a handler may use any of them."""
    value = connection.path_params.get("user_id")
    in_path = [] if value is None else [decode_segment(value, "user_id")]
    return [UserId(user) for user in (*in_path, *connection.query_params.getall("user_id", []))]


def _app_in_path(connection: Connection) -> AppId | None:
    value = connection.path_params.get("app_id")
    return None if value is None else AppId(decode_segment(value, "app_id"))


def subprotocol_token(connection: Connection) -> str | None:
    """The token in `Sec-WebSocket-Protocol`."""
    match connection.scope:
        case {"subprotocols": [protocol, str(token)]} if protocol == SUBPROTOCOL:
            return token
        case _:
            return None


def bearer_token(connection: Connection) -> str | None:
    """The token in the header `Authorization`; may be empty, which is then an invalid token."""
    scheme, _, token = (_header(connection, b"authorization") or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _header(connection: Connection, name: bytes) -> str | None:
    """The first value of a header.

    Litestar's `headers` would keep a decoded copy of all headers for as long as the connection lives.
    """
    values = (value for key, value in connection.scope["headers"] if key.lower() == name)
    value = next(values, None)
    return None if value is None else value.decode("latin-1")
