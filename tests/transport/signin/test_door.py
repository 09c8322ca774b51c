"""What else the door minds: whose page is asking, how often, and that nobody's token is written down."""

import logging
import re
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from contracts import subjects
from contracts.catalogue import WorkflowCard
from contracts.ids import AppId, ChatKey
from services.chassis.bus import Bus
from services.chassis.logs import JsonLines, configure
from tests.transport.conftest import Open
from tests.transport.signin.issuer import Issuer
from tests.transport.signin.test_every_page import BAD, bearing
from tests.transport.story import STARTED, WORKFLOW, Chat, carried_out, client

pytestmark = pytest.mark.broker

EVIL = "https://evil.example"


@pytest.fixture
async def offered(bus: Bus) -> None:
    card = WorkflowCard(name=WORKFLOW, pattern="DefaultPattern")
    bucket = await bus.bucket(subjects.WORKFLOWS)
    await bucket.put(subjects.workflow_key(card.name), card.model_dump_json().encode())


def browsing(address: str, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://{address}", timeout=20, **options)


async def test_a_page_of_somebody_else_changes_nothing_and_opens_no_socket(
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


async def test_a_page_on_the_list_can_read_why_it_is_refused(
    open_transport: Open, issuer: Issuer
) -> None:
    address = await open_transport(auth_issuer=issuer.url, cors_origins="https://chat.example")
    async with browsing(address, headers={"origin": "https://chat.example"}) as http:
        reply = await http.get("/api/me")
        assert reply.headers["access-control-allow-origin"] == "https://chat.example"
        asked = {
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization",
        }
        assert (await http.options("/api/ws-ticket", headers=asked)).status_code == 204
    async with browsing(address, headers={"origin": EVIL}) as http:
        assert "access-control-allow-origin" not in (await http.get("/api/me")).headers


async def test_who_asks_too_often_is_told_when_to_come_back(
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
async def test_an_app_runs_as_many_chats_as_it_may(open_transport: Open, bus: Bus) -> None:
    address = await open_transport(max_running_chats_per_app=2)
    again = {"user_id": "ana", "client_request_id": "known"}
    async with browsing(address) as http:

        async def start(app: str, **body: str) -> httpx.Response:
            told = {"user_id": "ana", **body}
            return await http.post(f"/api/chats/{app}/{WORKFLOW}/start", json=told)

        known, other = [(await start("limited", **more)).json() for more in (again, {})]
        await Chat(bus, ChatKey(AppId("limited"), known["chat_id"])).append(STARTED)
        reply = await start("limited")
        assert (reply.status_code, reply.json()["detail"]) == (
            429,
            "app_id: 2 chats of this app run already",
        )
        assert (await start("limited", **again)).json()["chat_id"] == known["chat_id"]
        assert (await start("free")).status_code == 202
        await carried_out(bus, ChatKey(AppId("limited"), other["chat_id"]))
        assert (await start("limited")).status_code == 202


async def test_an_app_opens_as_many_sockets_as_it_may(open_transport: Open, chat: Chat) -> None:
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


async def test_refusals_are_counted_by_their_reason(guarded: str, issuer: Issuer) -> None:
    expired = bearing(issuer.token(exp=1))
    async with browsing(guarded) as http:
        await http.get("/api/me")
        await http.get("/api/me", headers=expired)
        await http.get("/api/sessions/list/acme/bob", headers=bearing(issuer.token()))
        with pytest.raises(InvalidStatus):
            await client(f"{guarded}/ws/w/acme/c/ana", additional_headers=expired)
        counted = (await http.get("/metrics")).text
    series = re.findall(r'mozaiks_transport_refusals_total{reason="(\w+)"} (\d+)', counted)
    assert dict(series) == {"TOKEN_MISSING": "1", "TOKEN_EXPIRED": "2", "NOT_YOURS": "1"}


async def test_no_token_is_ever_written_into_a_log(
    open_transport: Open, chat: Chat, issuer: Issuer
) -> None:
    await chat.append(STARTED)
    address = await open_transport(
        auth_issuer=issuer.url, auth_jwks_pause=0, mozaiks_ws_allow_query_token=True
    )
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonLines("test").format(record))

    kept = logging.root.handlers[:], logging.root.level
    configure("test", "DEBUG", as_json=True)
    logging.root.addHandler(Lines())
    logging.getLogger("services").info("what is said here is heard")
    try:
        sent = await _use_every_kind_of_token(address, chat, issuer)
    finally:
        logging.root.handlers, logging.root.level = kept
    assert lines
    for token in sent:
        assert not [line for line in lines if token in line]


async def _use_every_kind_of_token(address: str, chat: Chat, issuer: Issuer) -> list[str]:
    good = issuer.token()
    bad = [made(issuer) or "" for made in BAD.values()]
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
