"""Spans of HTTP requests, by the semantic conventions of HTTP servers."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from services.chassis.tracing.spans import Span, span

Asgi = Callable[[Any, Any, Any], Awaitable[None]]

_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}
)
_STREAM = b"text/event-stream"


def trace_requests(app: Asgi) -> Asgi:
    """Wrap an ASGI app: each request is a span, of the trace that its header `traceparent` names.

    A stream of events ends its span when it begins, and a socket has none: it only passes on the
    `traceparent` of its handshake. Both may last for days.
    """

    async def handle(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await _request(app, scope, receive, send)
        else:
            await app(scope, receive, send)

    return handle


def traceparent_of(scope: Mapping[str, Any]) -> str | None:
    """What a request or a handshake has as its header `traceparent`, whatever it is."""
    for name, value in scope["headers"]:
        if name == b"traceparent":
            found: str = value.decode("latin-1")
            return found
    return None


async def _request(app: Asgi, scope: dict[str, Any], receive: Any, send: Any) -> None:
    method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
    attributes = {"http.request.method": method, "url.scheme": scope.get("scheme", "http")}
    with span(
        method, "server", parent=traceparent_of(scope), attributes=attributes, is_root=True
    ) as current:
        if not current.is_recording:
            await app(scope, receive, send)
            return

        async def send_and_note(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                _note_response(current, scope, method, message)
            await send(message)

        await app(scope, receive, send_and_note)


def _note_response(
    current: Span, scope: dict[str, Any], method: str, message: dict[str, Any]
) -> None:
    status = message["status"]
    if route := scope.get("path_template"):  # as the router sets it: names, no values
        current.rename(f"{method} {route}")
        current.set({"http.route": route})
    current.set({"http.response.status_code": status})
    if status >= 500:
        current.fail(f"{status}")
    if any(
        name.lower() == b"content-type" and value.startswith(_STREAM)
        for name, value in message.get("headers", ())
    ):
        current.end()
