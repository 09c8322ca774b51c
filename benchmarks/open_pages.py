"""Open pages: what readers without a token cost the request of somebody else, page by page."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median
from time import perf_counter

from benchmarks import chats, stage
from benchmarks.figures import Aim, Figure
from benchmarks.load.readers import read_one
from infra.ports import LOOPBACK
from infra.servers import NatsServer
from infra.stack import ROOT

READERS = 8
REPETITIONS = 5
REQUESTS = 40
"""Of somebody else, one after the other, in each repetition."""
WARM_UP_SECONDS = 1.0
PAGES = ("/schema", "/metrics", "/ready", "/api/workflows", "/", "/no/such/page")
AIM = Aim(ratio=20)
"""Each reader always has a request at the server: eight answers come before that of somebody else."""


async def measure(server: NatsServer) -> list[Figure]:
    async with stage.gateway(server) as gateway, stage.process("transport", server) as transport:
        key = chats.new_chat()
        await chats.store(gateway, chats.sealed(key, chats.story(20)))
        path = f"/api/chats/meta/{key.app}/{chats.WORKFLOW}/{key.chat}?user_id={chats.PERSON}"
        return [await _beside(page, transport.port, path) for page in PAGES]


async def _beside(page: str, port: int, path: str) -> Figure:
    ours, floor = list[float](), list[float]()
    for _ in range(REPETITIONS):
        floor.append(await _milliseconds(port, path))
        async with _readers(page, port):
            ours.append(await _milliseconds(port, path))
    return Figure(f"a request beside {READERS} readers of {page}", "ms", ours, floor, AIM)


async def _milliseconds(port: int, path: str) -> float:
    reader, writer = await asyncio.open_connection(LOOPBACK, port, limit=2**24)
    taken = list[float]()
    for _ in range(REQUESTS):
        began = perf_counter()
        status = await read_one(reader, writer, path)
        taken.append(1000 * (perf_counter() - began))
        if status != 200:
            raise RuntimeError(f"{path} answers {status}")
    writer.close()
    await writer.wait_closed()
    return median(taken)


@asynccontextmanager
async def _readers(page: str, port: int) -> AsyncIterator[None]:
    command = ("-m", "benchmarks.load.readers", str(port), page, str(READERS))
    readers = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=PIPE, cwd=ROOT)
    try:
        if readers.stdout is None or not await readers.stdout.readline():
            raise RuntimeError("the readers have ended")
        await asyncio.sleep(WARM_UP_SECONDS)
        yield
    finally:
        readers.kill()
        await readers.wait()
