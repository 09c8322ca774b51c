"""The door as Litestar's guard: for every page and socket of the app, unless it says otherwise."""

from typing import cast

from litestar.enums import ScopeType
from litestar.exceptions import WebSocketException
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Scope
from nats.errors import Error as NatsError

from services.transport.refusals import RefusalError
from services.transport.signin.door import Connection, Door
from services.transport.signin.principal import NOBODY, Who

POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013


async def admitted(asked: Connection, handler: BaseRouteHandler) -> None:
    """Raises RefusalError; for a socket, which is not open yet, WebSocketException."""
    door: Door = asked.app.state.door
    try:
        who = await door.admit(asked, handler)
    except RefusalError as refusal:
        if asked.scope["type"] != ScopeType.WEBSOCKET:
            raise
        raise WebSocketException(code=POLICY_VIOLATION, detail=refusal.code) from refusal
    except (NatsError, OSError) as away:
        if asked.scope["type"] != ScopeType.WEBSOCKET:
            raise
        raise WebSocketException(code=TRY_AGAIN_LATER, detail="SERVICE_UNAVAILABLE") from away
    asked.scope["auth"] = who


def speaker(scope: Scope) -> Who:
    """Whom the request speaks for: nobody, where it did not pass the door."""
    return cast("Who", scope.get("auth") or NOBODY)
