"""The keys that the issuer signs with: read when needed, kept while it is away."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from jwt import PyJWK
from jwt.exceptions import PyJWTError
from pydantic import BaseModel, ValidationError

from services.transport.refusals import RefusalError

log = logging.getLogger(__name__)

MOST_KEYS = 64
MOST_BYTES = 262_144
"""Of one document of the issuer."""
READ_SECONDS = 5.0
KEPT_SECONDS = 24 * 3600.0
"""How long keys go on to count, once they are due to be read again, while the issuer is away."""
SIGNING = ("RSA", "EC", "OKP")
"""Kinds of public keys: a shared secret is none, whoever shows it."""


class UnreadableIssuerError(Exception):
    """The issuer showed something that holds no keys; says what."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Where the keys are: told, or found by discovery."""

    name: str | None
    """What `iss` has to be; none: what discovery says."""
    jwks_url: str | None
    discovery_url: str | None
    may_be_plain: bool = False
    """Whether an address without TLS will do."""

    @property
    def addresses(self) -> list[str]:
        """What will be read, as far as that is known before discovery."""
        discovery = None if self.name and self.jwks_url else self.discovery_url
        return [address for address in (self.jwks_url, discovery) if address]


@dataclass(frozen=True, slots=True)
class Key:
    material: Any
    algorithm: str | None
    """The only one it is for, where the issuer says so."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """Whom we trust, and by which keys."""

    issuer: str
    keys: Mapping[str, Key]
    read_at: float


class _Discovery(BaseModel):
    issuer: str
    jwks_uri: str


class _KeySet(BaseModel):
    keys: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Found:
    discovery: _Discovery
    read_at: float


@dataclass(frozen=True, slots=True)
class Patience:
    """In seconds: how long keys and the discovery document count, and the pause between two reads."""

    keys: float
    discovery: float
    pause: float


class KeyRing:
    """The issuer's keys by their ids.

    A key that is not known is looked for at once, but not more often than the pause allows, so that
    tokens of an attacker's making do not become requests to the issuer.
    """

    def __init__(
        self,
        issuer: Issuer,
        http: httpx.AsyncClient,
        patience: Patience,
        clock: Callable[[], float],
    ) -> None:
        self._issuer = issuer
        self._http = http
        self._patience = patience
        self._clock = clock
        self._reading = asyncio.Lock()
        self._next_read = 0.0
        self._trusted: Trusted | None = None
        self._found: _Found | None = None

    async def trusted(self, kid: str) -> Trusted:
        """Whom we trust now, after a look for the key where it is not known. Raises RefusalError."""
        known = self._knows(kid)
        # While one request reads old keys anew, the others go on with those that there are.
        if not known or (self._is_old() and not self._reading.locked()):
            async with self._reading:
                if self._is_worth_reading(kid):
                    await self._read()
        if self._trusted is None or self._clock() >= self._trusted.read_at + self._last_seconds:
            why = "the keys of the issuer cannot be read, try again shortly"
            raise RefusalError("SERVICE_UNAVAILABLE", "token", why)
        return self._trusted

    @property
    def _last_seconds(self) -> float:
        return self._patience.keys + KEPT_SECONDS

    def _knows(self, kid: str) -> bool:
        return self._trusted is not None and kid in self._trusted.keys

    def _is_old(self) -> bool:
        read_at = None if self._trusted is None else self._trusted.read_at
        return read_at is None or self._clock() >= read_at + self._patience.keys

    def _is_worth_reading(self, kid: str) -> bool:
        wanted = self._is_old() or not self._knows(kid)
        return wanted and self._clock() >= self._next_read

    async def _read(self) -> None:
        self._next_read = self._clock() + self._patience.pause
        try:
            async with asyncio.timeout(READ_SECONDS):
                issuer, address = await self._where()
                keys = keys_in(await self._get(address))
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, UnreadableIssuerError) as away:
            self._found = None  # it may have moved
            log.warning("the issuer's keys cannot be read", extra={"why": repr(away)})
        else:
            self._trusted = Trusted(issuer, keys, self._clock())

    async def _where(self) -> tuple[str, str]:
        """The issuer's name, and the address of its keys."""
        told = self._issuer
        if told.jwks_url and told.name:
            return told.name, told.jwks_url
        found = await self._discovered()
        return told.name or found.issuer, told.jwks_url or found.jwks_uri

    async def _discovered(self) -> _Discovery:
        found, now = self._found, self._clock()
        if found is None or now >= found.read_at + self._patience.discovery:
            document = discovery_in(await self._get(self._issuer.discovery_url or ""))
            if not self._issuer.may_be_plain and not is_private(document.jwks_uri):
                raise UnreadableIssuerError("its jwks_uri is neither https nor loopback")
            self._found = found = _Found(document, now)
        return found.discovery

    async def _get(self, address: str) -> bytes:
        whole = bytearray()
        async with self._http.stream("GET", address) as reply:
            if reply.status_code != httpx.codes.OK:
                raise UnreadableIssuerError(f"{address} answers {reply.status_code}")
            async for part in reply.aiter_bytes():
                whole += part
                if len(whole) > MOST_BYTES:
                    raise UnreadableIssuerError(f"{address} is larger than {MOST_BYTES} bytes")
        return bytes(whole)


def is_private(address: str) -> bool:
    """Whether nobody on the way can change what is read there."""
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        return False
    return url.scheme == "https" or (
        url.scheme == "http" and url.host in ("127.0.0.1", "localhost", "::1")
    )


def discovery_in(document: bytes) -> _Discovery:
    """Raises UnreadableIssuerError."""
    try:
        return _Discovery.model_validate_json(document)
    except ValidationError as broken:
        raise UnreadableIssuerError("the discovery document has no issuer and jwks_uri") from broken


def keys_in(document: bytes) -> dict[str, Key]:
    """The public signing keys of a JWK set, by their ids; what is something else is passed by.

    Raises UnreadableIssuerError where there is none.
    """
    try:
        shown = _KeySet.model_validate_json(document).keys
    except ValidationError as broken:
        raise UnreadableIssuerError("the key set is not a list of keys") from broken
    found = {one["kid"]: _key(one) for one in shown[:MOST_KEYS] if _is_for_signing(one)}
    keys = {kid: key for kid, key in found.items() if key is not None}
    if not keys:
        raise UnreadableIssuerError("the key set has no key that signs")
    return keys


def _is_for_signing(shown: Mapping[str, Any]) -> bool:
    kid, use = shown.get("kid"), shown.get("use", "sig")
    return isinstance(kid, str) and shown.get("kty") in SIGNING and use == "sig"


def _key(shown: dict[str, Any]) -> Key | None:
    try:
        return Key(PyJWK(shown).key, shown.get("alg"))
    except (PyJWTError, ValueError, TypeError):
        return None  # of a kind that this release does not know
