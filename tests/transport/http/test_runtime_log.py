"""The runtime log over HTTP: the model calls of an app for operators, page by page."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contracts.ids import AppId, ChatKey, new_chat_id
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.persistence.story import interview
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
async def interviews(gateway: JetStreamGateway, persistence: Persistence) -> list[Chat]:
    """Two stored chats of an app of their own."""
    app = AppId(f"app {new_chat_id()}")
    chats = [Chat(gateway, ChatKey(app, new_chat_id())) for _ in range(2)]
    for chat in chats:
        await chat.append(*interview(chat.key))
        await persistence.project(chat)
    return chats


async def pages(http: httpx.AsyncClient, app: str, **params: Any) -> list[dict[str, Any]]:
    found, cursor = list[dict[str, Any]](), None
    while True:
        query = {**SPAN, **params, **({"cursor": cursor} if cursor else {})}
        answer = await http.get(f"/api/runtime-log/{app}", params=query)
        assert answer.status_code == 200, answer.text
        found += answer.json()["calls"]
        if (cursor := answer.json()["next"]) is None:
            return found


async def test_the_model_calls_of_an_app_and_of_a_chat_come_page_by_page(
    http: httpx.AsyncClient, interviews: list[Chat]
) -> None:
    first, second = (chat.key for chat in interviews)
    whole = await pages(http, first.app)
    assert {call["chat_id"] for call in whole} == {first.chat, second.chat}
    assert await pages(http, first.app, limit=1) == whole
    of_first = [call for call in whole if call["chat_id"] == first.chat]
    assert await pages(http, first.app, chat_id=first.chat) == of_first
    assert await pages(http, "another app") == []
    assert (of_first[0]["agent"], of_first[0]["duration"]) == ("InterviewAgent", 0.5)


@pytest.mark.parametrize(
    "query",
    [{"cursor": "x"}, {"limit": "0"}, {"limit": "201"}, {"since": "2026-01-01T00:00:00"}],
    ids=str,
)
async def test_a_wrong_query_is_refused_by_name(
    http: httpx.AsyncClient, query: dict[str, str]
) -> None:
    answer = await http.get("/api/runtime-log/acme", params={**SPAN, **query})
    assert answer.status_code == 400, answer.text
    assert next(iter(query)) in answer.text
