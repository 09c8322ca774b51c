"""The connection of a process: cancelled waits, a broken read loop, an unavailable server."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from nats.aio.msg import Msg
from nats.errors import ConnectionReconnectingError, FlushTimeoutError
from nats.js.api import ConsumerConfig

from infra.ports import LOOPBACK, free_port
from infra.servers import NatsServer
from services.chassis.nats import connection as chassis
from services.chassis.nats.access import access_of
from services.chassis.nats.connection import Connection, flush, subscribe_confirmed
from services.chassis.settings import Settings
from tests.chassis.story import fill, freeze, thaw

pytestmark = [pytest.mark.broker]
PATIENCE = 60.0


@asynccontextmanager
async def connection_to(url: str, **settings: object) -> AsyncIterator[Connection]:
    given = Settings.model_validate({"nats_url": url, **settings})
    nc = Connection(access_of(given, "test"), "test")
    async with asyncio.timeout(PATIENCE):
        await nc.open()
    try:
        yield nc
    finally:
        await nc.shut_down(2)


@pytest.fixture
async def nc(nats: NatsServer) -> AsyncIterator[Connection]:
    async with connection_to(nats.url) as nc:
        yield nc


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  # nats-py sets no event
            await asyncio.sleep(0.01)


async def ignore(_: Msg) -> None:
    pass


async def one_flush(nc: Connection) -> None:
    await flush(nc, 5)


async def one_subscription(nc: Connection) -> None:
    await subscribe_confirmed(nc, nc.new_inbox(), ignore, 5)


async def one_request(nc: Connection) -> None:
    await nc.request("$JS.API.INFO", timeout=5)


async def one_fetch(nc: Connection) -> None:
    js = nc.jetstream()
    subscription = await js.pull_subscribe("waits", stream="WAITS", config=ConsumerConfig())
    try:
        await subscription.fetch(1, timeout=5)
    finally:
        await subscription.unsubscribe()


@pytest.mark.parametrize(
    ("wait", "times"),
    [(one_flush, 60), (one_subscription, 60), (one_request, 60), (one_fetch, 12)],
)
async def test_waits_cancelled_at_any_point_leave_the_connection_working(
    nc: Connection, wait: Callable[[Connection], Awaitable[None]], times: int
) -> None:
    await nc.jetstream().add_stream(name="WAITS", subjects=["waits"])
    await nc.request("$JS.API.INFO", timeout=5)  # the inbox of all responses is subscribed
    reading, subscribed = nc._reading_task, set(nc._subs)
    for turns in range(times):
        waiting = asyncio.ensure_future(wait(nc))
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
    await flush(nc, 10)
    assert nc._reading_task is reading
    assert reading is not None
    assert not reading.done()
    finished = await asyncio.gather(*(flush(nc, 10) for _ in range(10)))
    assert len(finished) == 10
    assert nc.stats["reconnects"] == 0
    if wait is not one_subscription:  # one that was allowed to finish belongs to its caller
        assert set(nc._subs) <= subscribed | {min(set(nc._subs) - subscribed, default=0)}


async def test_a_cancelled_subscribe_leaves_no_subscription(nc: Connection) -> None:
    await flush(nc, 5)
    before = set(nc._subs)
    beginning = asyncio.create_task(one_subscription(nc))
    while set(nc._subs) == before:  # noqa: ASYNC110  # step by step: it must not get further
        await asyncio.sleep(0)
    beginning.cancel()
    await asyncio.wait([beginning])
    assert beginning.cancelled()
    assert set(nc._subs) == before


async def test_a_flush_that_times_out_does_no_harm(own_nats: NatsServer) -> None:
    async with connection_to(own_nats.url) as nc:
        freeze(own_nats.child)
        try:
            with pytest.raises(FlushTimeoutError):
                await flush(nc, 0.05)
        finally:
            thaw(own_nats.child)
        await flush(nc, PATIENCE)
        assert nc.stats["reconnects"] == 0


async def test_a_flush_without_a_connection_fails_at_once(own_nats: NatsServer) -> None:
    async with connection_to(own_nats.url) as nc:
        own_nats.kill()
        await until(lambda: not nc.is_connected)
        with pytest.raises(ConnectionReconnectingError):
            await flush(nc, PATIENCE)


@pytest.fixture
def quick_ear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chassis, "PING_SECONDS", 0.05)
    monkeypatch.setattr(chassis, "ECHO_SECONDS", 0.5)


@pytest.mark.usefixtures("quick_ear")
async def test_a_connection_that_receives_nothing_says_so_and_reconnects(
    nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with connection_to(nats.url) as nc:
        heard = asyncio.Queue[Msg]()
        await nc.subscribe("ear", cb=heard.put)
        assert nc._reading_task is not None
        nc._reading_task.cancel()  # what a cancelled future did to it
        assert not nc.is_deaf
        await until(lambda: nc.problem == "NATS does not answer")
        assert nc.times_deaf == 1
        await until(lambda: nc.problem is None)
        assert (nc.stats["reconnects"], nc.is_deaf) == (1, False)
        await nc.publish("ear", b"again")
        async with asyncio.timeout(PATIENCE):
            assert (await heard.get()).data == b"again"
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert said == [f"NATS_URL {nats.url}: nothing is received; reconnecting"]


@pytest.mark.usefixtures("quick_ear")
async def test_a_frozen_server_is_detected_and_used_again_afterwards(own_nats: NatsServer) -> None:
    async with connection_to(own_nats.url) as nc:
        freeze(own_nats.child)
        try:
            await until(lambda: nc.problem == "NATS does not answer")
            why = f"NATS does not answer: NATS_URL {own_nats.url}: no answer within 2 s"
            await until(lambda: nc.problem == why)
        finally:
            thaw(own_nats.child)
        await until(lambda: nc.problem is None)


@pytest.mark.usefixtures("quick_ear")
async def test_another_server_takes_over_from_one_that_is_frozen_with_full_buffers(
    nats: NatsServer, own_nats: NatsServer
) -> None:
    async with connection_to(own_nats.url) as nc:
        nc.set_server_pool([own_nats.url, nats.url])
        freeze(own_nats.child)
        try:
            fill(nc)
            await until(lambda: nc.is_connected and nc._server == nats.url)
            await until(lambda: nc.problem is None)
        finally:
            thaw(own_nats.child)


async def test_the_client_reconnects_after_an_error_of_the_server(
    nc: Connection,
) -> None:
    await nc._process_err("user authentication revoked")
    await until(lambda: nc.stats["reconnects"] == 1 and nc.problem is None)


async def test_the_first_server_of_several_that_answers_is_used(nats: NatsServer) -> None:
    dead = f"nats://127.0.0.1:{free_port()}"
    async with connection_to(f"{dead}, {nats.url}") as nc:
        assert nc.connected_url is not None
        assert nc.connected_url.port == nats.port


@pytest.mark.parametrize("state", ["away", "frozen", "answers"])
async def test_a_shut_down_takes_no_longer_than_its_limit(own_nats: NatsServer, state: str) -> None:
    nc = Connection(access_of(Settings(nats_url=own_nats.url), "test"), "test")
    await nc.open()
    if state == "away":
        own_nats.kill()
        await until(lambda: not nc.is_connected)
    if state == "frozen":
        freeze(own_nats.child)
        fill(nc)
    try:
        async with asyncio.timeout(PATIENCE):
            await nc.shut_down(0.2)
    finally:
        thaw(own_nats.child)
    assert nc.is_closed


async def test_a_shut_down_at_any_point_of_a_reconnect_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chassis, "RETRY_SECONDS", 0.0)
    clients = list[asyncio.StreamWriter]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.append(writer)
        writer.write(b'INFO {"server_id": "x", "version": "2.15.1", "max_payload": 1000}\r\n')
        with suppress(ConnectionError):
            while line := await reader.readline():
                if line.startswith(b"PING"):
                    writer.write(b"PONG\r\n")
        writer.close()

    async with await asyncio.start_server(serve, LOOPBACK, 0) as server:
        url = f"nats://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
        for rounds in range(40):  # of the event loop: a reconnect takes fewer
            nc = Connection(access_of(Settings(nats_url=url), "test"), "test")
            await nc.open()
            before = clients.pop()
            before.transport.abort()
            for _ in range(rounds):
                await asyncio.sleep(0)
            await nc.shut_down(0)
            assert nc.is_closed
            await until(lambda: not any("nats/aio" in repr(one) for one in asyncio.all_tasks()))
            await until(lambda: all(one.is_closing() for one in clients))  # what it opened since
            clients.clear()


async def test_the_inbox_prefix_contains_the_name_of_the_service(nats: NatsServer) -> None:
    async with connection_to(nats.url) as nc:
        assert nc.new_inbox().startswith("_INBOX_test.")
    async with connection_to(nats.url, nats_inbox_prefix="mine.in") as nc:
        assert nc.new_inbox().startswith("mine.in.")
