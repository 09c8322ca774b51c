"""The effect ledger over HTTP: of a chat for its user, of an app for operators, page by page."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contracts.ids import AppId, ChatKey, new_chat_id
from mozaiks_client import Client
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.persistence.story import ANN, charges
from tests.transport.persistence import Persistence, answering
from tests.transport.story import Chat

pytestmark = pytest.mark.broker

SPAN = {"since": "2020-01-01T00:00:00Z", "until": "2040-01-01T00:00:00+00:00"}


@pytest.fixture
async def http(transport: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=20) as http:
        yield http


@pytest.fixture
async def persistence(gateway: JetStreamGateway) -> AsyncIterator[Persistence]:
    async with answering(gateway) as persistence:
        yield persistence


@pytest.fixture
async def shopping(gateway: JetStreamGateway, persistence: Persistence) -> Chat:
    """A stored chat with three effects, of an app of its own."""
    chat = Chat(gateway, ChatKey(AppId(f"app {new_chat_id()}"), new_chat_id()))
    await chat.append(*charges(3, chat.key))
    await persistence.project(chat)
    return chat


def path(chat: Chat) -> str:
    return f"/api/chats/{chat.key.app}/{chat.key.chat}/effects"


async def pages(http: httpx.AsyncClient, path: str, **params: Any) -> list[list[dict[str, Any]]]:
    """All pages, from the first to the last."""
    found, cursor = list[list[dict[str, Any]]](), None
    while True:
        query = {**params, **({"cursor": cursor} if cursor else {})}
        answer = await http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["effects"])
        if (cursor := answer.json()["next"]) is None:
            return found


async def test_a_chats_effects_have_arguments_key_outcome_and_receipt(
    http: httpx.AsyncClient, shopping: Chat
) -> None:
    ((first, *_),) = await pages(http, path(shopping), user_id=ANN)
    key = f"{shopping.key.app}:{shopping.key.chat}:1:c0"
    assert (first["tool"], first["outcome"], first["receipt"]) == ("charge", "ok", {"charge": "c0"})
    assert (first["arguments"], first["idempotency_key"]) == ('{"cents": 5}', key)
    assert first["dispatched_at"].endswith("+00:00")


async def test_pages_follow_one_another(http: httpx.AsyncClient, shopping: Chat) -> None:
    (whole,) = await pages(http, path(shopping), user_id=ANN)
    assert [one["tool_call_id"] for one in whole] == ["c0", "c1", "c2"]
    assert await pages(http, path(shopping), user_id=ANN, limit=1) == [[one] for one in whole]
    app = f"/api/effects/{shopping.key.app}"
    paged = await pages(http, app, **SPAN, limit=2)
    assert [one for page in paged for one in page] == whole
    assert await pages(http, app, since="2039-01-01T00:00:00Z", until=SPAN["until"]) == [[]]


async def test_another_user_and_an_unknown_chat_get_404(
    http: httpx.AsyncClient, shopping: Chat
) -> None:
    for query in ({"user_id": "bob"}, {"user_id": ANN, "cursor": "1.a.b.1"}):
        answer = await http.get(path(shopping), params=query)
        assert answer.status_code == (404 if query["user_id"] == "bob" else 200)
    unknown = await http.get(f"/api/chats/{shopping.key.app}/none/effects", params={"user_id": ANN})
    assert unknown.status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        {"cursor": "x"},
        {"cursor": "1.a.b"},
        {"limit": "0"},
        {"limit": "101"},
        {"since": "yesterday"},
        {"since": "2026-01-01T00:00:00"},
    ],
    ids=str,
)
async def test_a_wrong_query_is_refused_by_name(
    http: httpx.AsyncClient, query: dict[str, str]
) -> None:
    answer = await http.get("/api/effects/acme", params={**SPAN, **query})
    assert answer.status_code == 400, answer.text
    assert next(iter(query)) in answer.text


async def test_the_client_reads_the_effects_of_a_chat(transport: str, shopping: Chat) -> None:
    async with Client(f"http://{transport}", app=shopping.key.app, user=ANN) as client:
        chat = client.chat(shopping.key.chat, "Generator")
        first = await chat.effects(limit=2)
        assert [one["tool_call_id"] for one in first.effects] == ["c0", "c1"]
        rest = await chat.effects(first.next)
        assert [one["tool_call_id"] for one in rest.effects] == ["c2"]
        assert rest.next is None
