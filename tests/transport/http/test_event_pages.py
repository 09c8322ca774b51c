import asyncio
from typing import Any

import httpx
import pytest

from services.transport.http import event_pages
from tests.transport.story import (
    CALLED,
    COMPLETED,
    LOGGED,
    REQUESTED,
    SELECTED,
    STARTED,
    Chat,
    component_answered,
    component_requested,
    user_message,
    user_messages,
)

pytestmark = pytest.mark.broker


def url(address: str, chat: Chat, query: str = "") -> str:
    path = f"/api/chats/{chat.key.app}/{chat.key.chat}/events"
    return f"http://{address}{path}?user_id=ana{query}"


async def get(address: str, chat: Chat, query: str) -> dict[str, Any]:
    headers = {"accept": "application/json"}
    async with httpx.AsyncClient(timeout=20, headers=headers) as http:
        answer = await http.get(url(address, chat, query))
        assert answer.status_code == 200
        found: dict[str, Any] = answer.json()
        return found


async def test_a_page_contains_the_frames_after_the_cursor_and_the_next_cursor(
    transport: str, chat: Chat
) -> None:
    await chat.append(STARTED, SELECTED, REQUESTED, CALLED, LOGGED)
    async with httpx.AsyncClient(timeout=20, headers={"accept": "application/json"}) as http:
        page = (await http.get(url(transport, chat, "&after=1"))).json()
        assert [(f["type"], f["seq"]) for f in page["frames"]] == [
            ("chat.select_speaker", 2),
            ("chat.text", 4),
            ("chat.tool_activity", 4),
        ]
        assert page["last_sequence"] == 5
        empty = (await http.get(url(transport, chat, "&after=5"))).json()
        assert empty == {"frames": [], "last_sequence": 5, "chat_status": "running"}


async def test_consecutive_pages_are_the_whole_chat(
    transport: str, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_pages, "PAGE_FRAMES", 2)
    await chat.append(STARTED, CALLED, *user_messages(4), COMPLETED)
    received, after = [], 0
    async with httpx.AsyncClient(timeout=20) as http:
        while page := (await http.get(url(transport, chat, f"&after={after}&wait=0"))).json():
            if not page["frames"]:
                break
            received += [frame["seq"] for frame in page["frames"]]
            after = page["last_sequence"]
    assert received == [1, 2, 2, 3, 4, 5, 6, 7]
    assert page["chat_status"] == "completed"


async def test_a_page_waits_for_new_events(transport: str, chat: Chat) -> None:
    await chat.append(STARTED)
    async with httpx.AsyncClient(timeout=20) as http:
        asking = asyncio.create_task(http.get(url(transport, chat, "&after=1&wait=15")))
        await asyncio.sleep(0.3)
        await chat.append(user_message("hello"))
        page = (await asking).json()
    assert [frame["data"]["content"] for frame in page["frames"]] == ["hello"]
    assert page["last_sequence"] == 2


async def test_pages_of_earlier_events_and_the_tail_are_the_whole_chat(
    transport: str, chat: Chat
) -> None:
    await chat.append(STARTED, CALLED)
    for event in user_messages(100):
        await chat.append(event, LOGGED)
    whole = (await get(transport, chat, "&after=0"))["frames"]
    page = await get(transport, chat, "&tail=30")
    assert (page["first_sequence"], page["last_sequence"]) == (173, 202)
    received = page["frames"]
    while page["first_sequence"] > 1:
        page = await get(transport, chat, f"&before={page['first_sequence']}&limit=30")
        received = page["frames"] + received
    assert received == whole


async def test_a_page_of_earlier_events_shows_an_answer_as_the_live_frame_did(
    transport: str, chat: Chat
) -> None:
    await chat.append(STARTED, component_requested(), component_answered(), *user_messages(3))
    page = await get(transport, chat, "&before=4&limit=1")
    assert [frame["data"]["ui_tool_id"] for frame in page["frames"]] == ["pick_colour"]


@pytest.mark.parametrize(
    ("before", "first", "seqs"), [(1, 1, []), (3, 1, [1, 2]), (9000, 3, [3, 4])]
)
async def test_a_page_ends_at_the_ends_of_the_log(
    transport: str, chat: Chat, before: int, first: int, seqs: list[int]
) -> None:
    await chat.append(STARTED, *user_messages(3))
    page = await get(transport, chat, f"&before={before}&limit=2")
    assert [frame["seq"] for frame in page["frames"]] == seqs
    assert page["first_sequence"] == first


async def test_messages_that_are_no_events_are_on_no_page(transport: str, chat: Chat) -> None:
    await chat.append(STARTED, *user_messages(40))
    await chat.append_foreign(b"nonsense")
    await chat.append(*user_messages(40))
    page = await get(transport, chat, "&before=60&limit=40")
    assert [frame["seq"] for frame in page["frames"]] == list(range(20, 60))


async def test_a_page_of_an_operator_has_each_event_as_it_is_stored(
    transport: str, chat: Chat
) -> None:
    await chat.append(STARTED, *user_messages(3))
    page = await get(transport, chat, "&before=4&limit=2&events=1")
    assert [frame["type"] for frame in page["frames"]] == ["chat.event", "chat.text"] * 2
