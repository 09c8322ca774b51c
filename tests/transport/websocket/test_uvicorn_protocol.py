"""Messages that are sent without a coroutine, on real connections of a real server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect

from infra.ports import LOOPBACK, free_port
from services.chassis.tasks import cancel_and_wait
from services.transport.protocol.frame_encoding import Frame, encode, encode_for_socket, error
from services.transport.websocket.uvicorn_protocol import DirectSocket, take_direct_socket
from tests.patience import PATIENCE_SECONDS

Talk = Callable[[DirectSocket, Callable[[Any], Awaitable[None]]], Awaitable[None]]
FRAMES = [
    error(f"message {number} ü " + "x" * size, "TEST")
    for number, size in enumerate([0, 100, 126, 65_535, 70_000] * 5)
]


@asynccontextmanager
async def served(talk: Talk, *, compressed: bool = False) -> AsyncIterator[ClientConnection]:
    """A client of a server that accepts the socket and calls `talk`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        direct = take_direct_socket(scope)
        assert direct is not None
        assert take_direct_socket(scope) is None
        await talk(direct, send)
        while (await receive())["type"] != "websocket.disconnect":
            pass

    port = free_port()
    config = uvicorn.Config(
        app,
        host=LOOPBACK,
        port=port,
        ws=DirectSocket,
        ws_per_message_deflate=compressed,
        lifespan="off",
        log_config=None,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not server.started:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        compression: Any = "deflate" if compressed else None
        async with connect(f"ws://{LOOPBACK}:{port}/", compression=compression) as client:
            yield client
    finally:
        server.should_exit = True
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.wait([task])
        await cancel_and_wait(task)


def put(direct: DirectSocket, frame: Frame) -> bool:
    return direct.send_text(encode(frame), encode_for_socket(frame))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("flushed", [False, True])
async def test_messages_arrive_whole_and_in_order_among_those_sent_by_asgi(
    *, compressed: bool, flushed: bool
) -> None:
    async def talk(direct: DirectSocket, send: Callable[[Any], Awaitable[None]]) -> None:
        for number, frame in enumerate(FRAMES):
            if number % 3 == 0 or not put(direct, frame):
                await send({"type": "websocket.send", "text": encode(frame)})
            if flushed:
                direct.flush()

    async with served(talk, compressed=compressed) as client, asyncio.timeout(PATIENCE_SECONDS):
        assert [await client.recv() for _ in FRAMES] == [encode(frame) for frame in FRAMES]


async def test_what_was_sent_before_the_close_arrives_before_it() -> None:
    async def talk(direct: DirectSocket, send: Callable[[Any], Awaitable[None]]) -> None:
        assert put(direct, FRAMES[0])
        await send({"type": "websocket.close", "code": 4000})
        assert not put(direct, FRAMES[1])

    async with served(talk) as client, asyncio.timeout(PATIENCE_SECONDS):
        assert await client.recv() == encode(FRAMES[0])
        await client.wait_closed()
        assert client.close_code == 4000


async def test_nothing_is_taken_for_a_client_that_does_not_read_or_has_left() -> None:
    left = asyncio.Event()
    taken: list[bool] = []

    async def talk(direct: DirectSocket, send: Callable[[Any], Awaitable[None]]) -> None:
        del send
        while put(direct, FRAMES[4]):  # until the buffers on the way are full
            direct.flush()
            await asyncio.sleep(0)
        await left.wait()
        while not direct.disconnected:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        taken.append(put(direct, FRAMES[0]))

    async with served(talk) as client:
        client.transport.abort()
        left.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not taken:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert taken == [False]
