from collections.abc import Iterator

import pytest

from tests.transport.conftest import Open
from tests.transport.signin.issuer import Issuer, issuing


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as issuer:
        yield issuer


@pytest.fixture
async def guarded(open_transport: Open, issuer: Issuer) -> str:
    """A transport that takes the issuer's tokens: its host and port."""
    return await open_transport(auth_issuer=issuer.url, auth_jwks_pause=0)
