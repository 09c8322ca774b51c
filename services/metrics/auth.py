"""Bearer authentication of the metrics routes, whose numbers are those of all tenants."""

import hmac
from collections.abc import Callable
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers.base import BaseRouteHandler

Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], None]


def require_bearer(secret: str) -> Guard:
    """A guard that requires this token; an empty one refuses every request."""

    def require_token(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        given = connection.headers.get("authorization", "")
        if not secret or not hmac.compare_digest(given.encode(), f"Bearer {secret}".encode()):
            raise NotAuthorizedException(
                "Authorization: expected Bearer and the METRICS_TOKEN",
                headers={"WWW-Authenticate": "Bearer"},
            )

    return require_token
