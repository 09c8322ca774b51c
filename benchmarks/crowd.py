"""Many sockets at once: opened a few at a time, each until it shows what is happening now."""

import asyncio
import os
import re
import resource
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect

from benchmarks import chats
from contracts.ids import ChatKey
from infra.child_process import Child
from infra.ports import LOOPBACK, free_port
from infra.servers import NatsServer
from infra.stack import ROOT, waiting_for

AT_ONCE = 16
OPEN_SECONDS = 120.0
READY_SECONDS = 30.0
SPARE_FILES = 512
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
KILOBYTE = 1024

Ready = Callable[[ClientConnection], Awaitable[None]]


@contextmanager
def open_files(sockets: int) -> Iterator[None]:
    """Room for so many sockets in this process and its children, as far as the machine allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, max(soft, sockets + SPARE_FILES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@asynccontextmanager
async def crowd(
    addresses: Sequence[str], ready: Ready, opening: int = AT_ONCE
) -> AsyncIterator[list[ClientConnection]]:
    """A socket at each address, all of them ready; `opening` of them at a time become so."""
    opened: list[ClientConnection] = []
    gate = asyncio.Semaphore(opening)

    async def join(address: str) -> ClientConnection:
        async with gate:
            socket = await connect(address, compression=None, ping_interval=None)
            opened.append(socket)
            await ready(socket)
            return socket

    try:
        async with asyncio.timeout(OPEN_SECONDS):
            yield await asyncio.gather(*map(join, addresses))
    finally:
        await asyncio.gather(*(socket.close() for socket in opened))


async def at_once(_: ClientConnection) -> None:
    """A socket that is ready as soon as it is open."""


async def replayed(socket: ClientConnection) -> None:
    """Read until the history is behind us: from here on one message makes one frame."""
    while b'"chat.resume_boundary"' not in await socket.recv(decode=False):
        pass


def address_of(port: int, key: ChatKey, after: int = 0) -> str:
    path = f"/ws/{chats.WORKFLOW}/{key.app}/{key.chat}/{chats.PERSON}"
    return f"ws://{LOOPBACK}:{port}{path}?after={after}"


@asynccontextmanager
async def echo(server: NatsServer) -> AsyncIterator[tuple[int, int]]:
    """The bare app as a process: its port and its pid."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.echo", str(port)]
    child = Child("echo", command, server.folder / f"echo-{port}.log", folder=ROOT)
    child.start()
    try:
        await asyncio.to_thread(child.wait_until, lambda: not waiting_for(port), READY_SECONDS)
        yield port, child.pid
    finally:
        await asyncio.to_thread(child.stop)


def memory(pid: int) -> int:
    """Bytes of a process that are in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def peak_memory(pid: int) -> int:
    """Bytes of a process that were in memory when they were most."""
    (peak,) = re.findall(
        r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
    )
    return int(peak) * KILOBYTE
