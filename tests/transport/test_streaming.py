import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from infra.servers import NatsServer
from services.transport import streaming
from services.transport.app import Settings
from tests.transport.conftest import Open, running
from tests.transport.story import (
    CALLED,
    COMPLETED,
    LOGGED,
    REQUESTED,
    SAID,
    SELECTED,
    STARTED,
    Chat,
    chunk,
    many,
    said,
)

pytestmark = pytest.mark.broker


@dataclass
class Source:
    """What an EventSource makes of a stream: messages, the last id, and comments."""

    lines: AsyncIterator[str]
    last_id: str = ""
    comments: list[str] = field(default_factory=list)
    frames: list[dict[str, Any]] = field(default_factory=list)

    async def next(self) -> dict[str, Any]:
        while True:
            line = await asyncio.wait_for(anext(self.lines), 10)
            name, _, value = line.partition(": ")
            match name:
                case "id":
                    self.last_id = value
                case "data":
                    self.frames.append(json.loads(value))
                    await asyncio.wait_for(anext(self.lines), 10)  # the blank line dispatches
                    return self.frames[-1]
                case "":
                    self.comments.append(value)
                case _:
                    pass

    async def until(self, kind: str) -> dict[str, Any]:
        while (frame := await self.next())["type"] != kind:
            pass
        return frame

    async def end(self) -> None:
        with contextlib.suppress(StopAsyncIteration):
            while True:
                await self.next()


@asynccontextmanager
async def source(
    address: str, chat: Chat, query: str = "", **headers: str
) -> AsyncIterator[Source]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        httpx.AsyncClient(timeout=20) as http,
        http.stream("GET", url(address, chat, query), headers=sent) as reply,
    ):
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith("text/event-stream")
        yield Source(reply.aiter_lines())


def url(address: str, chat: Chat, query: str = "") -> str:
    path = f"/api/chats/{chat.key.app}/{chat.key.chat}/events"
    return f"http://{address}{path}?user_id=ana{query}"


async def test_a_chat_is_streamed_from_its_beginning_to_its_end(transport: str, chat: Chat) -> None:
    await chat.append(STARTED, SELECTED, REQUESTED)
    async with source(transport, chat) as viewer:
        assert (await viewer.next())["type"] == "chat_meta"
        boundary = await viewer.until("chat.resume_boundary")
        assert (boundary["seq"], viewer.last_id) == (3, "3")
        await chat.stream(chunk(0, "A pl"))
        assert (await viewer.until("chat.print"))["content"] == "A pl"
        await chat.append(SAID, COMPLETED)
        await viewer.until("chat.run_complete")
        assert viewer.last_id == "5"
        await viewer.end()


async def test_a_stream_goes_on_past_the_last_id_even_where_the_address_names_an_older_one(
    transport: str, chat: Chat
) -> None:
    await chat.append(STARTED, *many(4))
    async with source(transport, chat, "&after=1", last_event_id="3") as viewer:
        await viewer.until("chat.resume_boundary")
    assert [f["seq"] for f in viewer.frames if f["type"] == "chat.text"] == [4, 5]


async def test_only_the_last_frame_of_an_event_moves_the_cursor(transport: str, chat: Chat) -> None:
    await chat.append(STARTED, CALLED)
    async with source(transport, chat) as viewer:
        words = await viewer.until("chat.text")
        assert (words["seq"], viewer.last_id) == (2, "1")
        await viewer.until("chat.tool_activity")
        assert viewer.last_id == "2"


async def test_an_ended_chat_is_told_to_its_end_and_then_there_is_nothing_to_come_back_for(
    transport: str, chat: Chat
) -> None:
    await chat.append(STARTED, SAID, COMPLETED)
    async with source(transport, chat) as viewer:
        await viewer.end()
    assert [f["type"] for f in viewer.frames][-2:] == ["chat.run_complete", "chat.resume_boundary"]
    async with httpx.AsyncClient(timeout=20) as http:
        again = await http.get(url(transport, chat), headers={"last-event-id": viewer.last_id})
    assert (again.status_code, again.content) == (204, b"")


async def test_a_silent_stream_shows_that_it_lives(
    transport: str, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert streaming.HEARTBEAT_SECONDS <= 15
    monkeypatch.setattr(streaming, "HEARTBEAT_SECONDS", 0.01)
    await chat.append(STARTED)
    async with source(transport, chat) as viewer:
        await viewer.until("chat.resume_boundary")
        await asyncio.sleep(0.1)
        await chat.append(COMPLETED)
        await viewer.end()
    assert "here" in viewer.comments


async def test_a_stopping_transport_ends_its_streams(nats: NatsServer, chat: Chat) -> None:
    await chat.append(STARTED)
    async with running(Settings(nats_url=nats.url)) as (address, _):
        reading = asyncio.create_task(_read_to_the_end(address, chat))
        await asyncio.sleep(0.5)
    assert await reading == ["chat_meta", "chat.run_start", "chat.resume_boundary"]


async def _read_to_the_end(address: str, chat: Chat) -> list[str]:
    async with source(address, chat) as viewer:
        await viewer.end()
        return [frame["type"] for frame in viewer.frames]


async def test_a_page_holds_what_lies_past_the_cursor_and_says_where_to_go_on(
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


async def test_pages_read_one_after_the_other_are_the_whole_chat(
    transport: str, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "PAGE_FRAMES", 2)
    await chat.append(STARTED, CALLED, *many(4), COMPLETED)
    seen, after = [], 0
    async with httpx.AsyncClient(timeout=20) as http:
        while page := (await http.get(url(transport, chat, f"&after={after}&wait=0"))).json():
            if not page["frames"]:
                break
            seen += [frame["seq"] for frame in page["frames"]]
            after = page["last_sequence"]
    assert seen == [1, 2, 2, 3, 4, 5, 6, 7]
    assert page["chat_status"] == "completed"


async def test_a_page_waits_for_what_is_to_come(transport: str, chat: Chat) -> None:
    await chat.append(STARTED)
    async with httpx.AsyncClient(timeout=20) as http:
        asking = asyncio.create_task(http.get(url(transport, chat, "&after=1&wait=15")))
        await asyncio.sleep(0.3)
        await chat.append(said("hello"))
        page = (await asking).json()
    assert [frame["data"]["content"] for frame in page["frames"]] == ["hello"]
    assert page["last_sequence"] == 2


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("?", 400, "user_id"),
        ("?user_id=bob", 404, "user_id"),
        ("?user_id=ana&after=x", 400, "after"),
        ("?user_id=ana&events=2", 400, "events"),
        ("?user_id=ana&wait=nan", 400, "wait"),
        ("?user_id=ana&wait=31", 400, "wait"),
    ],
)
async def test_a_stream_that_cannot_be_is_refused_by_its_field(
    open_transport: Open, chat: Chat, query: str, status: int, field: str
) -> None:
    address = await open_transport()
    await chat.append(STARTED)
    async with httpx.AsyncClient(timeout=20) as http:
        path = f"/api/chats/{chat.key.app}/{chat.key.chat}/events"
        reply = await http.get(f"http://{address}{path}{query}")
    assert reply.status_code == status
    assert reply.json()["detail"].startswith(f"{field}: ")
