"""Where the signing keys of the token issuer are read, and how long they are fresh."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Issuer:
    """Where to read the keys: configured, or found by OpenID Connect discovery."""

    name: str | None
    """The required `iss`; None: the issuer that discovery names."""
    jwks_url: str | None
    discovery_url: str | None
    allow_http: bool = False
    """Whether URLs without TLS are accepted."""

    @property
    def urls(self) -> list[str]:
        """The URLs that are read, as far as they are known before discovery."""
        discovery = None if self.name and self.jwks_url else self.discovery_url
        return [url for url in (self.jwks_url, discovery) if url]


@dataclass(frozen=True, slots=True)
class CacheTtl:
    """Seconds: how long keys and discovery document are fresh, and the least time between two fetches."""

    keys: float
    discovery: float
    min_refresh_interval: float


def is_https_or_loopback(address: str) -> bool:
    """Whether a document at this URL cannot be changed on its way."""
    import httpx  # with rich, 4 MB that a transport without sign-in does not need

    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        return False
    return url.scheme == "https" or (
        url.scheme == "http" and url.host in ("127.0.0.1", "localhost", "::1")
    )
