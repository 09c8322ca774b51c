"""A chat explained over HTTP, by an orchestrator or without one."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contracts.subjects import question
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.runtime.explainer import Explainer
from tests.transport.story import REQUESTED, SELECTED, STARTED, Chat, question_asked

pytestmark = pytest.mark.broker


@pytest.fixture
async def http(transport: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=50) as http:
        yield http


async def explained(http: httpx.AsyncClient, chat: Chat) -> dict[str, Any]:
    answer = await http.get(f"/api/chats/{chat.key.app}/{chat.key.chat}/explain")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_chat_is_explained_by_an_orchestrator(
    http: httpx.AsyncClient, chat: Chat, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, SELECTED, REQUESTED)
    async with Explainer(gateway, "orchestrator").answering():
        running = await explained(http, chat)
        await chat.append(question_asked(question(chat.key, 1, "call-1", 0)))
        asked = await explained(http, chat)
    assert running["problem"] is None
    account = running["account"]
    assert (account["waits_for"], account["last_seq"]) == ("model", 3)
    assert account["runner"]["holds_message"] is False
    assert account["runner"]["processes"] == []
    assert [one["kind"] for one in account["causes"]][:1] == ["command"]
    assert len(asked["account"]["questions"]) == 1


async def test_without_an_orchestrator_the_explanation_is_that_there_is_none(
    http: httpx.AsyncClient, chat: Chat
) -> None:
    await chat.append(STARTED)
    found = await explained(http, chat)
    assert found["problem"] == "no orchestrator is running"
    assert found["account"]["sentence"].startswith("Its status is running")
    assert found["read_model"] == {"last_seq": None, "behind": None}


async def test_a_chat_that_does_not_exist_is_not_explained(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/chats/acme/none/explain")
    assert answer.status_code == 404
