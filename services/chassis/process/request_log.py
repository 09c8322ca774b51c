"""One log line for each HTTP request, and for each socket when it ends."""

import asyncio
import logging
from time import perf_counter

from services.chassis.logs.context import log_context, trace_id
from services.chassis.process.asgi_front import Asgi, Message, Receive, Scope, Send
from services.chassis.tracing.http import traceparent_of

log = logging.getLogger(__name__)

PROBES = frozenset({"/health", "/ready", "/metrics"})
"""What machines ask all the time is logged at DEBUG."""
MAX_PATH_CHARACTERS = 200
NORMAL_CLOSURE = 1000


def log_requests(app: Asgi) -> Asgi:
    """The app with a line at INFO for each request: method, route, status, milliseconds, bytes.

    The route is the template, `/api/chats/{app_id}/{chat_id}`, so that no line has a user's name or a
    token of the query. Within the app, lines belong to the trace of the header `traceparent`.
    """

    async def logged(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        started = perf_counter()
        response = _Response()

        async def observe(message: Message) -> None:
            response.observe(message)
            await send(message)

        async def heed(wait: Receive = receive) -> Message:
            message = await wait()
            if message["type"] == "websocket.disconnect":
                response.status = message.get("code") or response.status
            return message

        with log_context(trace=trace_id(traceparent_of(scope))):
            try:
                await app(scope, heed, observe)
            except asyncio.CancelledError:
                response.cut = True
                raise
            finally:
                _log(scope, response, perf_counter() - started)

    return logged


class _Response:
    """What has been sent of a response, or the code with which a socket ended."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.sent_bytes = 0
        self.cut = False

    def observe(self, message: Message) -> None:
        match message["type"]:
            case "http.response.start":
                self.status = message["status"]
            case "http.response.body":
                self.sent_bytes += len(message.get("body", b""))
            case "websocket.send":
                self.sent_bytes += len(message.get("text") or message.get("bytes") or b"")
            case "websocket.close":
                self.status = message.get("code", NORMAL_CLOSURE)
            case "websocket.http.response.start":
                self.status = message["status"]
            case _:
                pass


def _log(scope: Scope, response: _Response, seconds: float) -> None:
    is_socket = scope["type"] == "websocket"
    path: str = scope["path"]
    level = logging.DEBUG if path in PROBES else logging.INFO
    if not log.isEnabledFor(level):
        return
    fields: dict[str, object] = {
        "method": "WS" if is_socket else scope["method"],
        "route": scope.get("path_template") or path[:MAX_PATH_CHARACTERS],
        "status": response.status,
        "ms": round(seconds * 1000, 1),
        "bytes": response.sent_bytes,
    }
    if response.cut:
        fields["cut"] = True
    log.log(level, "socket" if is_socket else "request", extra=fields)
