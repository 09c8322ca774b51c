"""Who may answer a question, and that the first answer is the only one that is accepted."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from contracts.commands import AnswerQuestion, AnswerUiTool, Command
from contracts.events.human import (
    Approval,
    Audience,
    HumanAsked,
    QuestionEscalated,
    QuestionExpired,
)
from contracts.ids import CommandId, QuestionId, UserId
from contracts.subjects import question
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.transport.auth.issuer import Issuer
from tests.transport.auth.test_every_route import bearing
from tests.transport.conftest import Open
from tests.transport.story import (
    COMPLETED,
    STARTED,
    Chat,
    Client,
    client,
    component_requested,
    last_command,
    question_answered,
    question_asked,
    remove_commands,
)

pytestmark = pytest.mark.broker

DIGEST = "d" * 64
FINANCE = Audience(users=[UserId("bob")], roles=["finance"])


@pytest.fixture
async def http(guarded: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{guarded}") as http:
        yield http


def asked_of(chat: Chat) -> QuestionId:
    return question(chat.key, 1, "call-1", 0)


def approval(chat: Chat, audience: Audience | None = FINANCE) -> HumanAsked:
    pay = Approval(tool="pay", digest=DIGEST, allow_always=True)
    return question_asked(asked_of(chat)).model_copy(update={"approval": pay, "audience": audience})


def url(chat: Chat, question_id: str | None = None) -> str:
    asked = quote(question_id or asked_of(chat), safe="")
    return f"/api/chats/{chat.key.app}/{chat.key.chat}/questions/{asked}/answer"


async def last_answer(gateway: JetStreamGateway, chat: Chat) -> dict[str, Any]:
    command: Command = await last_command(gateway, chat.key)
    assert isinstance(command, AnswerQuestion | AnswerUiTool)
    shown = {"user_id", "role", "approved", "always", "text", "response", "digest"}
    return command.model_dump(include=shown)


async def test_an_approver_answers_by_name_or_by_role_and_is_named(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, approval(chat))
    zoe = bearing(issuer.token(sub="zoe", roles=["sales", "finance"]))
    body = {"approved": True, "always": True, "arguments_digest": DIGEST}
    answered = await http.post(url(chat), json=body, headers=zoe)
    assert (answered.status_code, answered.json()["status"]) == (200, "success")
    assert await last_answer(gateway, chat) == {
        "user_id": "zoe",
        "role": "finance",
        "approved": True,
        "always": True,
        "text": "Always for this chat",
        "digest": DIGEST,
    }


async def test_a_user_who_is_named_needs_no_role(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, approval(chat))
    bob = bearing(issuer.token(sub="bob"))
    refused = {"approved": False, "text": "Too much"}
    assert (await http.post(url(chat), json=refused, headers=bob)).status_code == 200
    answer = await last_answer(gateway, chat)
    assert (answer["user_id"], answer["role"], answer["text"]) == ("bob", None, "Too much")


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({}, 403),  # the chat's user sees the question
        ({"sub": "zoe"}, 404),
        ({"sub": "zoe", "roles": ["sales"]}, 404),
        ({"sub": "bob", "app_id": "other"}, 403),
        ({"sub": "zoe", "roles": ["finance"], "app_id": "other"}, 403),
        ({"scope": "mozaiks.internal"}, 403),  # for the chat's user, who may not either
    ],
)
async def test_an_answer_by_somebody_who_may_not_is_refused(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer, claims: dict[str, Any], status: int
) -> None:
    await chat.append(STARTED, approval(chat))
    token = bearing(issuer.token(**claims))
    body = {"approved": True}
    assert (await http.post(url(chat), json=body, headers=token)).status_code == status


async def test_a_back_end_answers_for_a_user_whose_role_it_vouches_for(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, approval(chat))
    backend = bearing(issuer.token(sub="shop", scope="mozaiks.internal"))
    for wrong in ({"user_id": "zoe", "role": "sales"}, {"role": "finance"}):
        refused = await http.post(url(chat), json={"approved": True, **wrong}, headers=backend)
        assert refused.status_code == 403
    body = {"approved": True, "user_id": "zoe", "role": "finance"}
    assert (await http.post(url(chat), json=body, headers=backend)).status_code == 200
    answer = await last_answer(gateway, chat)
    assert (answer["user_id"], answer["role"]) == ("zoe", "finance")


async def test_a_user_cannot_answer_as_somebody_else(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer
) -> None:
    await chat.append(STARTED, approval(chat))
    zoe = bearing(issuer.token(sub="zoe"))
    for more in ({"user_id": "bob"}, {"role": "finance"}, {"user_id": "bob", "role": "finance"}):
        answered = await http.post(url(chat), json={"approved": True, **more}, headers=zoe)
        assert answered.status_code == 404


async def test_an_answer_to_other_arguments_is_refused(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer
) -> None:
    await chat.append(STARTED, approval(chat, None))
    body = {"approved": True, "arguments_digest": "e" * 64}
    answered = await http.post(url(chat), json=body, headers=bearing(issuer.token()))
    assert answered.status_code == 404
    assert answered.json()["detail"].startswith("arguments_digest: ")


async def test_a_question_of_another_app_or_chat_is_not_open(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer, gateway: JetStreamGateway
) -> None:
    other = Chat(gateway)
    await chat.append(STARTED, approval(chat, None))
    await other.append(STARTED)
    token = bearing(issuer.token())
    for asked in (asked_of(other), "acme.c.1", f"shop.{chat.key.chat}.1.0.call-1", "%"):
        answered = await http.post(url(chat, asked), json={"approved": True}, headers=token)
        assert answered.status_code == 404, asked
        answered = await http.post(url(other, asked_of(chat)), json={"text": "x"}, headers=token)
        assert answered.status_code == 404


async def test_an_escalated_question_is_answered_by_the_second_audience(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer
) -> None:
    await chat.append(STARTED, question_asked(asked_of(chat)))
    manager = bearing(issuer.token(sub="zoe", roles=["manager"]))
    assert (await http.post(url(chat), json={"text": "red"}, headers=manager)).status_code == 404
    to = Audience(roles=["manager"])
    await chat.append(QuestionEscalated(question_id=asked_of(chat), to=to))
    assert (await http.post(url(chat), json={"text": "red"}, headers=manager)).status_code == 200


async def test_a_component_is_answered_by_the_same_route(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, component_requested(asked_of(chat)))
    token = bearing(issuer.token())
    assert (await http.post(url(chat), json={"text": "red"}, headers=token)).status_code == 404
    body = {"response": {"colour": "red"}}
    assert (await http.post(url(chat), json=body, headers=token)).status_code == 200
    assert (await last_answer(gateway, chat))["response"] == {"colour": "red"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "text"),
        ({"text": " "}, "must not be empty"),
        ({"text": "x", "response": {}}, "response"),
        ({"text": "x", "always": True}, "always"),
        ({"approved": "yes"}, "approved"),
    ],
)
async def test_a_body_that_is_no_answer_is_refused_by_its_field(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer, body: dict[str, Any], field: str
) -> None:
    await chat.append(STARTED, approval(chat, None))
    answered = await http.post(url(chat), json=body, headers=bearing(issuer.token()))
    assert answered.status_code == 400
    assert field in answered.json()["detail"]


async def test_of_many_answers_at_once_one_is_accepted(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer
) -> None:
    await chat.append(STARTED, approval(chat, None))
    token = bearing(issuer.token())
    answers = await asyncio.gather(
        *(http.post(url(chat), json={"approved": n % 2 == 0}, headers=token) for n in range(8))
    )
    assert sorted(one.status_code for one in answers) == [200, *[404] * 7]


async def test_of_two_sockets_in_the_same_moment_one_hears_that_the_question_is_not_open(
    open_transport: Open, chat: Chat
) -> None:
    await chat.append(STARTED, question_asked(asked_of(chat)))
    addresses = [await open_transport(), await open_transport()]
    sockets = [await client(f"{one}{chat.path()}?after=0") for one in addresses]
    for socket in sockets:
        await socket.until("chat.resume_boundary")

    async def answer(socket: Client, text: str) -> str:
        await socket.send(
            type="user.input.submit",
            chat_id=chat.key.chat,
            text=text,
            input_request_id=asked_of(chat),
        )
        while True:
            frame = await socket.next()
            if frame["type"] == "ack.input":
                return "accepted"
            if frame["type"] == "chat.error":
                return str(frame["error_code"])

    outcomes = await asyncio.gather(*map(answer, sockets, ("red", "blue")))
    assert sorted(outcomes) == ["QUESTION_NOT_OPEN", "accepted"]
    for socket in sockets:
        await socket.close()


async def test_an_answer_that_comes_second_is_refused_over_every_protocol(
    open_transport: Open, chat: Chat
) -> None:
    await chat.append(STARTED, question_asked(asked_of(chat)))
    first, second = [await open_transport(), await open_transport()]
    async with httpx.AsyncClient(timeout=20) as http:
        body = {"input_request_id": asked_of(chat), "user_input": "red", "client_message_id": "m"}
        for address in (first, second):  # the same answer again, on another replica
            answer = await http.post(f"http://{address}/api/user-input/submit", json=body)
            assert answer.status_code == 200
        late = {**body, "client_message_id": "n"}
        answer = await http.post(f"http://{second}/api/user-input/submit", json=late)
        assert answer.status_code == 404
        run = {
            "threadId": chat.key.chat,
            "runId": "r",
            "messages": [],
            "resume": [{"interruptId": asked_of(chat), "status": "resolved", "payload": "blue"}],
            "state": {},
            "tools": [],
            "context": [],
            "forwardedProps": {},
        }
        url = f"http://{second}/agui/{chat.key.app}/{chat.workflow}?user_id=ana"
        answer = await http.post(url, json=run)
        assert (answer.status_code, answer.json()["detail"]) == (
            404,
            "resume: no such question is open",
        )
    socket = await client(f"{second}{chat.path()}?after=0")
    await socket.until("chat.resume_boundary")
    told = {
        "type": "user.input.submit",
        "chat_id": chat.key.chat,
        "input_request_id": asked_of(chat),
    }
    await socket.send(**told, text="blue")
    assert (await socket.until("chat.error"))["error_code"] == "QUESTION_NOT_OPEN"
    await socket.send(**told, text="red", client_message_id="m")
    assert (await socket.until("ack.input"))["data"]["client_message_id"] == "m"


async def test_an_answer_after_the_first_was_handled_is_refused(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, question_asked(asked_of(chat)))
    token = bearing(issuer.token())
    assert (await http.post(url(chat), json={"text": "red"}, headers=token)).status_code == 200
    command = await last_command(gateway, chat.key)
    await chat.append(question_answered(asked_of(chat)), cause=command.command_id)
    await remove_commands(gateway, chat.key)
    assert (await http.post(url(chat), json={"text": "blue"}, headers=token)).status_code == 404


async def test_an_answer_that_still_waits_is_the_first_however_long_ago_it_was_sent(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, question_asked(asked_of(chat)))
    await gateway.commands.send(  # the stream does not know its message id any more
        AnswerQuestion(
            command_id=CommandId(f"earlier-{chat.key.chat}"),
            app_id=chat.key.app,
            chat_id=chat.key.chat,
            user_id=UserId("ana"),
            question_id=asked_of(chat),
            text="red",
        )
    )
    token = bearing(issuer.token())
    assert (await http.post(url(chat), json={"text": "blue"}, headers=token)).status_code == 404


async def test_an_answer_that_is_sent_again_under_its_own_name_is_accepted_again(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, question_asked(asked_of(chat)))
    token, body = bearing(issuer.token()), {"text": "red", "client_request_id": "click-1"}
    for _ in range(2):
        assert (await http.post(url(chat), json=body, headers=token)).status_code == 200
    other = {"text": "blue", "client_request_id": "click-2"}
    assert (await http.post(url(chat), json=other, headers=token)).status_code == 404
    command = await last_command(gateway, chat.key)
    await chat.append(question_answered(asked_of(chat)), cause=command.command_id)
    await remove_commands(gateway, chat.key)
    assert (await http.post(url(chat), json=body, headers=token)).status_code == 200
    assert (await http.post(url(chat), json=other, headers=token)).status_code == 404


async def test_an_answer_that_had_no_effect_blocks_no_other(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, question_asked(asked_of(chat)))
    token = bearing(issuer.token())
    assert (await http.post(url(chat), json={"text": "red"}, headers=token)).status_code == 200
    await remove_commands(gateway, chat.key)  # it was given up
    assert (await http.post(url(chat), json={"text": "blue"}, headers=token)).status_code == 200
    assert (await last_answer(gateway, chat))["text"] == "blue"


@pytest.mark.parametrize("has_default", [True, False])
async def test_an_answer_after_the_expiry_is_refused(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer, *, has_default: bool
) -> None:
    default = question_answered(asked_of(chat)).model_copy(update={"by_default": True})
    expiry = default if has_default else QuestionExpired(question_id=asked_of(chat))
    await chat.append(STARTED, question_asked(asked_of(chat)), expiry)
    token = bearing(issuer.token())
    assert (await http.post(url(chat), json={"text": "red"}, headers=token)).status_code == 404


async def test_an_answer_to_an_ended_chat_is_refused(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer
) -> None:
    await chat.append(STARTED, question_asked(asked_of(chat)), COMPLETED)
    token = bearing(issuer.token())
    assert (await http.post(url(chat), json={"text": "red"}, headers=token)).status_code == 404
