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
from services.transport.http import sse
from services.transport.settings import Settings
from tests.patience import PATIENCE_SECONDS
from tests.transport.conftest import running
from tests.transport.story import (
    CALLED,
    COMPLETED,
    REQUESTED,
    RESPONDED,
    SELECTED,
    STARTED,
    Chat,
    chunk,
    user_messages,
)

pytestmark = pytest.mark.broker


@dataclass
class Source:
    """A stream as an EventSource reads it: messages, the last id, and comments."""

    lines: AsyncIterator[str]
    last_id: str = ""
    comments: list[str] = field(default_factory=list)
    frames: list[dict[str, Any]] = field(default_factory=list)

    async def next(self) -> dict[str, Any]:
        while True:
            line = await asyncio.wait_for(anext(self.lines), PATIENCE_SECONDS)
            name, _, value = line.partition(": ")
            match name:
                case "id":
                    self.last_id = value
                case "data":
                    self.frames.append(json.loads(value))
                    await asyncio.wait_for(
                        anext(self.lines), PATIENCE_SECONDS
                    )  # the blank line dispatches
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


async def test_a_chat_is_streamed_from_start_to_end(transport: str, chat: Chat) -> None:
    await chat.append(STARTED, SELECTED, REQUESTED)
    async with source(transport, chat) as viewer:
        assert (await viewer.next())["type"] == "chat_meta"
        boundary = await viewer.until("chat.resume_boundary")
        assert (boundary["seq"], viewer.last_id) == (3, "3")
        await chat.stream(chunk(0, "A pl"))
        assert (await viewer.until("chat.print"))["content"] == "A pl"
        await chat.append(RESPONDED, COMPLETED)
        await viewer.until("chat.run_complete")
        assert viewer.last_id == "5"
        await viewer.end()


async def test_last_event_id_takes_precedence_over_an_older_cursor_in_the_url(
    transport: str, chat: Chat
) -> None:
    await chat.append(STARTED, *user_messages(4))
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


async def test_an_ended_chat_is_streamed_to_its_end_and_a_reconnect_gets_204(
    transport: str, chat: Chat
) -> None:
    await chat.append(STARTED, RESPONDED, COMPLETED)
    async with source(transport, chat) as viewer:
        await viewer.end()
    assert [f["type"] for f in viewer.frames][-2:] == ["chat.run_complete", "chat.resume_boundary"]
    async with httpx.AsyncClient(timeout=20) as http:
        again = await http.get(url(transport, chat), headers={"last-event-id": viewer.last_id})
    assert (again.status_code, again.content) == (204, b"")


async def test_a_stream_of_a_tail_begins_with_the_newest_events_in_one_message(
    transport: str, chat: Chat
) -> None:
    await chat.append(STARTED, *user_messages(20), CALLED)
    async with source(transport, chat, "&tail=3") as viewer:
        assert (await viewer.next())["type"] == "chat_meta"
        history = (await viewer.next())["data"]
        assert viewer.last_id == "22"
        assert [frame["seq"] for frame in history["frames"]] == [20, 21, 22, 22]
        assert (await viewer.next())["type"] == "chat.resume_boundary"
        await chat.append(COMPLETED)
        await viewer.until("chat.run_complete")
        await viewer.end()
    async with source(transport, chat, "&tail=3", last_event_id="22") as again:
        assert [(await again.next())["type"] for _ in range(2)] == [
            "chat_meta",
            "chat.run_complete",
        ]


async def test_an_idle_stream_sends_heartbeats(
    transport: str, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sse.HEARTBEAT_SECONDS <= 15
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.01)
    await chat.append(STARTED)
    async with source(transport, chat) as viewer:
        await viewer.until("chat.resume_boundary")
        await asyncio.sleep(0.1)
        await chat.append(COMPLETED)
        await viewer.end()
    assert "heartbeat" in viewer.comments


async def test_a_transport_that_shuts_down_ends_its_streams(nats: NatsServer, chat: Chat) -> None:
    await chat.append(STARTED)
    async with running(Settings(nats_url=nats.url)) as (address, _):
        is_live = asyncio.Event()
        reading = asyncio.create_task(_read_to_the_end(address, chat, is_live))
        await asyncio.wait_for(is_live.wait(), PATIENCE_SECONDS)
    assert await reading == ["chat_meta", "chat.run_start", "chat.resume_boundary"]


async def _read_to_the_end(address: str, chat: Chat, is_live: asyncio.Event) -> list[str]:
    async with source(address, chat) as viewer:
        await viewer.until("chat.resume_boundary")
        is_live.set()
        await viewer.end()
        return [frame["type"] for frame in viewer.frames]


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("?", 400, "user_id"),
        ("?user_id=bob", 404, "user_id"),
        ("?user_id=ana&after=x", 400, "after"),
        ("?user_id=ana&events=2", 400, "events"),
        ("?user_id=ana&wait=nan", 400, "wait"),
        ("?user_id=ana&wait=31", 400, "wait"),
        ("?user_id=ana&tail=0", 400, "tail"),
        ("?user_id=ana&tail=501", 400, "tail"),
        ("?user_id=ana&tail=5&after=1", 400, "tail"),
        ("?user_id=ana&before=0", 400, "before"),
        ("?user_id=ana&before=5&tail=2", 400, "before"),
        ("?user_id=ana&before=5&limit=501", 400, "limit"),
    ],
)
async def test_an_invalid_stream_request_is_rejected_by_its_field(
    transport: str, chat: Chat, query: str, status: int, field: str
) -> None:
    await chat.append(STARTED)
    async with httpx.AsyncClient(timeout=20) as http:
        path = f"/api/chats/{chat.key.app}/{chat.key.chat}/events"
        reply = await http.get(f"http://{transport}{path}{query}")
    assert reply.status_code == status
    assert reply.json()["detail"].startswith(f"{field}: ")


async def test_a_cursor_in_the_header_is_refused_by_the_name_of_the_header(
    transport: str, chat: Chat
) -> None:
    await chat.append(STARTED)
    async with httpx.AsyncClient(timeout=20) as http:
        reply = await http.get(url(transport, chat), headers={"last-event-id": "x"})
    assert reply.status_code == 400
    assert reply.json()["detail"].startswith('Last-Event-ID: found "x", must be a whole number')
