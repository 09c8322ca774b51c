import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from services.transport.refusals import RefusalError
from services.transport.signin import keys
from services.transport.signin.keys import Issuer as Told
from services.transport.signin.keys import (
    KeyRing,
    Patience,
    UnreadableIssuerError,
    discovery_in,
    keys_in,
)
from tests.transport.signin.issuer import DISCOVERY, Issuer, private_key, shown


class Clock:
    """Time that passes when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Ring(KeyRing):
    """A key ring of the issuer, with its clock in hand."""

    def __init__(self, http: httpx.AsyncClient, **told: Any) -> None:
        self.clock = Clock()
        where = Told(**{"name": None, "jwks_url": None, "discovery_url": None, **told})
        super().__init__(where, http, Patience(keys=100, discovery=500, pause=10), self.clock)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as http:
        yield http


@pytest.fixture
def ring(issuer: Issuer, http: httpx.AsyncClient) -> Ring:
    return Ring(http, discovery_url=issuer.url + DISCOVERY)


async def knows(ring: Ring, kid: str) -> bool:
    return kid in (await ring.trusted(kid)).keys


async def test_keys_are_found_by_discovery_and_read_once(ring: Ring, issuer: Issuer) -> None:
    found = await asyncio.gather(*(ring.trusted("first") for _ in range(20)))
    assert {one.issuer for one in found} == {issuer.url}
    assert await knows(ring, "first")
    assert issuer.asked == {DISCOVERY: 1, "/keys": 1}


async def test_told_addresses_need_no_discovery(issuer: Issuer, http: httpx.AsyncClient) -> None:
    ring = Ring(http, name="https://told", jwks_url=f"{issuer.url}/keys")
    assert (await ring.trusted("first")).issuer == "https://told"
    assert set(issuer.asked) == {"/keys"}


async def test_a_told_name_comes_before_the_discovered_one(
    issuer: Issuer, http: httpx.AsyncClient
) -> None:
    ring = Ring(http, name="https://told", discovery_url=issuer.url + DISCOVERY)
    assert (await ring.trusted("first")).issuer == "https://told"


async def test_a_new_key_is_known_at_once_and_the_old_one_is_forgotten(
    ring: Ring, issuer: Issuer
) -> None:
    assert await knows(ring, "first")
    issuer.kids = ["second"]
    ring.clock.now += 10
    assert await knows(ring, "second")
    assert not await knows(ring, "first")


async def test_made_up_keys_are_not_asked_for_more_often_than_the_pause_allows(
    ring: Ring, issuer: Issuer
) -> None:
    for number in range(50):
        assert not await knows(ring, f"made-up-{number}")
    assert issuer.asked["/keys"] == 1
    ring.clock.now += 10
    await asyncio.gather(*(knows(ring, f"made-up-{number}") for number in range(50)))
    assert issuer.asked["/keys"] == 2


async def test_keys_are_read_anew_when_their_time_is_over(ring: Ring, issuer: Issuer) -> None:
    for later in (0, 99, 100, 199, 499, 600):
        ring.clock.now = 1000 + later
        assert await knows(ring, "first")
    assert issuer.asked == {DISCOVERY: 2, "/keys": 4}


async def test_the_keys_of_an_issuer_that_is_away_go_on_to_count_for_a_day(
    ring: Ring, issuer: Issuer
) -> None:
    assert await knows(ring, "first")
    issuer.away = True
    ring.clock.now += 100 + keys.KEPT_SECONDS - 1
    assert await knows(ring, "first")
    ring.clock.now += 1
    with pytest.raises(RefusalError, match="cannot be read") as refusal:
        await ring.trusted("first")
    assert refusal.value.status == 503
    issuer.away = False
    ring.clock.now += 10
    assert await knows(ring, "first")


async def test_an_issuer_that_cannot_be_reached_is_our_trouble_and_tried_again(
    http: httpx.AsyncClient, issuer: Issuer
) -> None:
    issuer.away = True
    ring = Ring(http, discovery_url=issuer.url + DISCOVERY)
    for _ in range(5):
        with pytest.raises(RefusalError, match="try again shortly"):
            await ring.trusted("first")
    assert issuer.asked == {DISCOVERY: 1}
    issuer.away = False
    ring.clock.now += 10
    assert await knows(ring, "first")


async def test_discovery_does_not_lead_to_where_others_could_put_keys(
    issuer: Issuer, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = json.dumps({"issuer": "x", "jwks_uri": "http://keys.example/"}).encode()
    monkeypatch.setattr(issuer, "page", lambda _: page)
    ring = Ring(http, discovery_url=issuer.url + DISCOVERY)
    with pytest.raises(RefusalError):
        await ring.trusted("first")


async def test_an_endless_document_is_not_read_to_its_end(
    ring: Ring, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer, "page", lambda _: b" " * (keys.MOST_BYTES + 1))
    with pytest.raises(RefusalError):
        await ring.trusted("first")


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
def test_what_holds_no_key_is_no_key_set(document: bytes) -> None:
    with pytest.raises(UnreadableIssuerError):
        keys_in(document)


def test_only_public_keys_that_sign_are_taken() -> None:
    strange = [
        {"kty": "oct", "kid": "shared", "k": "c2VjcmV0"},
        {**shown("first"), "kid": "other-use", "use": "enc"},
        {**shown("first"), "kid": 7},
        {"kty": "EC", "kid": "torn", "crv": "P-256"},
        {"kty": "XYZ", "kid": "strange"},
        {"kty": "RSA", "kid": "empty", "n": "", "e": ""},
    ]
    found = keys_in(json.dumps({"keys": [*strange, shown("first", alg="RS256")]}).encode())
    assert set(found) == {"first"}
    assert found["first"].algorithm == "RS256"
    assert (
        found["first"].material.public_numbers()
        == private_key("first").public_key().public_numbers()
    )


def test_a_key_set_is_bounded() -> None:
    many = [shown("first") | {"kid": str(number)} for number in range(100)]
    assert len(keys_in(json.dumps({"keys": many}).encode())) == keys.MOST_KEYS


@pytest.mark.parametrize("document", [b"", b"{}", b'{"issuer": "x"}', b'{"issuer":1,"jwks_uri":2}'])
def test_discovery_names_the_issuer_and_its_keys(document: bytes) -> None:
    with pytest.raises(UnreadableIssuerError):
        discovery_in(document)
