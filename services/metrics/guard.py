"""Who may read the numbers, which are those of all tenants: whoever runs the house."""

import hmac
from collections.abc import Callable
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers.base import BaseRouteHandler

Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], None]


def bearer_of(secret: str) -> Guard:
    """Lets in who shows the token, and nobody where it is empty."""

    def refuse_strangers(asked: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        shown = asked.headers.get("authorization", "")
        if not secret or not hmac.compare_digest(shown.encode(), f"Bearer {secret}".encode()):
            raise NotAuthorizedException(
                "token: METRICS_TOKEN is needed: Authorization: Bearer ...",
                headers={"WWW-Authenticate": "Bearer"},
            )

    return refuse_strangers
