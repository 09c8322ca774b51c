"""Faults of nats-py with a workaround in `services.chassis.nats.connection`.

When one of these fails, nats-py has fixed it: remove the workaround.
"""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator

import nats as nats_py
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from infra.ports import LOOPBACK
from infra.servers import NatsServer
from services.chassis.nats.connection import Connection, flush
from tests.chassis.story import fill, freeze, thaw
from tests.patience import PATIENCE_SECONDS

pytestmark = [pytest.mark.broker]


@pytest.fixture
async def client(nats: NatsServer) -> AsyncIterator[Client]:
    client = await nats_py.connect(nats.url)
    yield client
    await client.close()


async def test_a_cancelled_flush_of_nats_py_ends_its_read_loop(
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
    assert client.is_connected  # it receives nothing, and does not know


async def test_a_flush_of_nats_py_that_times_out_leaves_a_cancelled_future(
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


class RecordingServer:
    """Answers each PING, and keeps what clients send, command by command."""

    def __init__(self) -> None:
        self.commands: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        info = {"server_id": "x", "version": "2.15.1", "max_payload": 1_000_000, "headers": True}
        writer.write(f"INFO {json.dumps(info)}\r\n".encode())
        while line := await reader.readline():
            command = line.split()[0].decode()
            self.commands.append(command)
            if command == "PING":
                writer.write(b"PONG\r\n")
        writer.close()


@pytest.mark.parametrize("is_ours", [True, False])
async def test_a_ping_of_nats_py_overtakes_a_subscription_and_ours_does_not(
    *, is_ours: bool
) -> None:
    recorded = RecordingServer()
    server = await asyncio.start_server(recorded.serve, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    client = await nats_py.connect(f"nats://{LOOPBACK}:{port}")
    recorded.commands.clear()
    await client.subscribe("news")
    await (flush(client, 2) if is_ours else client.flush())
    await client.flush()
    expected = ["SUB", "PING"] if is_ours else ["PING", "SUB"]
    assert recorded.commands[:2] == expected
    await client.close()
    server.close()


async def test_nats_py_waits_for_a_server_that_does_not_read_before_it_reconnects(
    nats: NatsServer,
) -> None:
    """https://github.com/nats-io/nats.py/issues/671: a quarter of an hour, until the kernel times out."""
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
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not client.is_connected:  # noqa: ASYNC110  # nats-py sets no event
                await asyncio.sleep(0.05)
        await client.close()


async def _greet(deaf: socket.socket) -> socket.socket:
    """The server's half of a connect; afterwards it reads nothing."""
    loop = asyncio.get_running_loop()
    peer, _ = await loop.sock_accept(deaf)
    await loop.sock_sendall(peer, b'INFO {"max_payload":1048576}\r\n')
    said = b""
    while b"PING" not in said:
        said += await loop.sock_recv(peer, 4096)
    await loop.sock_sendall(peer, b"PONG\r\n")
    return peer


NAMES = st.sampled_from(["Nats-Sequence", "X", "", " A", "A ", "A B", "\tA", "\x1cA", "\xa0A", "Ä"])
VALUES = st.text(st.sampled_from("ab: \t\n\r\x0b\x1c\xa0é"), max_size=6).map(str.encode)
LINES = st.tuples(NAMES.map(str.encode), st.sampled_from([b":", b": ", b""]), VALUES).map(b"".join)
JUNK = st.binary(max_size=12)


@given(st.lists(LINES | JUNK, max_size=5).map(b"\r\n".join))
def test_headers_are_read_as_nats_py_reads_them(raw: bytes) -> None:
    assert Connection._parse_header_lines(raw) == Client._parse_header_lines(raw)
