"""The timeline of a chat, and two chats side by side, over HTTP."""

from collections.abc import AsyncIterator

import httpx
import pytest

from contracts.events.turn import ModelWait
from contracts.ids import new_chat_id
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.transport.conftest import Open
from tests.transport.story import DONE, NOON, REQUESTED, RESPONDED, SELECTED, STARTED, USED, Chat

pytestmark = pytest.mark.broker


@pytest.fixture
async def http(transport: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=20) as http:
        yield http


async def test_a_timeline_has_the_newest_entries_and_says_where_earlier_ones_are(
    http: httpx.AsyncClient, chat: Chat
) -> None:
    await chat.append(STARTED, SELECTED, REQUESTED, RESPONDED, USED, DONE)
    path = f"/api/chats/{chat.key.app}/{chat.key.chat}/timeline"
    page = (await http.get(path)).json()
    assert [one["kind"] for one in page["entries"]] == ["start", "turn", "model_call"]
    assert page["entries"][2]["prompt_tokens"] == 3
    assert (page["earlier"], page["trace_url"]) == (None, None)
    assert page["chat"]["last_sequence"] == 6
    newest = (await http.get(path, params={"limit": 1})).json()
    assert [one["seq"] for one in newest["entries"]] == [3]
    earlier = (await http.get(path, params={"before": newest["earlier"]})).json()
    assert [one["seq"] for one in earlier["entries"]] == [1, 2]


async def test_a_model_call_and_the_waits_of_it_are_on_one_page(
    http: httpx.AsyncClient, chat: Chat
) -> None:
    wait = ModelWait(code="MODEL_RATE_LIMITED", seconds=2, until=NOON, attempt=2)
    used = USED.model_copy(update={"waits": [wait]})
    await chat.append(STARTED, SELECTED, REQUESTED, RESPONDED, used, DONE)
    path = f"/api/chats/{chat.key.app}/{chat.key.chat}/timeline"
    page = (await http.get(path, params={"limit": 1})).json()
    assert [one["kind"] for one in page["entries"]] == ["model_call", "provider_wait"]
    assert page["entries"][1]["attempt"] == 2
    earlier = (await http.get(path, params={"before": page["earlier"]})).json()
    assert [one["kind"] for one in earlier["entries"]] == ["start", "turn"]


async def test_two_chats_of_a_user_are_compared(
    http: httpx.AsyncClient, chat: Chat, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, SELECTED, REQUESTED, RESPONDED, USED, DONE)
    other = Chat(gateway, chat.key._replace(chat=new_chat_id()))
    await other.append(
        STARTED, SELECTED, REQUESTED, RESPONDED, USED, DONE.model_copy(update={"text": "Another."})
    )
    path = f"/api/chats/{chat.key.app}/{chat.key.chat}/compare/{other.key.chat}"
    page = (await http.get(path, params={"user_id": "ana"})).json()
    assert page["first_difference"] == 1
    assert page["pairs"][1]["differs_in"] == ["text"]
    assert page["shared_events"] == 0
    theirs = await http.get(path, params={"user_id": "bob"})
    assert theirs.status_code == 404


async def test_what_was_said_is_not_compared_where_events_are_not_shown(
    open_transport: Open, chat: Chat
) -> None:
    await chat.append(STARTED)
    address = await open_transport(raw_events=False, trace_url="https://traces/{trace_id}")
    chat_path = f"/api/chats/{chat.key.app}/{chat.key.chat}"
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=20) as http:
        page = await http.get(f"{chat_path}/timeline")
        assert page.json()["trace_url"] == "https://traces/{trace_id}"
        for path in (f"compare/{chat.key.chat}", "model-calls/1"):
            answer = await http.get(f"{chat_path}/{path}", params={"user_id": "ana"})
            assert answer.status_code == 403, answer.text
