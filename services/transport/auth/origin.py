"""Origin check: which web pages may send requests that change something."""

from urllib.parse import urlsplit

from services.transport.errors import ApiError

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def require_allowed_origin(origin: str | None, host: str, allowed: frozenset[str]) -> None:
    """Raises ApiError for a request that a browser sends for a page of another origin.

    Without an `Origin` header the client is no browser. Our own origin is recognised by its host alone:
    the scheme may be that of a reverse proxy.
    """
    if origin is None or origin in allowed or "*" in allowed:
        return
    if host and _host_of(origin) == host.lower():
        return
    problem = "not allowed: CORS_ORIGINS does not list it"
    raise ApiError("ORIGIN_NOT_ALLOWED", "origin", problem)


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
