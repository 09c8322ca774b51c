"""Security headers of every HTTP response: what a browser may do with it."""

from typing import Any

from services.chassis.process.asgi_front import Asgi

DEFAULTS = {
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
"""For answers that are data; a page brings its own content-security-policy (OWASP Secure Headers)."""


def add_security_headers(app: Asgi) -> Asgi:
    """Wrap an ASGI app: each response gets the headers of DEFAULTS that it does not have."""

    async def handle(scope: dict[str, Any], receive: Any, send: Any) -> None:
        async def send_with_headers(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                names = {name.lower() for name, _ in given}
                missing = [item for item in DEFAULTS.items() if item[0] not in names]
                message = {**message, "headers": given + missing}
            await send(message)

        await app(scope, receive, send_with_headers if scope["type"] == "http" else send)

    return handle
