"""WebSocket authentication: a token in any of its places, tickets, expiry, and isolation of users."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest
from nats.aio.msg import Msg
from websockets.exceptions import InvalidStatus

import mozaiks_client
from contracts.catalogue import WorkflowCard
from contracts.commands import StartChat
from contracts.ids import AppId, ChatKey, WorkflowName, new_chat_id
from contracts.subjects import question
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.protocol import client_message_parser
from tests.patience import PATIENCE_SECONDS
from tests.transport.auth.issuer import Issuer
from tests.transport.auth.test_every_route import INVALID_TOKENS, SECRET, bearing, command_count
from tests.transport.conftest import Open
from tests.transport.story import (
    SELECTED,
    STARTED,
    WORKFLOW,
    Chat,
    Client,
    client,
    component_requested,
    publish_cards,
    question_asked,
    user_message,
)

pytestmark = pytest.mark.broker


@pytest.fixture
async def ana_chat(chat: Chat) -> Chat:
    """A chat of ana's, with a question open."""
    await chat.append(
        STARTED, user_message(SECRET), SELECTED, question_asked(question(chat.key, 1, "call-1", 0))
    )
    return chat


async def viewing(address: str, chat: Chat, **options: Any) -> Client:
    """A socket that has received the chat."""
    found = await client(f"{address}{chat.path()}?after=0", **options)
    await found.until("chat.resume_boundary")
    return found


async def is_rejected(address: str, **options: Any) -> bool:
    with pytest.raises(InvalidStatus) as refused:
        await client(address, **options)
    return refused.value.response.status_code == 403


async def a_ticket(address: str, token: str) -> str:
    async with httpx.AsyncClient(base_url=f"http://{address}") as http:
        given = (await http.post("/api/ws-ticket", headers=bearing(token))).json()
    assert given["expires_in"] == 60
    return str(given["ticket"])


async def test_a_token_opens_a_socket_by_header_or_by_subprotocol(
    guarded: str, ana_chat: Chat, issuer: Issuer
) -> None:
    token = issuer.token()
    by_header = await viewing(guarded, ana_chat, additional_headers=bearing(token))
    by_protocol = await viewing(guarded, ana_chat, subprotocols=["bearer", token])
    assert (by_header.subprotocol, by_protocol.subprotocol) == (None, "bearer")
    for socket in (by_header, by_protocol):
        await socket.close()


async def test_without_sign_in_the_subprotocol_is_accepted_too(
    transport: str, ana_chat: Chat
) -> None:
    socket = await viewing(transport, ana_chat, subprotocols=["bearer", "whatever"])
    assert socket.subprotocol == "bearer"
    await socket.close()


async def test_a_ticket_opens_one_socket_of_any_transport(
    open_transport: Open, guarded: str, ana_chat: Chat, issuer: Issuer
) -> None:
    other = await open_transport(auth_issuer=issuer.url)
    address = f"{other}{ana_chat.path()}?after=0&ticket={await a_ticket(guarded, issuer.token())}"
    socket = await client(address)
    await socket.until("chat.resume_boundary")
    assert await is_rejected(address)
    assert await is_rejected(address.replace(other, guarded))
    await socket.close()


async def test_a_ticket_is_bound_to_its_user(guarded: str, ana_chat: Chat, issuer: Issuer) -> None:
    ticket = await a_ticket(guarded, issuer.token(sub="bob"))
    assert await is_rejected(f"{guarded}{ana_chat.path()}?ticket={ticket}")


async def test_a_token_in_the_query_opens_a_socket_only_where_that_is_enabled(
    open_transport: Open, guarded: str, ana_chat: Chat, issuer: Issuer
) -> None:
    path = f"{ana_chat.path()}?after=0&access_token={issuer.token()}"
    assert await is_rejected(f"{guarded}{path}")
    lenient = await open_transport(auth_issuer=issuer.url, mozaiks_ws_allow_query_token=True)
    socket = await client(f"{lenient}{path}")
    await socket.until("chat.resume_boundary")
    await socket.close()


async def test_an_invalid_token_opens_no_socket_in_any_of_its_places(
    open_transport: Open, ana_chat: Chat, issuer: Issuer
) -> None:
    address = await open_transport(
        auth_issuer=issuer.url, auth_jwks_min_refresh_seconds=0, mozaiks_ws_allow_query_token=True
    )
    for name, make in INVALID_TOKENS.items():
        sent = make(issuer)
        if len(sent or "") > 8192:
            continue  # uvicorn answers no socket whose header is so long
        headers = {} if sent is None else {"authorization": sent}
        path = f"{address}{ana_chat.path()}"
        assert await is_rejected(path, additional_headers=headers), name
        token = (sent or "").removeprefix("Bearer").strip()
        if sent and sent.startswith("Bearer") and token:
            assert await is_rejected(path, subprotocols=["bearer", token]), name
            assert await is_rejected(f"{path}?access_token={token}"), name
            assert await is_rejected(f"{path}?ticket={token}"), name


async def test_a_token_opens_no_socket_of_another_user_or_app(
    guarded: str, ana_chat: Chat, issuer: Issuer
) -> None:
    path = f"{guarded}{ana_chat.path()}"
    for claims in ({"sub": "bob"}, {"app_id": "other"}, {"app_id": None}, {"scope": "openid"}):
        headers = bearing(issuer.token(**claims))
        assert await is_rejected(path, additional_headers=headers), claims


async def test_a_chat_of_somebody_else_is_not_found_under_ones_own_user_id(
    guarded: str, ana_chat: Chat, issuer: Issuer
) -> None:
    for user, app in (("bob", "acme"), ("ana", "other")):
        headers = bearing(issuer.token(sub=user, app_id=app))
        path = f"/ws/{WORKFLOW}/{app}/{ana_chat.key.chat}/{user}?after=0"
        socket = await client(f"{guarded}{path}", additional_headers=headers)
        assert await socket.closed() == 1008
        assert [frame["error_code"] for frame in socket.frames] == ["CHAT_NOT_FOUND"]


async def test_raw_events_are_sent_to_operators_only(
    guarded: str, ana_chat: Chat, issuer: Issuer
) -> None:
    path = f"{guarded}{ana_chat.path()}?after=0&events=1"
    user = await client(path, additional_headers=bearing(issuer.token()))
    assert await user.closed() == 1008
    assert [frame["error_code"] for frame in user.frames] == ["SCOPE_MISSING"]
    token = issuer.token(scope="access_as_user mozaiks.operator")
    operator = await client(path, additional_headers=bearing(token))
    await operator.until("chat.resume_boundary")
    assert operator.seqs() == [1, 2, 3, 4]
    await operator.close()


async def test_a_socket_closes_when_its_token_expires_and_resumes_with_a_new_one(
    guarded: str, ana_chat: Chat, issuer: Issuer
) -> None:
    soon = time.time() - 120 + 4  # expired, but within the clock skew for four more seconds
    headers = bearing(issuer.token(exp=soon))
    ticket = await a_ticket(guarded, issuer.token(exp=soon))
    by_token = await viewing(guarded, ana_chat, additional_headers=headers)
    by_ticket = await client(f"{guarded}{ana_chat.path()}?after=0&ticket={ticket}")
    for socket in (by_token, by_ticket):
        assert await socket.closed() == 1008
        assert socket.frames[-1]["error_code"] == "TOKEN_EXPIRED"
        assert socket.close_reason == "TOKEN_EXPIRED"
    assert await is_rejected(f"{guarded}{ana_chat.path()}", additional_headers=headers)
    await ana_chat.append(user_message("and then"))
    again = await client(
        f"{guarded}{ana_chat.path()}?after=4", additional_headers=bearing(issuer.token())
    )
    await again.until("chat.resume_boundary")
    assert [frame["seq"] for frame in again.frames if frame["type"] == "chat.text"] == [5]
    await again.close()


async def test_the_python_client_continues_with_a_fresh_token_where_it_can_get_one(
    guarded: str, ana_chat: Chat, issuer: Issuer
) -> None:
    soon = time.time() - 120 + 3
    tokens = [issuer.token(exp=soon), issuer.token()]
    used: list[str] = []

    async def next_token() -> str:
        used.append(tokens[len(used)])
        return used[-1]

    connections = 0
    async with mozaiks_client.Client(
        f"http://{guarded}", app=ana_chat.key.app, user="ana", token=next_token
    ) as fresh:
        async for frame in fresh.chat(ana_chat.key.chat, WORKFLOW).stream():
            connections += frame.type == "chat_meta"
            if connections == 2 and frame.type == "chat.resume_boundary":
                break
    assert used == tokens
    async with mozaiks_client.Client(
        f"http://{guarded}", app=ana_chat.key.app, user="ana", token=issuer.token(exp=soon + 2)
    ) as fixed:
        with pytest.raises(mozaiks_client.ApiError) as expired:
            async for _ in fixed.chat(ana_chat.key.chat, WORKFLOW).stream():
                pass
    assert expired.value.code == "TOKEN_EXPIRED"


async def test_a_stream_ends_when_its_token_expires(
    guarded: str, ana_chat: Chat, issuer: Issuer
) -> None:
    path = f"/api/chats/{ana_chat.key.app}/{ana_chat.key.chat}/events?user_id=ana"
    headers = bearing(issuer.token(exp=time.time() - 120 + 4))
    async with httpx.AsyncClient(base_url=f"http://{guarded}", timeout=20) as http:
        whole = (await http.get(path, headers=headers)).text  # until the server ends the stream
        assert "chat.resume_boundary" in whole
        assert (await http.get(path, headers=headers)).status_code == 401


FOREIGN: dict[str, dict[str, Any]] = {
    "user.input.submit": {"text": "x", "input_request_id": "QUESTION"},
    "ui_tool_response": {"eventId": "QUESTION", "response": {}},
    "client.resume": {"lastClientIndex": 0},
    "chat.cancel": {},
    "chat.stop": {},
    "chat.fork": {},
    "chat.retry": {},
    "chat.edit": {"message_seq": 2, "text": "x"},
    "chat.rewind": {"to_seq": 4},
    "chat.rename": {"title": "x"},
    "chat.archive": {},
    "chat.delete": {},
    "chat.switch_workflow": {},
    "chat.start_workflow": {"workflow_name": WORKFLOW},
    "chat.start_workflow_batch": {"runs": [{"workflow_name": WORKFLOW}]},
    "chat.enter_general_mode": {},
    "chat.start_general_chat": {},
    "chat.artifact_action": {
        "data": {"action": "update_state", "artifact_id": "QUESTION", "payload": {"colour": "red"}}
    },
}
"""Messages that could reach ana's chat from a socket of another user."""
STARTING = {
    *("chat.start_workflow", "chat.start_workflow_batch"),
    *("chat.enter_general_mode", "chat.start_general_chat"),
}
GENERAL = WorkflowName("General")


def test_every_type_of_client_message_is_covered_here() -> None:
    assert set(FOREIGN) == set(client_message_parser._BY_TYPE)


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("claims", [{"sub": "bob"}, {"app_id": "other"}], ids=str)
async def test_no_message_on_ones_own_socket_reaches_a_chat_of_somebody_else(
    guarded: str,
    ana_chat: Chat,
    issuer: Issuer,
    gateway: JetStreamGateway,
    kind: str,
    claims: dict[str, str],
) -> None:
    user, app = claims.get("sub", "ana"), AppId(claims.get("app_id", "acme"))
    own = Chat(gateway, ChatKey(app, new_chat_id()))
    await own.append(STARTED.model_copy(update={"user_id": user}), SELECTED, component_requested())
    ours = WorkflowCard(name=GENERAL, pattern="DefaultPattern", general=True)
    await publish_cards(gateway, WorkflowCard(name=WORKFLOW, pattern="DefaultPattern"), ours)
    commands: asyncio.Queue[StartChat] = asyncio.Queue()

    async def on_command(message: Msg) -> None:
        commands.put_nowait(StartChat.model_validate_json(message.data))

    await gateway.nc.subscribe("mozaiks.cmd.*.*.*.start_chat", cb=on_command)
    await gateway.nc.flush()
    path = f"{guarded}{own.path(user)}?after=0"
    socket = await client(path, additional_headers=bearing(issuer.token(**claims)))
    await socket.until("chat.resume_boundary")
    open_question = question(ana_chat.key, 1, "call-1", 0)
    message = json.loads(json.dumps(FOREIGN[kind]).replace("QUESTION", open_question))
    injected = {"app_id": "acme", "user_id": "ana", "chat_id": ana_chat.key.chat}
    await socket.send(**{**injected, **message, "type": kind})
    if kind in STARTING:  # it starts a chat of the sender, whatever ids were added
        command = await asyncio.wait_for(commands.get(), PATIENCE_SECONDS)
        assert (command.app_id, command.user_id) == (app, user)
    else:
        assert (await socket.until("chat.error"))["error_code"] in (
            "NOT_ALLOWED",
            "CHAT_NOT_FOUND",
            "QUESTION_NOT_OPEN",
            "SCHEMA_VALIDATION_FAILED",  # no component of this chat
        )
    assert SECRET not in str(socket.frames)
    assert await command_count(gateway, ana_chat.key) == 0
    await socket.close()


async def test_messages_over_the_rate_limit_get_an_error_and_the_socket_stays_open(
    open_transport: Open, ana_chat: Chat, issuer: Issuer
) -> None:
    address = await open_transport(auth_issuer=issuer.url, rate_per_user=12)
    socket = await viewing(address, ana_chat, additional_headers=bearing(issuer.token()))
    codes: list[str] = []
    for _ in range(4):
        await socket.send(type="chat.unheard_of")
        codes.append((await socket.until("chat.error"))["error_code"])
    assert codes == [*["SCHEMA_VALIDATION_FAILED"] * 2, *["RATE_LIMITED"] * 2]
    await socket.close()
