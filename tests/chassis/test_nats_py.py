"""What is wrong in nats-py, and mended in `services.chassis.connection` alone.

When one of these fails, nats-py has mended it: take the mend out.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator

import nats as nats_py
import pytest
from nats.aio.client import Client

from infra.servers import NatsServer
from tests.chassis.story import fill, freeze, thaw

pytestmark = [pytest.mark.broker]


@pytest.fixture
async def client(nats: NatsServer) -> AsyncIterator[Client]:
    client = await nats_py.connect(nats.url)
    yield client
    await client.close()


async def test_a_cancelled_flush_of_nats_py_ends_what_reads_the_connection(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = asyncio.create_task(client.flush())
    await asyncio.sleep(0)  # it waits for its PONG
    waiting.cancel()
    await asyncio.wait([waiting])
    reading = client._reading_task
    assert reading is not None
    with caplog.at_level(logging.CRITICAL, "nats.aio.client"):
        await asyncio.wait([reading], timeout=20)
    assert reading.done()
    assert client.is_connected  # it hears nothing, and does not know


async def test_a_flush_of_nats_py_that_takes_too_long_leaves_a_dead_future(
    own_nats: NatsServer,
) -> None:
    client = await nats_py.connect(own_nats.url)
    freeze(own_nats.child)
    with pytest.raises(TimeoutError):
        await client.flush(timeout=0.05)  # type: ignore[arg-type]  # seconds
    assert [pong.cancelled() for pong in client._pongs] == [True]
    client._pongs.clear()
    thaw(own_nats.child)
    await client.close()


async def test_nats_py_waits_for_a_server_that_does_not_read_before_it_connects_anew(
    nats: NatsServer,
) -> None:
    """https://github.com/nats-io/nats.py/issues/671: a quarter of an hour, until the kernel gives up."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf.settimeout(0)
        client = Client()
        greeting = asyncio.create_task(_greet(deaf))
        await client.connect(f"nats://127.0.0.1:{deaf.getsockname()[1]}", pending_size=0)
        peer = await greeting
        fill(client)
        await asyncio.sleep(0.2)  # the socket's buffers are full
        client.set_server_pool([nats.url])
        await client.force_reconnect()
        await asyncio.sleep(1)
        assert client.is_reconnecting
        peer.close()
        async with asyncio.timeout(20):
            while not client.is_connected:  # noqa: ASYNC110  # nats-py sets no event
                await asyncio.sleep(0.05)
        await client.close()


async def _greet(deaf: socket.socket) -> socket.socket:
    """The server's half of a connect; from then on it reads nothing."""
    loop = asyncio.get_running_loop()
    peer, _ = await loop.sock_accept(deaf)
    await loop.sock_sendall(peer, b'INFO {"max_payload":1048576}\r\n')
    said = b""
    while b"PING" not in said:
        said += await loop.sock_recv(peer, 4096)
    await loop.sock_sendall(peer, b"PONG\r\n")
    return peer
