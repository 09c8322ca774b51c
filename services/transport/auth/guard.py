"""Litestar guard that authenticates every request and socket of the app."""

from typing import cast

from litestar.enums import ScopeType
from litestar.exceptions import WebSocketException
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Scope

from services.chassis.jetstream.storage_health import StorageHealth
from services.transport.auth.authenticate import Authenticator, Connection
from services.transport.auth.principal import ANONYMOUS, Identity
from services.transport.errors import api_error_from


async def authenticate_request(connection: Connection, handler: BaseRouteHandler) -> None:
    """Put the identity into the scope. Raises what `authenticate` raises.

    For a socket, which is not open yet, ApiError and errors of NATS become WebSocketException.
    """
    authenticator: Authenticator = connection.app.state.authenticator
    try:
        identity = await authenticator.authenticate(connection, handler)
    except Exception as raised:
        if connection.scope["type"] == ScopeType.WEBSOCKET:
            _refuse_handshake(raised, connection.app.state.services.gateway.storage)
        raise
    connection.scope["auth"] = identity


def _refuse_handshake(raised: Exception, storage: StorageHealth) -> None:
    """Raises WebSocketException where a client gets an error for the exception."""
    error = api_error_from(raised, storage)
    if error is not None:
        raise WebSocketException(code=error.close_code, detail=error.code) from error


def identity_of(scope: Scope) -> Identity:
    """The identity of a request that passed the guard, else ANONYMOUS."""
    return cast("Identity", scope.get("auth") or ANONYMOUS)
