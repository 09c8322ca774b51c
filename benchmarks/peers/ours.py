"""Ours: the whole product, used as a browser uses it, by HTTP and a WebSocket for each chat."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from nats.aio.client import Client as NatsClient
from pymongo import AsyncMongoClient
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.load.workflow import NAME as WORKFLOW
from benchmarks.peers import processes
from benchmarks.peers.contender import Opening, Turns
from benchmarks.peers.plain_http import PlainHttp
from benchmarks.peers.product import Product
from benchmarks.peers.viewer import Turn, Viewer, seq_of
from contracts import subjects
from infra.plan import SERVICES, SYNC_INTERVAL
from infra.ports import LOOPBACK
from services.chassis.nats.access import access_of
from services.chassis.nats.connection import Connection
from services.chassis.settings import Settings
from services.persistence.settings import Settings as PersistenceSettings

APP = "acme"
LOST_SECONDS = 600.0
SETTLE_SECONDS = 60.0
CONNECT_AT_ONCE = 16
FRAME_BYTES = 1 << 26
_BOUNDARY = b'{"type":"chat.resume_boundary"'
_USERS = count(1)


class Ours:
    """The product and the users who are connected to it."""

    name = "ours"

    def __init__(self, product: Product, nc: NatsClient, http: PlainHttp) -> None:
        self.product = product
        self._js = nc.jetstream()
        self._http = http
        self._users: dict[str, str] = {}
        self._viewers: dict[str, Viewer] = {}

    @property
    def durability(self) -> str:
        interval = self.product.sync_interval or SYNC_INTERVAL
        when = "before it is acknowledged" if interval == "always" else f"each {interval}"
        return f"JetStream, synced to disk {when}, no replica; then in MongoDB, journaled"

    async def chats(self, count: int) -> list[str]:
        gate = asyncio.Semaphore(CONNECT_AT_ONCE)

        async def join() -> str:
            async with gate:
                chat = await self._start()
                self._viewers[chat] = await self.join(chat)
            return chat

        return await asyncio.gather(*(join() for _ in range(count)))

    async def leave(self, chats: Sequence[str]) -> None:
        await asyncio.gather(*(self._viewers.pop(chat).socket.close() for chat in chats))

    def viewer(self, chat: str) -> Viewer:
        """The user of a chat that `chats` made, until they leave."""
        return self._viewers[chat]

    async def join(self, chat: str) -> Viewer:
        """The chat's user, connected, with the history behind them."""
        socket = await self._connect(chat)
        frame = await _boundary(socket)
        return Viewer(chat, self._users[chat], socket, seq_of(frame))

    async def turns(self, chats: Sequence[str], turns: int) -> Turns:
        every, seconds = await self.talk(chats, turns)
        return Turns(
            seconds,
            [turn.began for turn in every],
            [turn.first for turn in every],
            [lag for turn in every for lag in turn.lags],
        )

    async def talk(self, chats: Sequence[str], turns: int) -> tuple[list[Turn], float]:
        """Every turn as its user saw it, and the seconds that all of them took."""

        async def converse(viewer: Viewer) -> list[Turn]:
            return [await viewer.turn() for _ in range(turns)]

        began = time.monotonic()
        async with asyncio.timeout(LOST_SECONDS):
            every = await asyncio.gather(*(converse(self._viewers[chat]) for chat in chats))
        return [turn for one in every for turn in one], time.monotonic() - began

    async def start(self, count: int) -> list[float]:
        async def start() -> float:
            began = time.monotonic()
            await self._start()
            return time.monotonic() - began

        await self._http.connect(count)
        return await asyncio.gather(*(start() for _ in range(count)))

    async def start_parked(self, count: int) -> list[str]:
        """Chats that wait for their users, who are not connected."""
        gate = asyncio.Semaphore(CONNECT_AT_ONCE)

        async def start() -> str:
            async with gate:
                return await self._start()

        return await asyncio.gather(*(start() for _ in range(count)))

    async def open(self, chat: str, tail: int | None = None) -> Opening:
        began = time.monotonic()
        socket = await self._connect(chat, "after=0" if tail is None else f"tail={tail}")
        size = 0
        while True:
            frame = await socket.recv(decode=False)
            size += len(frame)
            if frame.startswith(_BOUNDARY):
                break
        seconds = time.monotonic() - began
        await socket.close()
        return Opening(seconds, size)

    async def stored(self) -> dict[str, int]:
        """JetStream's files as they are on the disk, and MongoDB's tables and indexes.

        MongoDB writes a checkpoint first; its journal is not counted.
        """
        async with AsyncMongoClient[dict[str, object]](self.product.mongodb_uri) as mongo:
            await mongo.admin.command("fsync", 1)
            database = PersistenceSettings.model_fields["mongodb_database"].default
            stats = await mongo[database].command("dbStats")
        jetstream = self.product.data / "nats" / "jetstream"
        return {
            "JetStream": await asyncio.to_thread(processes.folder_bytes, jetstream),
            "MongoDB": int(stats["totalSize"]),
        }

    async def settle(self) -> None:
        """Until every consumer of the log, persistence above all, has taken every event."""
        async with asyncio.timeout(SETTLE_SECONDS):
            while True:
                consumers = await self._js.consumers_info(subjects.EVENTS)
                if not any(one.num_pending or one.num_ack_pending for one in consumers):
                    return
                await asyncio.sleep(0.02)

    def cpu_seconds(self) -> dict[str, float]:
        names = self.product.processes()
        return {name: processes.cpu_seconds([pid]) for name, pid in names.items()}

    def memory(self) -> float:
        return processes.memory_bytes(self.product.processes().values())

    def services_memory(self) -> float:
        """Bytes in memory of the four services."""
        running = self.product.processes()
        return processes.memory_bytes(running[name] for name in SERVICES)

    def address_of(self, chat: str, query: str = "after=0") -> str:
        path = f"/ws/{WORKFLOW}/{APP}/{chat}/{self._users[chat]}"
        return f"ws://{LOOPBACK}:{self.product.ports['transport']}{path}?{query}"

    async def _start(self) -> str:
        user = f"user-{next(_USERS)}"
        path = f"/api/chats/{APP}/{WORKFLOW}/start"
        answer = await self._http.post(path, {"user_id": user, "client_request_id": user})
        chat = str(answer["chat_id"])
        self._users[chat] = user
        return chat

    async def _connect(self, chat: str, query: str = "after=0") -> ClientConnection:
        address = self.address_of(chat, query)
        return await connect(address, compression=None, ping_interval=None, max_size=FRAME_BYTES)


async def _boundary(socket: ClientConnection) -> bytes:
    while True:
        frame = await socket.recv(decode=False)
        if frame.startswith(_BOUNDARY):
            return frame


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[NatsClient]:
    client = Connection(access_of(settings, "benchmark"), "benchmark")
    await client.open()
    try:
        yield client
    finally:
        await client.shut_down(1)


@asynccontextmanager
async def ours(
    folder: Path, model_url: str, sync_interval: str | None = None
) -> AsyncIterator[Ours]:
    """The product, ready. Raises StartError."""
    product = Product(folder, model_url, sync_interval)
    try:
        await asyncio.to_thread(product.start)
        async with (
            _connected(product.settings) as nc,
            PlainHttp(product.ports["transport"]) as http,
        ):
            yield Ours(product, nc, http)
    finally:
        await asyncio.to_thread(product.stop)
