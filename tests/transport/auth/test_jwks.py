import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from services.transport.auth import jwks
from services.transport.auth.issuer import CacheTtl
from services.transport.auth.issuer import Issuer as IssuerConfig
from services.transport.auth.jwks import (
    InvalidJwksError,
    JwksCache,
    parse_discovery,
    parse_jwks,
)
from services.transport.errors import ApiError
from tests.transport.auth.issuer import DISCOVERY, Issuer, private_key, shown


class Clock:
    """A clock that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Cache(JwksCache):
    """A JWKS cache whose clock the test sets."""

    def __init__(self, http: httpx.AsyncClient, **config: Any) -> None:
        self.clock = Clock()
        issuer = IssuerConfig(**{"name": None, "jwks_url": None, "discovery_url": None, **config})
        super().__init__(
            issuer, http, CacheTtl(keys=100, discovery=500, min_refresh_interval=10), self.clock
        )


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as http:
        yield http


@pytest.fixture
def issuer(own_issuer: Issuer) -> Issuer:
    return own_issuer


@pytest.fixture
def cache(issuer: Issuer, http: httpx.AsyncClient) -> Cache:
    return Cache(http, discovery_url=issuer.url + DISCOVERY)


async def knows(cache: Cache, kid: str) -> bool:
    return kid in (await cache.keys_for(kid)).keys


async def test_keys_are_found_by_discovery_and_fetched_once(cache: Cache, issuer: Issuer) -> None:
    found = await asyncio.gather(*(cache.keys_for("first") for _ in range(20)))
    assert {one.issuer for one in found} == {issuer.url}
    assert await knows(cache, "first")
    assert issuer.asked == {DISCOVERY: 1, "/keys": 1}


async def test_configured_urls_need_no_discovery(issuer: Issuer, http: httpx.AsyncClient) -> None:
    cache = Cache(http, name="https://configured", jwks_url=f"{issuer.url}/keys")
    assert (await cache.keys_for("first")).issuer == "https://configured"
    assert set(issuer.asked) == {"/keys"}


async def test_a_configured_issuer_name_takes_precedence_over_the_discovered_one(
    issuer: Issuer, http: httpx.AsyncClient
) -> None:
    cache = Cache(http, name="https://configured", discovery_url=issuer.url + DISCOVERY)
    assert (await cache.keys_for("first")).issuer == "https://configured"


async def test_after_key_rotation_the_new_key_is_accepted_at_once_and_the_old_one_is_not(
    cache: Cache, issuer: Issuer
) -> None:
    assert await knows(cache, "first")
    issuer.kids = ["second"]
    cache.clock.now += 10
    assert await knows(cache, "second")
    assert not await knows(cache, "first")


async def test_unknown_key_ids_trigger_at_most_one_fetch_per_refresh_interval(
    cache: Cache, issuer: Issuer
) -> None:
    for number in range(50):
        assert not await knows(cache, f"made-up-{number}")
    assert issuer.asked["/keys"] == 1
    cache.clock.now += 10
    await asyncio.gather(*(knows(cache, f"made-up-{number}") for number in range(50)))
    assert issuer.asked["/keys"] == 2


async def test_expired_keys_and_an_expired_discovery_document_are_fetched_again(
    cache: Cache, issuer: Issuer
) -> None:
    for later in (0, 99, 100, 199, 499, 600):
        cache.clock.now = 1000 + later
        assert await knows(cache, "first")
    assert issuer.asked == {DISCOVERY: 2, "/keys": 4}


async def test_expired_keys_stay_valid_for_a_day_while_the_issuer_is_down(
    cache: Cache, issuer: Issuer
) -> None:
    assert await knows(cache, "first")
    issuer.away = True
    cache.clock.now += 100 + jwks.STALE_SECONDS - 1
    assert await knows(cache, "first")
    cache.clock.now += 1
    with pytest.raises(ApiError, match="cannot be read") as raised:
        await cache.keys_for("first")
    assert raised.value.status == 503
    issuer.away = False
    cache.clock.now += 10
    assert await knows(cache, "first")


async def test_an_issuer_that_is_down_gives_503_and_is_tried_again(
    http: httpx.AsyncClient, issuer: Issuer
) -> None:
    issuer.away = True
    cache = Cache(http, discovery_url=issuer.url + DISCOVERY)
    for _ in range(5):
        with pytest.raises(ApiError, match="try again shortly"):
            await cache.keys_for("first")
    assert issuer.asked == {DISCOVERY: 1}
    issuer.away = False
    cache.clock.now += 10
    assert await knows(cache, "first")


async def test_discovery_must_not_name_a_jwks_url_without_tls(
    issuer: Issuer, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = json.dumps({"issuer": "x", "jwks_uri": "http://keys.example/"}).encode()
    monkeypatch.setattr(issuer, "page", lambda _: page)
    cache = Cache(http, discovery_url=issuer.url + DISCOVERY)
    with pytest.raises(ApiError):
        await cache.keys_for("first")


async def test_a_document_over_the_size_limit_is_rejected(
    cache: Cache, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer, "page", lambda _: b" " * (jwks.MAX_DOCUMENT_BYTES + 1))
    with pytest.raises(ApiError):
        await cache.keys_for("first")


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"null",
        b'{"keys": 7}',
        b'{"keys": []}',
        b'{"keys": [7]}',
        b'{"keys": {}}',
        b"\xff",
    ],
)
def test_a_document_without_keys_is_rejected(document: bytes) -> None:
    with pytest.raises(InvalidJwksError):
        parse_jwks(document)


def test_only_public_signing_keys_are_accepted() -> None:
    strange = [
        {"kty": "oct", "kid": "shared", "k": "c2VjcmV0"},
        {**shown("first"), "kid": "other-use", "use": "enc"},
        {**shown("first"), "kid": 7},
        {"kty": "EC", "kid": "torn", "crv": "P-256"},
        {"kty": "XYZ", "kid": "strange"},
        {"kty": "RSA", "kid": "empty", "n": "", "e": ""},
    ]
    found = parse_jwks(json.dumps({"keys": [*strange, shown("first", alg="RS256")]}).encode())
    assert set(found) == {"first"}
    assert found["first"].algorithm == "RS256"
    assert (
        found["first"].public_key.public_numbers()
        == private_key("first").public_key().public_numbers()
    )


def test_the_number_of_keys_is_limited() -> None:
    many = [shown("first") | {"kid": str(number)} for number in range(100)]
    assert len(parse_jwks(json.dumps({"keys": many}).encode())) == jwks.MAX_KEYS


@pytest.mark.parametrize("document", [b"", b"{}", b'{"issuer": "x"}', b'{"issuer":1,"jwks_uri":2}'])
def test_discovery_names_the_issuer_and_its_keys(document: bytes) -> None:
    with pytest.raises(InvalidJwksError):
        parse_discovery(document)
