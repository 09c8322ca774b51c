"""Host allow-list: refuses requests that a web page sends by DNS rebinding."""

import json
from ipaddress import ip_address
from typing import Any

from services.chassis.process.asgi_front import Asgi

_REFUSED = 421
"""Misdirected Request (RFC 9110)."""


def is_allowed_host(host: str | None, allowed: frozenset[str]) -> bool:
    """Whether the `Host` header of a request names this service.

    An attacker's page reaches a local service by a DNS name of its own that resolves to our address,
    and then has the same origin. IP addresses and `localhost` can be no such names. `*.example.com`
    in `allowed` stands for every subdomain. A client without the header is no browser.
    """
    if host is None or "*" in allowed:
        return True
    name = _name_of(host).rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost") or _is_address(name):
        return True
    return name in allowed or any(
        one.startswith("*.") and name.endswith(one[1:]) for one in allowed
    )


def _name_of(host: str) -> str:
    if host.startswith("["):  # an IPv6 address
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def check_host(app: Asgi, allowed: frozenset[str]) -> Asgi:
    """Wrap an ASGI app: 421 for a request, a refused handshake for a socket, of any other host."""

    async def handle(scope: dict[str, Any], receive: Any, send: Any) -> None:
        host = None if scope["type"] == "lifespan" else _host_header(scope)
        if is_allowed_host(host, allowed):
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _refuse(send)

    return handle


def _host_header(scope: dict[str, Any]) -> str | None:
    values = (value for name, value in scope["headers"] if name == b"host")
    value = next(values, None)
    return None if value is None else value.decode("latin-1")


async def _refuse(send: Any) -> None:
    body = json.dumps({"detail": "host: not allowed: ALLOWED_HOSTS does not list it"}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": _REFUSED, "headers": headers})
    await send({"type": "http.response.body", "body": body})
