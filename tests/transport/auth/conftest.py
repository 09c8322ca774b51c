from collections.abc import AsyncIterator, Iterator

import pytest

from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.transport.auth.issuer import Issuer, issuing
from tests.transport.conftest import Open, SharedTransport, shared
from tests.transport.story import cut_sockets

LINK_SECRET = "a secret of more than 32 bytes, for tests"


@pytest.fixture(scope="session")
def issuer() -> Iterator[Issuer]:
    """The issuer of all tests that leave it as it is."""
    with issuing() as issuer:
        yield issuer


@pytest.fixture
def own_issuer() -> Iterator[Issuer]:
    """An issuer to change, and to take away."""
    with issuing() as issuer:
        yield issuer


@pytest.fixture(scope="session")
def shared_guarded(nats: NatsServer, issuer: Issuer) -> Iterator[SharedTransport]:
    settings = {
        "auth_issuer": issuer.url,
        "auth_jwks_min_refresh_seconds": 0,
        "rate_per_user": 0,
        "answer_link_secret": LINK_SECRET,
        "public_url": "https://chat.example.com/",
    }
    with shared(nats_url=nats.url, rate_per_app=0, **settings) as transport:
        yield transport


@pytest.fixture
async def guarded(
    shared_guarded: SharedTransport,
    gateway: JetStreamGateway,  # noqa: ARG001
) -> AsyncIterator[str]:
    """The shared transport that takes the issuer's tokens: its host and port."""
    yield shared_guarded.address()
    await cut_sockets()


@pytest.fixture
async def own_guarded(open_transport: Open, own_issuer: Issuer) -> str:
    """A transport that takes the tokens of the test's own issuer: its host and port."""
    return await open_transport(auth_issuer=own_issuer.url, auth_jwks_min_refresh_seconds=0)
