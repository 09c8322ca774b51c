"""Access: what a user with rights of its own costs, and TLS, beside a server that is open to everyone."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import perf_counter

from nats.aio.client import Client

from benchmarks import chats
from benchmarks.figures import Aim, Figure, percentile
from contracts import subjects
from infra.credentials.embedded import OPERATOR, Credentials
from infra.servers import NatsServer
from services.chassis.nats.access import access_of
from services.chassis.nats.connection import Connection
from services.chassis.settings import Settings
from services.chassis.streams.ensure import ensure_streams

REPETITIONS = 9
APPENDS = 200
WORDS = 2000
BODY = b"x" * 600
"""As long as a usual decision."""
ORCHESTRATOR = "orchestrator"
APPEND_AIM, WORDS_AIM = Aim(ratio=1.1), Aim(ratio=1.5)
"""Of users, who are always there. TLS has none: it is asked for. The server looks up the right to each
subject, which shows in a burst of words that nobody waits for alone."""


async def measure(server: NatsServer) -> list[Figure]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        operator = await stack.enter_async_context(_connected(Settings(nats_url=server.url)))
        await ensure_streams(operator, replicas=1)
        users, tls = [
            await stack.enter_async_context(_secured(folder / name, tls=name == "tls"))
            for name in ("users", "tls")
        ]
        figures: list[Figure] = []
        for name, secured in (("users", users), ("users and TLS", tls)):
            figures += await _appends(
                name, secured, operator, APPEND_AIM if secured is users else None
            )
            figures.append(
                await _words(name, secured, operator, WORDS_AIM if secured is users else None)
            )
        return figures


@asynccontextmanager
async def _secured(data: Path, *, tls: bool) -> AsyncIterator[Client]:
    """The orchestrator on a server with the users of the product."""
    credentials = Credentials(data, tls=tls)
    credentials.ensure()
    server = NatsServer(data / "nats", options=credentials.nats_options(data / "nats"))
    await asyncio.to_thread(server.start)
    ca = credentials.certificates.ca if credentials.certificates else None
    shared = Settings(nats_url=server.url, nats_ca_file=ca)

    def settings(user: str) -> Settings:
        return shared.model_copy(update={"nats_nkey_seed_file": credentials.nats.seed_file(user)})

    try:
        async with _connected(settings(OPERATOR)) as operator:
            await ensure_streams(operator, replicas=1)
        async with _connected(settings(ORCHESTRATOR)) as orchestrator:
            yield orchestrator
    finally:
        await asyncio.to_thread(server.stop)


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[Client]:
    connection = Connection(access_of(settings, ORCHESTRATOR), ORCHESTRATOR)
    await connection.open()
    try:
        yield connection
    finally:
        await connection.shut_down(1)


async def _appends(
    name: str, secured: Client, open_to_all: Client, aim: Aim | None
) -> list[Figure]:
    """Messages of one chat, each acknowledged before the next."""
    ours, floors = list[list[float]](), list[list[float]]()
    for _ in range(REPETITIONS):
        floors.append(await _append_times(open_to_all))
        ours.append(await _append_times(secured))
    return [
        Figure(
            f"append with {name}, ack p{percent}",
            "ms",
            [1000 * percentile(times, percent) for times in ours],
            [1000 * percentile(times, percent) for times in floors],
            aim,
        )
        for percent in (50, 99)
    ]


async def _append_times(nc: Client) -> list[float]:
    js, subject = nc.jetstream(), subjects.event(chats.new_chat(), "runtime")
    times: list[float] = []
    for _ in range(APPENDS):
        began = perf_counter()
        await js.publish(subject, BODY)
        times.append(perf_counter() - began)
    return times


async def _words(name: str, secured: Client, open_to_all: Client, aim: Aim | None) -> Figure:
    """Deltas of chats that stream, one chat after the other."""
    ours, floors = list[float](), list[float]()
    for _ in range(REPETITIONS):
        floors.append(await _word_rate(open_to_all))
        ours.append(await _word_rate(secured))
    words = f"words streamed with {name}"
    return Figure(words, "words/s", ours, floors, aim, more_is_better=True)


async def _word_rate(nc: Client) -> float:
    subject = subjects.delta(chats.new_chat())
    began = perf_counter()
    for _ in range(WORDS):
        await nc.publish(subject, b"a word")
    await nc.flush(30)
    return WORDS / (perf_counter() - began)
