"""From which web pages a request may come."""

from urllib.parse import urlsplit

from services.transport.refusals import RefusalError

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def refuse_foreign(origin: str | None, host: str, allowed: frozenset[str]) -> None:
    """Raises RefusalError where a browser says that a page of somebody else is asking.

    Without an origin it is no browser's page. Our own is known by its host: the scheme may be that
    of a proxy in front.
    """
    if origin is None or origin in allowed or "*" in allowed:
        return
    if host and _host_of(origin) == host.lower():
        return
    problem = "pages of this origin may not ask here: CORS_ORIGINS does not name it"
    raise RefusalError("ORIGIN_NOT_ALLOWED", "origin", problem)


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
