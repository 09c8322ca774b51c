"""Litestar guard that authenticates every request and socket of the app."""

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import unquote

from litestar.enums import ScopeType
from litestar.exceptions import WebSocketException
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Scope

from services.chassis.jetstream.storage_health import StorageHealth
from services.chassis.logs.context import bind_log_context, trace_id, user_hash
from services.chassis.tracing.spans import traceparent
from services.transport.auth.authenticate import Authenticator, Connection
from services.transport.auth.principal import ANONYMOUS, Identity
from services.transport.errors import api_error_from


async def authenticate_request(connection: Connection, handler: BaseRouteHandler) -> None:
    """Put the identity into the scope. Raises what `authenticate` raises.

    For a socket, which is not open yet, ApiError and errors of NATS become WebSocketException.
    """
    _bind_log_context(connection.path_params)
    authenticator: Authenticator = connection.app.state.authenticator
    try:
        identity = await authenticator.authenticate(connection, handler)
    except Exception as raised:
        if connection.scope["type"] == ScopeType.WEBSOCKET:
            _refuse_handshake(raised, connection.app.state.services.gateway.storage)
        raise
    connection.scope["auth"] = identity


def _bind_log_context(named: Mapping[str, Any]) -> None:
    """Each line of this request names the app, the chat and the user's hash of its path."""
    app, chat, user = (
        unquote(named[name]) if isinstance(named.get(name), str) else None
        for name in ("app_id", "chat_id", "user_id")
    )
    hashed = None if app is None or user is None else user_hash(app, user)
    bind_log_context(app=app, chat=chat, user=hashed, trace=trace_id(traceparent()))


def _refuse_handshake(raised: Exception, storage: StorageHealth) -> None:
    """Raises WebSocketException where a client gets an error for the exception."""
    error = api_error_from(raised, storage)
    if error is not None:
        raise WebSocketException(code=error.close_code, detail=error.code) from error


def identity_of(scope: Scope) -> Identity:
    """The identity of a request that passed the guard, else ANONYMOUS."""
    return cast("Identity", scope.get("auth") or ANONYMOUS)
