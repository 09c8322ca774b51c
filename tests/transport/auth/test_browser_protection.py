"""What a browser may do with the transport: by which host names, and in which pages."""

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from services.chassis.process.security_headers import DEFAULTS
from tests.transport.auth.issuer import Issuer
from tests.transport.auth.test_authenticate import browsing
from tests.transport.conftest import Open
from tests.transport.story import STARTED, Chat, client

pytestmark = pytest.mark.broker

PATHS = (
    "/",
    "/api/health",
    "/api/workflows",
    "/api/chats/acme/ana",
    "/api/no/such/route",
    "/console/",
    "/console/icon.svg",
    "/console/no_such_file.js",
    "/schema",
    "/schema/docs",
    "/health",
    "/ready",
    "/metrics",
)


@pytest.mark.parametrize("path", PATHS)
async def test_every_response_has_the_security_headers(transport: str, path: str) -> None:
    async with browsing(transport) as http:
        for method in ("GET", "DELETE"):
            reply = await http.request(method, path)
            for name in DEFAULTS:
                assert reply.headers.get_list(name.decode()), (method, name)
                assert len(reply.headers.get_list(name.decode())) == 1, (method, name)
            assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/", "/console/index.html", "/console/icon.svg"])
async def test_the_console_may_load_its_own_files_and_no_others(transport: str, path: str) -> None:
    async with browsing(transport) as http:
        policy = (await http.get(path)).headers["content-security-policy"].split("; ")
    for kind in ("script-src", "style-src", "font-src", "connect-src"):
        assert f"{kind} 'self'" in policy
    assert "img-src 'self' blob:" in policy


async def test_a_page_whose_name_resolves_to_this_machine_reads_and_opens_nothing(
    transport: str, chat: Chat
) -> None:
    await chat.append(STARTED)
    rebound = {"host": "attacker.example:8000", "origin": "http://attacker.example:8000"}
    async with browsing(transport, headers=rebound) as http:
        for path in PATHS:
            reply = await http.get(path)
            assert (reply.status_code, list(reply.json())) == (421, ["detail"]), path
            assert reply.json()["detail"] == "host: not allowed: ALLOWED_HOSTS does not list it"
    host, port = transport.split(":")
    with pytest.raises(InvalidStatus) as refused:
        await client(f"attacker.example:8000{chat.path()}", host=host, port=int(port))
    assert refused.value.response.status_code == 403


async def test_a_listed_name_and_any_name_with_sign_in_are_accepted(
    open_transport: Open, issuer: Issuer
) -> None:
    listed = await open_transport(allowed_hosts="chat.example")
    signed_in = await open_transport(auth_issuer=issuer.url)
    answers = [
        await _status(address, name)
        for address in (listed, signed_in)
        for name in ("chat.example", "other.example")
    ]
    assert answers == [200, 421, 200, 200]


async def _status(address: str, host: str) -> int:
    async with httpx.AsyncClient(base_url=f"http://{address}", headers={"host": host}) as http:
        return (await http.get("/schema")).status_code


@pytest.mark.parametrize("path", ["/schema", "/console/icon.svg", "/api/workflows"])
async def test_pages_that_are_open_to_everyone_are_limited_per_address(
    open_transport: Open, path: str
) -> None:
    address = await open_transport(rate_per_address=8)
    async with browsing(address) as http:
        answers = [await http.get(path) for _ in range(3)]
        assert [one.status_code for one in answers] == [200, 200, 429]
        assert "retry-after" in answers[2].headers
        assert (await http.get("/api/health")).status_code == 200  # not one of them
