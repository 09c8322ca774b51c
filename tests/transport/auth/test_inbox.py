"""The inbox: for the user, by the roles of the token, for back ends and operators; page by page and live."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contracts import inbox
from contracts.events import Event
from contracts.events.human import Approval, Audience
from contracts.ids import AppId, ChatKey, QuestionId, UserId, new_chat_id
from contracts.subjects import question
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.patience import PATIENCE_SECONDS
from tests.transport.auth.issuer import Issuer
from tests.transport.auth.test_every_route import bearing
from tests.transport.persistence import Persistence, answering
from tests.transport.story import ANA, STARTED, Chat, question_answered, question_asked

pytestmark = pytest.mark.broker

FINANCE = Audience(users=[UserId("bob")], roles=["finance"])


@pytest.fixture
async def http(guarded: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{guarded}", timeout=20) as http:
        yield http


@pytest.fixture
async def persistence(gateway: JetStreamGateway) -> AsyncIterator[Persistence]:
    async with answering(gateway) as persistence:
        yield persistence


@pytest.fixture
def app() -> AppId:
    """An app that no other test has."""
    return AppId(f"app-{new_chat_id()}")


def asked_of(key: ChatKey) -> QuestionId:
    return question(key, 1, "call-1", 0)


async def asking(
    gateway: JetStreamGateway, persistence: Persistence, app: AppId, audience: Audience | None
) -> Chat:
    """A chat of ana's with an open approval, known to persistence."""
    chat = Chat(gateway, ChatKey(app, new_chat_id()))
    pay = Approval(tool="pay", digest="d" * 64)
    update = {"approval": pay, "audience": audience}
    asked: Event = question_asked(asked_of(chat.key)).model_copy(update=update)
    await chat.append(STARTED, asked)
    await persistence.project(chat)
    return chat


async def chats_in(http: httpx.AsyncClient, path: str, token: str, **query: Any) -> list[str]:
    reply = await http.get(path, headers=bearing(token), params=query)
    assert reply.status_code == 200, reply.text
    return [one["chat_id"] for one in reply.json()["questions"]]


async def test_everybody_sees_what_waits_for_them_and_nothing_else(
    http: httpx.AsyncClient,
    issuer: Issuer,
    gateway: JetStreamGateway,
    persistence: Persistence,
    app: AppId,
) -> None:
    own = (await asking(gateway, persistence, app, None)).key.chat
    finance = (await asking(gateway, persistence, app, FINANCE)).key.chat
    await asking(gateway, persistence, AppId(f"{app}-2"), FINANCE)

    async def seen(user: str, **claims: Any) -> list[str]:
        token = issuer.token(sub=user, app_id=app, **claims)
        return await chats_in(http, f"/api/inbox/{app}/{user}", token)

    assert await seen("ana") == [own]
    assert set(await seen("ana", roles=["finance"])) == {own, finance}
    assert await seen("bob") == [finance]
    assert await seen("zoe", roles=["finance", "sales"]) == [finance]
    assert await seen("eve", roles=["sales"]) == []


async def test_what_a_question_shows_is_enough_to_answer_it(
    http: httpx.AsyncClient,
    issuer: Issuer,
    gateway: JetStreamGateway,
    persistence: Persistence,
    app: AppId,
) -> None:
    chat = await asking(gateway, persistence, app, FINANCE)
    token = bearing(issuer.token(sub="bob", app_id=app))
    (shown,) = (await http.get(f"/api/inbox/{app}/bob", headers=token)).json()["questions"]
    asked = asked_of(chat.key)
    assert (shown["question_id"], shown["user_id"], shown["tool"]) == (asked, ANA, "pay")
    assert (shown["asks_user"], shown["users"], shown["roles"]) == (False, ["bob"], ["finance"])
    url = f"/api/chats/{app}/{chat.key.chat}/questions/{asked}/answer"
    body = {"approved": True, "arguments_digest": shown["digest"]}
    assert (await http.post(url, json=body, headers=token)).status_code == 200


@pytest.mark.parametrize(
    ("path", "claims", "status"),
    [
        ("ana", {"sub": "bob"}, 403),
        ("bob?role=finance", {"sub": "bob"}, 403),
        ("ana", {"sub": "ana", "app_id": "other"}, 403),
        ("ana", {"sub": "ops", "scope": "mozaiks.operator"}, 403),
        ("", {"sub": "ana"}, 403),
        ("", {"sub": "ops", "scope": "mozaiks.operator"}, 200),
        ("", {"sub": "ops", "scope": "mozaiks.operator", "app_id": "other"}, 403),
        ("ana", {"sub": "shop", "scope": "mozaiks.internal"}, 200),
        ("ana?cursor=x", {"sub": "ana"}, 400),
        ("ana?limit=0", {"sub": "ana"}, 400),
    ],
)
async def test_an_inbox_is_open_to_its_user_back_ends_and_for_a_whole_app_to_operators(
    http: httpx.AsyncClient,
    issuer: Issuer,
    gateway: JetStreamGateway,
    persistence: Persistence,
    app: AppId,
    path: str,
    claims: dict[str, Any],
    status: int,
) -> None:
    await asking(gateway, persistence, app, None)
    token = issuer.token(**{"app_id": app, **claims})
    url = f"/api/inbox/{app}/{path}".rstrip("/")
    reply = await http.get(url, headers=bearing(token))
    assert reply.status_code == status, reply.text
    if status == 200:
        assert len(reply.json()["questions"]) == 1


async def test_a_back_end_names_the_roles_of_the_user_it_asks_for(
    http: httpx.AsyncClient,
    issuer: Issuer,
    gateway: JetStreamGateway,
    persistence: Persistence,
    app: AppId,
) -> None:
    chat = await asking(gateway, persistence, app, FINANCE)
    backend = issuer.token(sub="shop", scope="mozaiks.internal", app_id=app)
    url = f"/api/inbox/{app}/zoe"
    assert await chats_in(http, url, backend) == []
    assert await chats_in(http, url, backend, role=["sales", "finance"]) == [chat.key.chat]


async def test_an_inbox_is_paged_by_its_cursor(
    http: httpx.AsyncClient,
    issuer: Issuer,
    gateway: JetStreamGateway,
    persistence: Persistence,
    app: AppId,
) -> None:
    chats = {(await asking(gateway, persistence, app, None)).key.chat for _ in range(5)}
    token = bearing(issuer.token(app_id=app))
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(10):
        query = {"limit": "2"} if cursor is None else {"limit": "2", "cursor": cursor}
        page = (await http.get(f"/api/inbox/{app}/ana", headers=token, params=query)).json()
        seen += [one["chat_id"] for one in page["questions"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert (len(seen), set(seen)) == (5, chats)


async def test_a_stream_shows_the_inbox_at_once_and_after_each_change(
    http: httpx.AsyncClient,
    issuer: Issuer,
    gateway: JetStreamGateway,
    persistence: Persistence,
    app: AppId,
) -> None:
    token = bearing(issuer.token(sub="zoe", app_id=app, roles=["finance"]))
    url = f"/api/inbox/{app}/zoe/events"
    async with http.stream("GET", url, headers=token) as stream, asyncio.timeout(PATIENCE_SECONDS):
        assert stream.headers["content-type"].startswith("text/event-stream")
        pages = pages_of(stream)
        assert await anext(pages) == []
        chat = await asking(gateway, persistence, app, FINANCE)
        await gateway.inbox.announce(app, [inbox.of_role("finance")])
        assert await anext(pages) == [asked_of(chat.key)]
        await asking(gateway, persistence, app, None)  # for ana: no change of this inbox
        await gateway.inbox.announce(app, [inbox.of_user("ana")])
        await chat.append(question_answered(asked_of(chat.key)))
        await persistence.project(chat)
        await gateway.inbox.announce(app, [inbox.of_role("finance"), inbox.of_user("bob")])
        assert await anext(pages) == []


async def pages_of(stream: httpx.Response) -> AsyncIterator[list[str]]:
    """The questions of each page."""
    async for line in stream.aiter_lines():
        if line.startswith("data: "):
            page = json.loads(line.removeprefix("data: "))
            yield [one["question_id"] for one in page["questions"]]
