"""Links that answer a question: issued for those who may, shown by GET, used once by POST."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from contracts.events.human import Approval, Audience, HumanAnswered, HumanAsked
from contracts.ids import QuestionId, UserId
from contracts.subjects import question
from services.chassis.answer_links import AnswerLinks
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.transport.auth.conftest import LINK_SECRET
from tests.transport.auth.issuer import Issuer
from tests.transport.auth.test_answers import last_answer
from tests.transport.auth.test_every_route import bearing, command_count
from tests.transport.story import (
    COMPLETED,
    STARTED,
    Chat,
    component_requested,
    question_answered,
    question_asked,
    remove_commands,
)

pytestmark = pytest.mark.broker

DIGEST = "d" * 64
OURS = AnswerLinks(LINK_SECRET.encode(), "", timedelta(days=7))
HTML = {"accept": "text/html,*/*"}


@pytest.fixture
async def http(guarded: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{guarded}") as http:
        yield http


def asked_of(chat: Chat) -> QuestionId:
    return question(chat.key, 1, "call-1", 0)


def approval(chat: Chat) -> HumanAsked:
    pay = Approval(tool="pay", digest=DIGEST)
    update = {
        "approval": pay,
        "audience": Audience(users=[UserId("bob")], roles=["finance"]),
        "prompt": "May pay be called with <b>12</b>?" + "!" * 400,
        "options": ["Approve", "Deny"],
    }
    return question_asked(asked_of(chat)).model_copy(update=update)


def url(chat: Chat, what: str = "/link") -> str:
    asked = quote(asked_of(chat), safe="")
    return f"/api/chats/{chat.key.app}/{chat.key.chat}/questions/{asked}{what}"


async def issued(
    http: httpx.AsyncClient, chat: Chat, token: str, **body: Any
) -> tuple[str, httpx.Response]:
    """The path of a new link, and the whole response."""
    response = await http.post(url(chat), json=body, headers=bearing(token))
    link = response.json().get("url", "")
    return link.removeprefix("https://chat.example.com"), response


async def test_a_link_of_an_approver_answers_once_without_a_token(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, approval(chat))
    path, _ = await issued(http, chat, issuer.token(sub="zoe", roles=["finance"]))
    assert path.startswith("/answer/")
    shown = await http.get(path)
    assert (shown.status_code, shown.json()["prompt"]) == (200, approval(chat).prompt)
    assert await command_count(gateway, chat.key) == 0  # GET never answers
    assert (await http.post(path, json={"approved": True})).status_code == 200
    answer = await last_answer(gateway, chat)
    assert (answer["user_id"], answer["role"]) == ("zoe", "finance")
    assert (answer["approved"], answer["digest"]) == (True, DIGEST)
    again = await http.post(path, json={"approved": False})
    assert again.status_code == 404
    assert "answered already" in again.json()["detail"]


async def test_a_used_link_is_refused_after_the_answer_is_in_the_log(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, question_asked(asked_of(chat)))
    path, _ = await issued(http, chat, issuer.token())
    assert (await http.post(path, json={"text": "red"})).status_code == 200
    await chat.append(question_answered(asked_of(chat)))
    await remove_commands(gateway, chat.key)
    for reply in (await http.post(path, json={"text": "red"}), await http.get(path)):
        assert reply.status_code == 404


async def test_of_many_uses_of_a_link_at_once_one_is_accepted(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer
) -> None:
    await chat.append(STARTED, question_asked(asked_of(chat)))
    path, _ = await issued(http, chat, issuer.token())
    uses = await asyncio.gather(*(http.post(path, json={"text": "red"}) for _ in range(6)))
    assert sorted(one.status_code for one in uses) == [200, *[404] * 5]


@pytest.mark.parametrize(
    ("claims", "body", "status"),
    [
        ({}, {}, 403),  # the chat's user
        ({"sub": "zoe", "roles": ["sales"]}, {}, 404),
        ({"sub": "zoe"}, {"user_id": "bob"}, 404),
        ({"sub": "bob", "app_id": "other"}, {}, 403),
        ({"sub": "shop", "scope": "mozaiks.internal"}, {"user_id": "zoe"}, 403),
    ],
)
async def test_a_link_is_not_issued_to_who_may_not_answer(
    http: httpx.AsyncClient,
    chat: Chat,
    issuer: Issuer,
    claims: dict[str, Any],
    body: dict[str, Any],
    status: int,
) -> None:
    await chat.append(STARTED, approval(chat))
    _, response = await issued(http, chat, issuer.token(**claims), **body)
    assert response.status_code == status


async def test_a_back_end_gets_links_for_the_users_it_names(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, approval(chat))
    backend = issuer.token(sub="shop", scope="mozaiks.internal")
    path, response = await issued(http, chat, backend, user_id="zoe", role="finance")
    assert response.status_code == 200
    await http.post(path, json={"approved": False, "text": "Too much"})
    answer = await last_answer(gateway, chat)
    assert (answer["user_id"], answer["role"], answer["text"]) == ("zoe", "finance", "Too much")


def forged(chat: Chat, links: AnswerLinks = OURS, **changes: Any) -> str:
    """The path of a link that was signed here."""
    given: dict[str, Any] = {
        "key": chat.key,
        "question": asked_of(chat),
        "now": datetime.now(UTC),
        "user": UserId("bob"),
        "digest": DIGEST,
        **changes,
    }
    return links.issue(**given).url


async def test_a_forged_or_expired_link_is_refused(
    http: httpx.AsyncClient, chat: Chat, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, approval(chat))
    other_secret = AnswerLinks(b"x" * 32, "", timedelta(days=7))
    now = datetime.now(UTC)
    expected = {
        forged(chat, other_secret): (404, "link: is not valid"),
        forged(chat)[:-2]: (404, "link: is not valid"),
        "/answer/x.y": (404, "link: is not valid"),
        forged(chat, now=now - timedelta(days=8)): (410, "link: has expired"),
        forged(chat, expires_at=now - timedelta(seconds=1)): (410, "link: has expired"),
    }
    for path, (status, detail) in expected.items():
        for reply in (await http.get(path), await http.post(path, json={"approved": True})):
            assert (reply.status_code, reply.json()["detail"]) == (status, detail), path
    assert await command_count(gateway, chat.key) == 0


async def test_a_link_for_somebody_who_is_not_asked_or_for_other_arguments_answers_nothing(
    http: httpx.AsyncClient, chat: Chat, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, approval(chat))
    other = Chat(gateway)
    await other.append(STARTED)
    paths = [
        forged(chat, user=UserId("eve")),
        forged(chat, user=UserId("eve"), role="sales"),
        forged(chat, user=UserId("ana")),
        forged(chat, key=other.key, question=asked_of(other)),
    ]
    for path in paths:
        assert (await http.post(path, json={"approved": True})).status_code in (403, 404)
    other_arguments = forged(chat, digest="e" * 64)
    assert (await http.post(other_arguments, json={"approved": True})).status_code == 404
    assert await command_count(gateway, chat.key) == 0


async def test_a_link_to_a_question_that_has_expired_or_whose_chat_has_ended_is_not_open(
    http: httpx.AsyncClient, chat: Chat, gateway: JetStreamGateway
) -> None:
    expired = HumanAnswered(
        question_id=asked_of(chat), user_id=UserId("ana"), text="Deny", by_default=True
    )
    await chat.append(STARTED, approval(chat), expired)
    assert (await http.post(forged(chat), json={"approved": True})).status_code == 404
    ended = Chat(gateway)
    await ended.append(STARTED, approval(ended), COMPLETED)
    path = forged(ended)
    assert (await http.post(path, json={"approved": True})).status_code == 404


async def test_the_page_of_a_link_escapes_what_it_shows_and_its_form_answers(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, approval(chat))
    path, _ = await issued(http, chat, issuer.token(sub="bob"))
    page = await http.get(path, headers=HTML)
    assert page.headers["content-type"].startswith("text/html")
    assert "&lt;b&gt;12&lt;/b&gt;" in page.text
    assert "<b>" not in page.text
    assert "script" not in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    form = {"decide": "1", "choice": "Deny", "text": "Too <much>"}
    done = await http.post(path, data=form, headers=HTML)
    assert (done.status_code, "was accepted" in done.text) == (200, True)
    answer = await last_answer(gateway, chat)
    assert (answer["approved"], answer["text"]) == (False, "Too <much>")
    late = await http.post(path, data=form, headers=HTML)
    assert (late.status_code, "answered already" in late.text) == (404, True)


async def test_the_form_of_an_ordinary_question_sends_an_option_or_a_text(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, question_asked(asked_of(chat)))
    path, _ = await issued(http, chat, issuer.token())
    page = (await http.get(path, headers=HTML)).text
    assert 'value="red"' in page
    empty = await http.post(path, data={"text": " "}, headers=HTML)
    assert empty.status_code == 400
    assert (await http.post(path, data={"choice": "red", "text": ""})).status_code == 200
    assert (await last_answer(gateway, chat))["text"] == "red"


async def test_a_component_is_shown_by_a_link_and_answered_as_json(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, component_requested(asked_of(chat)))
    path, _ = await issued(http, chat, issuer.token())
    assert "only be answered in the chat" in (await http.get(path, headers=HTML)).text
    assert (await http.get(path)).json()["payload"] == {"colours": 2}
    assert (await http.post(path, json={"response": {"colour": "red"}})).status_code == 200
    assert (await last_answer(gateway, chat))["response"] == {"colour": "red"}


async def test_an_approver_reads_the_whole_question_without_a_link(
    http: httpx.AsyncClient, chat: Chat, issuer: Issuer
) -> None:
    await chat.append(STARTED, approval(chat))
    bob = bearing(issuer.token(sub="bob"))
    found = (await http.get(url(chat, ""), headers=bob)).json()
    assert (found["prompt"], found["digest"]) == (approval(chat).prompt, DIGEST)
    eve = bearing(issuer.token(sub="eve"))
    assert (await http.get(url(chat, ""), headers=eve)).status_code == 404


async def test_without_a_secret_there_are_no_links(
    own_guarded: str, own_issuer: Issuer, chat: Chat
) -> None:
    await chat.append(STARTED, question_asked(asked_of(chat)))
    async with httpx.AsyncClient(base_url=f"http://{own_guarded}") as http:
        _, response = await issued(http, chat, own_issuer.token())
        assert response.status_code == 409
        assert "ANSWER_LINK_SECRET" in response.json()["detail"]
        assert (await http.get(forged(chat))).status_code == 404
