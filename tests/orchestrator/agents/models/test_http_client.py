"""The HTTP client by which providers are called, with servers that misbehave on the wire."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infra.ports import LOOPBACK, free_port
from services.orchestrator.agents.models.asyncio_backend import PAUSE_BYTES
from services.orchestrator.agents.models.http_client import AsyncioTransport, shared_http_client

Connection = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def server(
    connection: Connection, context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """The address of a server that treats each connection so."""
    running: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            await connection(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    listening = await asyncio.start_server(run, LOOPBACK, 0, ssl=context)
    try:
        port = listening.sockets[0].getsockname()[1]
        yield f"{'http' if context is None else 'https'}://{LOOPBACK}:{port}/"
    finally:
        listening.close()
        await asyncio.gather(*running)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    return await reader.readexactly(int(length or 0))


class Answering:
    """Answers every request of a connection; counts connections and requests."""

    def __init__(self, answer: bytes = OK, *, close: bool = False) -> None:
        self.connections = 0
        self.bodies: list[bytes] = []
        self._answer = answer
        self._close = close

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.bodies.append(await read_request(reader))
                writer.write(self._answer)
                await writer.drain()
                if self._close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass


async def test_a_connection_is_used_again() -> None:
    answering = Answering()
    async with server(answering) as url, shared_http_client() as http:
        for body in (b"first", b"x" * 3_000_000):
            response = await http.post(url, content=body)
            assert response.content == b"ok"
    assert [len(body) for body in answering.bodies] == [5, 3_000_000]
    assert answering.connections == 1


async def test_a_connection_that_the_server_has_closed_is_not_used_again() -> None:
    answering = Answering(close=True)
    async with server(answering) as url, shared_http_client() as http:
        for _ in range(3):
            assert (await http.post(url, content=b"a")).content == b"ok"
            while http_is_open(http):  # noqa: ASYNC110  nothing tells when the client has noticed
                await asyncio.sleep(0.001)
    assert answering.connections == 3


def http_is_open(http: httpx2.AsyncClient) -> bool:
    """Whether an idle connection is still believed to be open."""
    transport = http._transport
    assert isinstance(transport, AsyncioTransport)
    return any(not connection.has_expired() for connection in transport._pool.connections)


async def test_a_long_answer_is_read_whole_by_a_slow_reader() -> None:
    piece = bytes(range(256)) * 1024
    count = 5 * PAUSE_BYTES // len(piece)

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(HEAD)
        for _ in range(count):
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    received = b""
    async with (
        server(send) as url,
        shared_http_client() as http,
        http.stream("POST", url, content=b"a") as response,
    ):
        async for part in response.aiter_bytes():
            received += part
            await asyncio.sleep(0)
    assert received == piece * count


async def test_a_server_that_sends_nothing_is_a_timeout() -> None:
    async def wait(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(wait) as url, shared_http_client() as http:
        with pytest.raises(httpx2.ReadTimeout):
            await http.post(url, content=b"a", timeout=httpx2.Timeout(None, read=0.01))


async def test_a_cancelled_request_closes_its_connection() -> None:
    closed, asked = asyncio.Event(), asyncio.Event()

    async def wait(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        asked.set()
        await reader.read()
        closed.set()

    async with server(wait) as url, shared_http_client() as http:
        request = asyncio.create_task(http.post(url, content=b"a"))
        await asked.wait()
        request.cancel()
        await closed.wait()
        with pytest.raises(asyncio.CancelledError):
            await request


async def test_a_reset_connection_is_an_error_of_reading() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(HEAD + b"2\r\nok\r\n")
        await writer.drain()
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async with server(reset) as url, shared_http_client() as http:
        with pytest.raises((httpx2.ReadError, httpx2.RemoteProtocolError)):
            await http.post(url, content=b"a")


async def test_a_refused_connection_is_an_error_of_connecting() -> None:
    async with shared_http_client() as http:
        with pytest.raises(httpx2.ConnectError):
            await http.post(f"http://{LOOPBACK}:{free_port()}/", content=b"a")


# -- TLS ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of the loopback interface with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "provider")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def test_requests_go_through_tls(certificate: Path) -> None:
    answering = Answering()
    trusting = ssl.create_default_context(cafile=certificate)
    async with (
        server(answering, server_context(certificate)) as url,
        httpx2.AsyncClient(transport=AsyncioTransport(trusting)) as http,
    ):
        for _ in range(2):
            assert (await http.post(url, content=b"secret" * 100_000)).content == b"ok"
    assert [len(body) for body in answering.bodies] == [600_000] * 2
    assert answering.connections == 1


async def test_a_server_that_is_not_trusted_is_sent_nothing(certificate: Path) -> None:
    answering = Answering()
    async with (
        server(answering, server_context(certificate)) as url,
        httpx2.AsyncClient(transport=AsyncioTransport()) as http,
    ):
        with pytest.raises(httpx2.ConnectError):
            await http.post(url, content=b"secret")
    assert answering.bodies == []


async def test_a_handshake_that_does_not_end_is_a_timeout() -> None:
    async def wait(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(wait) as url, shared_http_client() as http:
        with pytest.raises(httpx2.ConnectTimeout):
            await http.post(url.replace("http:", "https:"), content=b"a", timeout=0.05)


async def test_a_connection_that_opens_too_late_is_closed() -> None:
    closed = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()
        closed.set()

    async with server(wait) as url, shared_http_client() as http:
        with pytest.raises(httpx2.ConnectTimeout):
            await http.post(url, content=b"a", timeout=0)
        await closed.wait()


async def test_behind_a_proxy_httpx_connects_as_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    answering = Answering()
    async with server(answering) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        async with shared_http_client() as http:
            assert (await http.post("http://provider.invalid/", content=b"a")).content == b"ok"
    assert answering.bodies == [b"a"]
