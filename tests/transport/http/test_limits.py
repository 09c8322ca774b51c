import asyncio
from contextlib import suppress

import httpx
import pytest
import uvicorn
from websockets.exceptions import ConnectionClosed

from infra.servers import NatsServer
from services.transport.auth.rate_limit import REFUSED_PER_MINUTE
from services.transport.settings import Settings
from tests.patience import PATIENCE_SECONDS
from tests.transport.conftest import Open, running
from tests.transport.story import STARTED, Chat, client, user_message

pytestmark = pytest.mark.broker

HUGE = 60_000
BUFFER = 1024 * 1024
"""Bytes that socket buffers may hold for a client that does not read: far less than what is sent."""


def unsent(server: uvicorn.Server) -> int:
    """The largest send buffer of any client in this process."""
    return max(one.transport.get_write_buffer_size() for one in server.server_state.connections)


async def watching(http: httpx.AsyncClient, address: str) -> int:
    health = (await http.get(f"http://{address}/api/health")).json()
    return int(health["active_connections"]["total_connections"])


async def test_the_viewers_of_a_chat_are_limited(open_transport: Open, chat: Chat) -> None:
    address = await open_transport(max_viewers_per_chat=2)
    await chat.append(STARTED)
    viewers = [await client(f"{address}{chat.path()}?after=0") for _ in range(2)]
    for viewer in viewers:
        await viewer.until("chat.resume_boundary")
    third = await client(f"{address}{chat.path()}?after=0")
    assert await third.closed() == 1013
    assert third.frames[0]["error_code"] == "LIMIT_REACHED"
    async with httpx.AsyncClient() as http:
        reply = await http.get(
            f"http://{address}/api/chats/{chat.key.app}/{chat.key.chat}/events?user_id=ana"
        )
    assert (reply.status_code, reply.json()["detail"][:9]) == (429, "chat_id: ")
    await viewers[0].close()
    late = await client(f"{address}{chat.path()}?after=0")
    while (await late.next())["type"] != "chat_meta":  # the one that left is a moment in leaving
        await late.close()
        late = await client(f"{address}{chat.path()}?after=0")
    await late.close()
    await viewers[1].close()


async def test_the_viewers_of_a_process_are_limited(open_transport: Open, chat: Chat) -> None:
    address = await open_transport(max_viewers=1)
    await chat.append(STARTED)
    first = await client(f"{address}{chat.path()}?after=0")
    await first.until("chat.resume_boundary")
    async with httpx.AsyncClient() as http:
        assert await watching(http, address) == 1
        url = f"http://{address}/api/chats/{chat.key.app}/{chat.key.chat}/events?user_id=ana&wait=0"
        assert (await http.get(url)).status_code == 429
    second = await client(f"{address}{chat.path()}?after=0")
    assert await second.closed() == 1013
    await first.close()


async def test_a_socket_that_does_not_read_has_a_bounded_queue_and_loses_nothing(
    nats: NatsServer, chat: Chat
) -> None:
    await chat.append(STARTED)
    async with running(Settings(nats_url=nats.url, viewer_queue_size=8)) as (address, server):
        path = f"{address}{chat.path()}?after=0&events=1"
        asleep = await client(path, max_queue=1)
        await asleep.until("chat.resume_boundary")
        awake = await client(path)
        for _ in range(60):
            await chat.append(*[user_message("x" * HUGE) for _ in range(4)])
        await awake.until("chat.event", seq=241)
        assert unsent(server) < BUFFER < 240 * HUGE
        await asleep.until("chat.event", seq=241)
        assert asleep.seqs() == awake.seqs() == list(range(1, 242))
        await asleep.close()
        await awake.close()


async def test_a_socket_that_never_reads_is_disconnected_and_resumes_from_its_cursor(
    open_transport: Open, chat: Chat
) -> None:
    address = await open_transport(client_send_timeout_seconds=0.2)
    await chat.append(STARTED)
    path = f"{chat.path()}?events=1"
    asleep = await client(f"{address}{path}&after=0", max_queue=1)
    await asleep.until("chat.resume_boundary")
    for _ in range(60):
        await chat.append(*[user_message("x" * HUGE) for _ in range(4)])
    async with httpx.AsyncClient() as http, asyncio.timeout(PATIENCE_SECONDS):
        while await watching(http, address) > 0:
            pass
    await asleep.closed()
    received = asleep.seqs()
    assert received == list(range(1, len(received) + 1))
    patient = await open_transport()  # this one, too, may be too slow for the first
    again = await client(f"{patient}{path}&after={received[-1]}")
    await again.until("chat.event", seq=241)
    assert again.seqs() == list(range(len(received) + 1, 242))
    await again.close()


async def test_a_stream_that_is_never_read_is_ended(open_transport: Open, chat: Chat) -> None:
    address = await open_transport(client_send_timeout_seconds=0.2)
    host, _, port = address.partition(":")
    await chat.append(STARTED)
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    path = f"/api/chats/{chat.key.app}/{chat.key.chat}/events?user_id=ana"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
    assert await asyncio.wait_for(reader.readline(), PATIENCE_SECONDS) == b"HTTP/1.1 200 OK\r\n"
    async with httpx.AsyncClient() as http, asyncio.timeout(PATIENCE_SECONDS):
        assert await watching(http, address) == 1
        for _ in range(100):
            await chat.append(*[user_message("x" * HUGE) for _ in range(4)])
        while await watching(http, address) > 0:
            pass
    writer.close()


@pytest.mark.parametrize(
    "message",
    [
        '{"type":"client.resume","chat_id":"CHAT","lastClientIndex":0}',
        '{"type":"chat.switch_workflow","chat_id":"CHAT"}',
        '{"type":"user.input.submit","chat_id":"of somebody else","text":"x"}',
        '{"type":"no.such.message"}',
        "no JSON",
    ],
)
async def test_a_socket_that_repeats_refused_messages_or_replays_is_closed(
    transport: str, chat: Chat, message: str
) -> None:
    await chat.append(STARTED)
    viewer = await client(f"{transport}{chat.path()}?after=0")
    await viewer.until("chat.resume_boundary")
    with suppress(ConnectionClosed):
        for _ in range(5 * REFUSED_PER_MINUTE):
            await viewer.send_raw(message.replace("CHAT", chat.key.chat))
    assert await viewer.closed() == 1013
    assert "RATE_LIMITED" in [frame.get("error_code") for frame in viewer.frames]
    again = await client(f"{transport}{chat.path()}?after=0")
    await again.until("chat.resume_boundary")
