"""Origin checks, limits, error counts, and that no token is logged."""

import logging
import re
from collections import Counter
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from contracts import subjects
from contracts.catalogue import WorkflowCard
from contracts.ids import AppId, ChatKey
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.logs.configuration import configure
from services.chassis.logs.formats import JsonLines
from tests.transport.auth.issuer import Issuer
from tests.transport.auth.test_every_route import INVALID_TOKENS, bearing
from tests.transport.conftest import Open
from tests.transport.story import STARTED, WORKFLOW, Chat, client, remove_commands

pytestmark = pytest.mark.broker

EVIL = "https://evil.example"


@pytest.fixture
async def offered(gateway: JetStreamGateway) -> None:
    card = WorkflowCard(name=WORKFLOW, pattern="DefaultPattern")
    bucket = await gateway.key_values.bucket(subjects.WORKFLOWS)
    await bucket.put(subjects.workflow_key(card.name), card.model_dump_json().encode())


def browsing(address: str, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://{address}", timeout=20, **options)


async def test_a_page_of_another_origin_changes_nothing_and_opens_no_socket(
    open_transport: Open, chat: Chat
) -> None:
    await chat.append(STARTED)
    address = await open_transport(cors_origins="https://chat.example")
    path = f"/api/chats/{chat.key.app}/{chat.key.chat}/cancel"
    answers = {}
    for origin in (EVIL, "null", "https://chat.example", f"http://{address}"):
        async with browsing(address, headers={"origin": origin}) as http:
            reply = await http.post(path, json={"user_id": "ana"})
        answers[origin] = reply.status_code
        if reply.status_code == 403:
            assert reply.json()["detail"].startswith("origin: ")
            with pytest.raises(InvalidStatus):
                await client(f"{address}{chat.path()}", origin=origin)
        else:
            socket = await client(f"{address}{chat.path()}?after=0", origin=origin)
            await socket.until("chat.resume_boundary")
            await socket.close()
    assert list(answers.values()) == [403, 403, 200, 200]


async def test_a_page_of_a_configured_origin_can_read_error_responses(
    open_transport: Open, issuer: Issuer
) -> None:
    address = await open_transport(auth_issuer=issuer.url, cors_origins="https://chat.example")
    async with browsing(address, headers={"origin": "https://chat.example"}) as http:
        reply = await http.get("/api/me")
        assert reply.headers["access-control-allow-origin"] == "https://chat.example"
        preflight = {
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization",
        }
        assert (await http.options("/api/ws-ticket", headers=preflight)).status_code == 204
    async with browsing(address, headers={"origin": EVIL}) as http:
        assert "access-control-allow-origin" not in (await http.get("/api/me")).headers


async def test_a_rate_limited_request_gets_retry_after(
    open_transport: Open, issuer: Issuer
) -> None:
    address = await open_transport(auth_issuer=issuer.url, rate_per_user=4, rate_per_app=8)
    async with browsing(address) as http:

        async def ask(**claims: str) -> httpx.Response:
            return await http.get("/api/me", headers=bearing(issuer.token(**claims)))

        assert (await ask()).status_code == 200
        late = await ask()
        assert (late.status_code, late.json()["detail"][:9]) == (429, "user_id: ")
        assert 0 < int(late.headers["retry-after"]) <= 15
        assert (await ask(sub="bob")).status_code == 200
        full = await ask(sub="joe")
        assert (full.status_code, full.json()["detail"][:8]) == (429, "app_id: ")
        assert (await ask(sub="ann", app_id="other")).status_code == 200


@pytest.mark.usefixtures("offered")
async def test_the_running_chats_of_an_app_are_limited(
    open_transport: Open, gateway: JetStreamGateway
) -> None:
    address = await open_transport(max_running_chats_per_app=2)
    again = {"user_id": "ana", "client_request_id": "known"}
    async with browsing(address) as http:

        async def start(app: str, **body: str) -> httpx.Response:
            request = {"user_id": "ana", **body}
            return await http.post(f"/api/chats/{app}/{WORKFLOW}/start", json=request)

        known, other = [(await start("limited", **more)).json() for more in (again, {})]
        await Chat(gateway, ChatKey(AppId("limited"), known["chat_id"])).append(STARTED)
        reply = await start("limited")
        assert (reply.status_code, reply.json()["detail"]) == (
            429,
            "app_id: running chat limit reached (2 chats of one app)",
        )
        assert (await start("limited", **again)).json()["chat_id"] == known["chat_id"]
        assert (await start("free")).status_code == 202
        await remove_commands(gateway, ChatKey(AppId("limited"), other["chat_id"]))
        assert (await start("limited")).status_code == 202


async def test_the_open_connections_of_an_app_are_limited(open_transport: Open, chat: Chat) -> None:
    address = await open_transport(max_viewers_per_app=1)
    await chat.append(STARTED)
    first = await client(f"{address}{chat.path()}?after=0")
    await first.until("chat.resume_boundary")
    second = await client(f"{address}{chat.path()}?after=0")
    assert await second.closed() == 1013
    assert second.frames[0]["error_code"] == "LIMIT_REACHED"
    path = f"/api/chats/{chat.key.app}/{chat.key.chat}/events?user_id=ana&wait=0"
    async with browsing(address) as http:
        reply = await http.get(path)
    assert (reply.status_code, reply.json()["detail"][:8]) == (429, "app_id: ")
    await first.close()


async def test_errors_are_counted_by_their_code(guarded: str, issuer: Issuer) -> None:
    expired = bearing(issuer.token(exp=1))
    async with browsing(guarded) as http:
        before = errors_by_code((await http.get("/metrics")).text)  # other tests make some, too
        await http.get("/api/me")
        await http.get("/api/me", headers=expired)
        await http.get("/api/sessions/list/acme/bob", headers=bearing(issuer.token()))
        with pytest.raises(InvalidStatus):
            await client(f"{guarded}/ws/w/acme/c/ana", additional_headers=expired)
        counted = errors_by_code((await http.get("/metrics")).text)
    assert counted - before == {"TOKEN_MISSING": 1, "TOKEN_EXPIRED": 2, "NOT_YOURS": 1}


def errors_by_code(metrics: str) -> Counter[str]:
    series = re.findall(r'mozaiks_transport_errors_total{code="(\w+)"} (\d+)', metrics)
    return Counter({code: int(count) for code, count in series})


async def test_no_token_is_ever_logged(open_transport: Open, chat: Chat, issuer: Issuer) -> None:
    await chat.append(STARTED)
    address = await open_transport(
        auth_issuer=issuer.url, auth_jwks_min_refresh_seconds=0, mozaiks_ws_allow_query_token=True
    )
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonLines("test").format(record))

    saved = logging.root.handlers[:], logging.root.level
    configure("test", "DEBUG", as_json=True)
    logging.root.addHandler(Lines())
    logging.getLogger("services").info("the handler receives records")
    try:
        sent = await _use_every_kind_of_token(address, chat, issuer)
    finally:
        logging.root.handlers, logging.root.level = saved
    assert lines
    for token in sent:
        assert not [line for line in lines if token in line]


async def _use_every_kind_of_token(address: str, chat: Chat, issuer: Issuer) -> list[str]:
    good = issuer.token()
    bad = [make(issuer) or "" for make in INVALID_TOKENS.values()]
    async with browsing(address) as http:
        ticket = (await http.post("/api/ws-ticket", headers=bearing(good))).json()["ticket"]
        for sent in bad:
            await http.get("/api/me", headers={"authorization": sent})
    for options in (
        {"additional_headers": bearing(good)},
        {"subprotocols": ["bearer", good]},
    ):
        socket = await client(f"{address}{chat.path()}?after=0", **options)
        await socket.until("chat.resume_boundary")
        await socket.close()
    for query in (f"ticket={ticket}", f"access_token={good}"):
        socket = await client(f"{address}{chat.path()}?after=0&{query}")
        await socket.until("chat.resume_boundary")
        await socket.close()
        with pytest.raises(InvalidStatus):
            await client(f"{address}{chat.path('bob')}?{query}")
    tokens = [sent.removeprefix("Bearer").strip() for sent in bad]
    return [good, ticket, *(token for token in tokens if len(token) > 8)]
