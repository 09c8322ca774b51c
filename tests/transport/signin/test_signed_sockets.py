"""Sockets: opened by a token in any of its places, closed to every other, and bound to their user."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest
from nats.aio.msg import Msg
from websockets.exceptions import InvalidStatus

from contracts.catalogue import WorkflowCard
from contracts.commands import StartChat
from contracts.ids import AppId, ChatKey, WorkflowName, new_chat_id
from contracts.subjects import question
from services.chassis.bus import Bus
from services.transport import inbound
from tests.transport.conftest import Open
from tests.transport.signin.issuer import Issuer
from tests.transport.signin.test_every_page import BAD, SECRET, bearing, orders
from tests.transport.story import (
    SELECTED,
    STARTED,
    WORKFLOW,
    Chat,
    Client,
    asks,
    client,
    offer,
    said,
    shows,
)

pytestmark = pytest.mark.broker


@pytest.fixture
async def anas(chat: Chat) -> Chat:
    """A chat of ana's, with a question open."""
    await chat.append(STARTED, said(SECRET), SELECTED, asks(question(chat.key, 1, "call-1", 0)))
    return chat


async def sits(address: str, chat: Chat, **options: Any) -> Client:
    """A socket that is shown the chat."""
    found = await client(f"{address}{chat.path()}?after=0", **options)
    await found.until("chat.resume_boundary")
    return found


async def is_refused(address: str, **options: Any) -> bool:
    with pytest.raises(InvalidStatus) as refused:
        await client(address, **options)
    return refused.value.response.status_code == 403


async def a_ticket(address: str, token: str) -> str:
    async with httpx.AsyncClient(base_url=f"http://{address}") as http:
        given = (await http.post("/api/ws-ticket", headers=bearing(token))).json()
    assert given["expires_in"] == 60
    return str(given["ticket"])


async def test_a_token_opens_a_socket_as_a_header_or_as_a_subprotocol(
    guarded: str, anas: Chat, issuer: Issuer
) -> None:
    token = issuer.token()
    by_header = await sits(guarded, anas, additional_headers=bearing(token))
    by_protocol = await sits(guarded, anas, subprotocols=["bearer", token])
    assert (by_header.subprotocol, by_protocol.subprotocol) == (None, "bearer")
    for socket in (by_header, by_protocol):
        await socket.close()


async def test_without_sign_in_a_subprotocol_is_agreed_to_all_the_same(
    transport: str, anas: Chat
) -> None:
    socket = await sits(transport, anas, subprotocols=["bearer", "whatever"])
    assert socket.subprotocol == "bearer"
    await socket.close()


async def test_a_ticket_opens_one_socket_of_any_transport_once(
    open_transport: Open, guarded: str, anas: Chat, issuer: Issuer
) -> None:
    other = await open_transport(auth_issuer=issuer.url)
    address = f"{other}{anas.path()}?after=0&ticket={await a_ticket(guarded, issuer.token())}"
    socket = await client(address)
    await socket.until("chat.resume_boundary")
    assert await is_refused(address)
    assert await is_refused(address.replace(other, guarded))
    await socket.close()


async def test_a_ticket_is_its_users_and_nobody_elses(
    guarded: str, anas: Chat, issuer: Issuer
) -> None:
    ticket = await a_ticket(guarded, issuer.token(sub="bob"))
    assert await is_refused(f"{guarded}{anas.path()}?ticket={ticket}")


async def test_a_token_in_the_address_opens_a_socket_only_where_that_is_allowed(
    open_transport: Open, guarded: str, anas: Chat, issuer: Issuer
) -> None:
    path = f"{anas.path()}?after=0&access_token={issuer.token()}"
    assert await is_refused(f"{guarded}{path}")
    lenient = await open_transport(auth_issuer=issuer.url, mozaiks_ws_allow_query_token=True)
    socket = await client(f"{lenient}{path}")
    await socket.until("chat.resume_boundary")
    await socket.close()


async def test_a_bad_token_opens_no_socket_however_it_comes(
    open_transport: Open, anas: Chat, issuer: Issuer
) -> None:
    address = await open_transport(
        auth_issuer=issuer.url, auth_jwks_pause=0, mozaiks_ws_allow_query_token=True
    )
    for name, made in BAD.items():
        sent = made(issuer)
        if len(sent or "") > 8192:
            continue  # uvicorn answers no socket whose header is so long
        headers = {} if sent is None else {"authorization": sent}
        path = f"{address}{anas.path()}"
        assert await is_refused(path, additional_headers=headers), name
        token = (sent or "").removeprefix("Bearer").strip()
        if sent and sent.startswith("Bearer") and token:
            assert await is_refused(path, subprotocols=["bearer", token]), name
            assert await is_refused(f"{path}?access_token={token}"), name
            assert await is_refused(f"{path}?ticket={token}"), name


async def test_a_token_opens_no_socket_of_another_user_or_app(
    guarded: str, anas: Chat, issuer: Issuer
) -> None:
    path = f"{guarded}{anas.path()}"
    for claims in ({"sub": "bob"}, {"app_id": "other"}, {"app_id": None}, {"scope": "openid"}):
        headers = bearing(issuer.token(**claims))
        assert await is_refused(path, additional_headers=headers), claims


async def test_a_chat_of_somebody_else_is_not_shown_under_ones_own_name(
    guarded: str, anas: Chat, issuer: Issuer
) -> None:
    for user, app in (("bob", "acme"), ("ana", "other")):
        headers = bearing(issuer.token(sub=user, app_id=app))
        path = f"/ws/{WORKFLOW}/{app}/{anas.key.chat}/{user}?after=0"
        socket = await client(f"{guarded}{path}", additional_headers=headers)
        assert await socket.closed() == 1008
        assert [frame["error_code"] for frame in socket.frames] == ["CHAT_NOT_FOUND"]


async def test_whole_events_are_sent_to_operators_only(
    guarded: str, anas: Chat, issuer: Issuer
) -> None:
    path = f"{guarded}{anas.path()}?after=0&events=1"
    user = await client(path, additional_headers=bearing(issuer.token()))
    assert await user.closed() == 1008
    assert [frame["error_code"] for frame in user.frames] == ["SCOPE_MISSING"]
    token = issuer.token(scope="access_as_user mozaiks.operator")
    operator = await client(path, additional_headers=bearing(token))
    await operator.until("chat.resume_boundary")
    assert operator.seqs() == [1, 2, 3, 4]
    await operator.close()


async def test_a_socket_ends_when_its_token_does_and_goes_on_with_the_next(
    guarded: str, anas: Chat, issuer: Issuer
) -> None:
    soon = time.time() - 120 + 4  # within the clocks' difference, for four seconds more
    headers = bearing(issuer.token(exp=soon))
    ticket = await a_ticket(guarded, issuer.token(exp=soon))
    by_token = await sits(guarded, anas, additional_headers=headers)
    by_ticket = await client(f"{guarded}{anas.path()}?after=0&ticket={ticket}")
    for socket in (by_token, by_ticket):
        assert await socket.closed() == 1008
        assert socket.frames[-1]["error_code"] == "TOKEN_EXPIRED"
        assert socket.close_reason == "TOKEN_EXPIRED"
    assert await is_refused(f"{guarded}{anas.path()}", additional_headers=headers)
    await anas.append(said("and then"))
    again = await client(
        f"{guarded}{anas.path()}?after=4", additional_headers=bearing(issuer.token())
    )
    await again.until("chat.resume_boundary")
    assert [frame["seq"] for frame in again.frames if frame["type"] == "chat.text"] == [5]
    await again.close()


async def test_a_stream_ends_when_its_token_does(guarded: str, anas: Chat, issuer: Issuer) -> None:
    path = f"/api/chats/{anas.key.app}/{anas.key.chat}/events?user_id=ana"
    headers = bearing(issuer.token(exp=time.time() - 120 + 4))
    async with httpx.AsyncClient(base_url=f"http://{guarded}", timeout=20) as http:
        whole = (await http.get(path, headers=headers)).text  # to the end that the server makes
        assert "chat.resume_boundary" in whole
        assert (await http.get(path, headers=headers)).status_code == 401


FOREIGN: dict[str, dict[str, Any]] = {
    "user.input.submit": {"text": "x", "input_request_id": "QUESTION"},
    "ui_tool_response": {"eventId": "QUESTION", "response": {}},
    "client.resume": {"lastClientIndex": 0},
    "chat.cancel": {},
    "chat.switch_workflow": {},
    "chat.start_workflow": {"workflow_name": WORKFLOW},
    "chat.start_workflow_batch": {"runs": [{"workflow_name": WORKFLOW}]},
    "chat.enter_general_mode": {},
    "chat.start_general_chat": {},
    "chat.artifact_action": {
        "data": {"action": "update_state", "artifact_id": "QUESTION", "payload": {"colour": "red"}}
    },
}
"""What somebody might send to get at ana's chat from a socket of their own."""
BEGINNING = {
    *("chat.start_workflow", "chat.start_workflow_batch"),
    *("chat.enter_general_mode", "chat.start_general_chat"),
}
GENERAL = WorkflowName("General")


def test_no_kind_of_message_is_forgotten_here() -> None:
    assert set(FOREIGN) == set(inbound._BY_TYPE)


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("claims", [{"sub": "bob"}, {"app_id": "other"}], ids=str)
async def test_no_message_on_ones_own_socket_reaches_anothers_chat(
    guarded: str,
    anas: Chat,
    issuer: Issuer,
    bus: Bus,
    kind: str,
    claims: dict[str, str],
) -> None:
    user, app = claims.get("sub", "ana"), AppId(claims.get("app_id", "acme"))
    own = Chat(bus, ChatKey(app, new_chat_id()))
    await own.append(STARTED.model_copy(update={"user_id": user}), SELECTED, shows())
    ours = WorkflowCard(name=GENERAL, pattern="DefaultPattern", general=True)
    await offer(bus, WorkflowCard(name=WORKFLOW, pattern="DefaultPattern"), ours)
    ordered: asyncio.Queue[StartChat] = asyncio.Queue()

    async def hear(message: Msg) -> None:
        ordered.put_nowait(StartChat.model_validate_json(message.data))

    await bus.nc.subscribe("mozaiks.cmd.*.*.*.start_chat", cb=hear)
    await bus.nc.flush()
    path = f"{guarded}{own.path(user)}?after=0"
    socket = await client(path, additional_headers=bearing(issuer.token(**claims)))
    await socket.until("chat.resume_boundary")
    open_question = question(anas.key, 1, "call-1", 0)
    said_ = json.loads(json.dumps(FOREIGN[kind]).replace("QUESTION", open_question))
    smuggled = {"app_id": "acme", "user_id": "ana", "chat_id": anas.key.chat}
    await socket.say(**{**smuggled, **said_, "type": kind})
    if kind in BEGINNING:  # it begins a chat of their own, whatever was smuggled
        order = await asyncio.wait_for(ordered.get(), 10)
        assert (order.app_id, order.user_id) == (app, user)
    else:
        assert (await socket.until("chat.error"))["error_code"] in (
            "NOT_ALLOWED",
            "CHAT_NOT_FOUND",
            "QUESTION_NOT_OPEN",
            "SCHEMA_VALIDATION_FAILED",  # no component of this chat
        )
    assert SECRET not in str(socket.frames)
    assert await orders(bus, anas.key) == 0
    await socket.close()


async def test_messages_beyond_the_rate_are_refused_and_the_socket_stays_open(
    open_transport: Open, anas: Chat, issuer: Issuer
) -> None:
    address = await open_transport(auth_issuer=issuer.url, rate_per_user=12)
    socket = await sits(address, anas, additional_headers=bearing(issuer.token()))
    codes: list[str] = []
    for _ in range(4):
        await socket.say(type="chat.unheard_of")
        codes.append((await socket.until("chat.error"))["error_code"])
    assert codes == [*["SCHEMA_VALIDATION_FAILED"] * 2, *["RATE_LIMITED"] * 2]
    await socket.close()
