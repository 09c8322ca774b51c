"""JWKS cache: the signing keys of the token issuer, refreshed when needed, kept while it is down."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from jwt import PyJWK
from jwt.exceptions import PyJWTError
from pydantic import BaseModel, ValidationError

from services.transport.auth.issuer import CacheTtl, Issuer, is_https_or_loopback
from services.transport.errors import ApiError
from services.transport.metrics import TransportMetrics

log = logging.getLogger(__name__)

MAX_KEYS = 64
MAX_DOCUMENT_BYTES = 262_144
"""Limit of one document of the issuer."""
FETCH_TIMEOUT_SECONDS = 5.0
STALE_SECONDS = 24 * 3600.0
"""How long expired keys stay in use while the issuer cannot be reached."""
PUBLIC_KEY_TYPES = ("RSA", "EC", "OKP")
"""Key types (`kty`) of public keys: a symmetric key is never accepted."""


class InvalidJwksError(Exception):
    """A document of the issuer from which no keys can be read; the text says why."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    public_key: Any
    algorithm: str | None
    """The only algorithm it may be used with, where the issuer names one."""


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """The keys of the issuer by key id, and when they were read (monotonic seconds)."""

    issuer: str
    keys: Mapping[str, SigningKey]
    fetched_at: float


class _Discovery(BaseModel):
    issuer: str
    jwks_uri: str


class _KeySet(BaseModel):
    keys: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _CachedDiscovery:
    discovery: _Discovery
    fetched_at: float


class JwksCache:
    """The signing keys of one issuer.

    An unknown key id triggers a fetch at once, so that key rotation needs no waiting, but not more
    often than the minimum refresh interval, so that forged tokens do not become requests to the issuer.
    """

    def __init__(
        self,
        issuer: Issuer,
        http: httpx.AsyncClient,
        ttl: CacheTtl,
        clock: Callable[[], float],
        metrics: TransportMetrics | None = None,
    ) -> None:
        self._metrics = metrics
        self._issuer = issuer
        self._http = http
        self._ttl = ttl
        self._clock = clock
        self._refresh_lock = asyncio.Lock()
        self._next_fetch = 0.0
        self._keys: TrustedKeys | None = None
        self._discovery: _CachedDiscovery | None = None

    async def keys_for(self, kid: str) -> TrustedKeys:
        """The current keys, fetched anew where `kid` is not among them. Raises ApiError."""
        is_known = self._has(kid)
        # While one request refreshes expired keys, the others use the expired ones.
        if not is_known or (self._is_expired() and not self._refresh_lock.locked()):
            async with self._refresh_lock:
                if self._should_fetch(kid):
                    await self._fetch()
        if self._keys is None or self._clock() >= self._keys.fetched_at + self._max_age:
            problem = "signing keys of the issuer cannot be read, try again shortly"
            raise ApiError("SERVICE_UNAVAILABLE", "token", problem)
        return self._keys

    @property
    def _max_age(self) -> float:
        return self._ttl.keys + STALE_SECONDS

    def _has(self, kid: str) -> bool:
        return self._keys is not None and kid in self._keys.keys

    def _is_expired(self) -> bool:
        fetched_at = None if self._keys is None else self._keys.fetched_at
        return fetched_at is None or self._clock() >= fetched_at + self._ttl.keys

    def _should_fetch(self, kid: str) -> bool:
        stale = self._is_expired() or not self._has(kid)
        return stale and self._clock() >= self._next_fetch

    async def _fetch(self) -> None:
        self._next_fetch = self._clock() + self._ttl.min_refresh_interval
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_SECONDS):
                issuer, url = await self._issuer_and_jwks_url()
                keys = parse_jwks(await self._download(url))
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, InvalidJwksError) as error:
            self._discovery = None  # the keys may have moved to another URL
            self._count("failed")
            log.warning("signing keys of the issuer cannot be read", extra={"why": repr(error)})
        else:
            self._count("ok")
            self._keys = TrustedKeys(issuer, keys, self._clock())

    def _count(self, outcome: str) -> None:
        if self._metrics is not None:
            self._metrics.key_refreshes.labels(outcome).inc()

    async def _issuer_and_jwks_url(self) -> tuple[str, str]:
        """The required `iss`, and the URL of the keys."""
        issuer = self._issuer
        if issuer.jwks_url and issuer.name:
            return issuer.name, issuer.jwks_url
        cached = await self._discover()
        return issuer.name or cached.issuer, issuer.jwks_url or cached.jwks_uri

    async def _discover(self) -> _Discovery:
        cached, now = self._discovery, self._clock()
        if cached is None or now >= cached.fetched_at + self._ttl.discovery:
            document = parse_discovery(await self._download(self._issuer.discovery_url or ""))
            if not self._issuer.allow_http and not is_https_or_loopback(document.jwks_uri):
                raise InvalidJwksError("jwks_uri is neither https nor loopback")
            self._discovery = cached = _CachedDiscovery(document, now)
        return cached.discovery

    async def _download(self, url: str) -> bytes:
        content = bytearray()
        async with self._http.stream("GET", url) as response:
            if response.status_code != httpx.codes.OK:
                raise InvalidJwksError(f"{url}: HTTP status {response.status_code}")
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_DOCUMENT_BYTES:
                    raise InvalidJwksError(f"{url}: larger than {MAX_DOCUMENT_BYTES} bytes")
        return bytes(content)


def parse_discovery(document: bytes) -> _Discovery:
    """Raises UnreadableIssuerError."""
    try:
        return _Discovery.model_validate_json(document)
    except ValidationError as error:
        raise InvalidJwksError("the discovery document has no issuer and jwks_uri") from error


def parse_jwks(document: bytes) -> dict[str, SigningKey]:
    """The public signing keys of a JWK set by key id; other keys are skipped.

    Raises InvalidJwksError where there is no signing key.
    """
    try:
        jwks = _KeySet.model_validate_json(document).keys
    except ValidationError as error:
        raise InvalidJwksError("the key set is not a list of keys") from error
    signing = {jwk["kid"]: _signing_key(jwk) for jwk in jwks[:MAX_KEYS] if _is_signing_key(jwk)}
    keys = {kid: key for kid, key in signing.items() if key is not None}
    if not keys:
        raise InvalidJwksError("the key set contains no signing key")
    return keys


def _is_signing_key(jwk: Mapping[str, Any]) -> bool:
    kid, use = jwk.get("kid"), jwk.get("use", "sig")
    return isinstance(kid, str) and jwk.get("kty") in PUBLIC_KEY_TYPES and use == "sig"


def _signing_key(jwk: dict[str, Any]) -> SigningKey | None:
    try:
        return SigningKey(PyJWK(jwk).key, jwk.get("alg"))
    except (PyJWTError, ValueError, TypeError):
        return None  # a key type that this release does not support
