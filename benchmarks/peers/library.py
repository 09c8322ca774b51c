"""A peer as processes: its program in the peers' environment, and a PostgreSQL of its own where it has one."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.peers import place, processes
from benchmarks.peers.contender import Opening, Turns
from benchmarks.peers.postgres import Postgres
from infra.child_process import Child
from infra.ports import LOOPBACK, answers, free_port
from infra.stack import ROOT

READY_SECONDS = 60.0
ANSWER_BYTES = 1 << 26
POSTGRES_DURABILITY = "PostgreSQL, fsync on, synchronous_commit on, no replica"
IN_MEMORY = "nothing is stored"

_NUMBERS = count(1)


class PeerError(Exception):
    """A peer's program failed; has its own traceback."""


class Library:
    """A program of `benchmarks.peers.programs`, asked over its connection."""

    def __init__(self, name: str, child: Child, port: int, postgres: Postgres | None) -> None:
        self.name = name
        self._program = child.name
        self._port = port
        self._child = child
        self._postgres = postgres
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    @property
    def stores(self) -> bool:
        return self._postgres is not None

    @property
    def durability(self) -> str:
        return IN_MEMORY if self._postgres is None else POSTGRES_DURABILITY

    async def connect(self) -> None:
        """Return once the program listens. Raises StartError."""
        await asyncio.to_thread(self._child.wait_until, lambda: answers(self._port), READY_SECONDS)
        self._reader, self._writer = await asyncio.open_connection(
            LOOPBACK, self._port, limit=ANSWER_BYTES
        )

    async def restart_after_kill(self) -> float:
        """SIGKILL, and at once a new process, as a supervisor starts it; when it was killed."""
        killed_at = time.monotonic()
        await asyncio.to_thread(self._child.kill)
        self._writer.close()
        self._child.start()
        await self.connect()
        return killed_at

    async def ask(self, **asked: object) -> dict[str, Any]:
        """The program's answer. Raises PeerError."""
        self._writer.write(json.dumps(asked).encode() + b"\n")
        line = await self._reader.readline()
        if not line:
            raise PeerError(f"{self.name} {self._child.ending}:\n{self._child.tail()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{self.name}: {answer['error']}")
        return answer

    async def chats(self, count: int) -> list[str]:
        return [f"chat-{next(_NUMBERS)}" for _ in range(count)]

    async def leave(self, chats: Sequence[str]) -> None:
        """Nobody is connected to a library."""

    async def turns(self, chats: Sequence[str], turns: int) -> Turns:
        answer = await self.ask(do="turns", chats=list(chats), turns=turns)
        return Turns(answer["seconds"], answer["began"], answer["first"], answer["lags"])

    async def start(self, count: int) -> list[float]:
        answer = await self.ask(do="start", chats=await self.chats(count))
        return [float(taken) for taken in answer["seconds"]]

    async def open(self, chat: str, tail: int | None = None) -> Opening:
        """All of it: none of the peers opens a part of a chat."""
        del tail
        answer = await self.ask(do="open", chat=chat)
        return Opening(answer["seconds"], answer["bytes"])

    async def stored(self) -> dict[str, int]:
        """The size of its database."""
        if self._postgres is None:
            return {}
        size = await asyncio.to_thread(self._postgres.database_bytes, self._program)
        return {"PostgreSQL": size}

    async def settle(self) -> None:
        """A turn that has ended has stored everything."""

    def _processes(self) -> dict[str, list[int]]:
        found = {self.name: processes.tree(self._child.pid)}
        return found if self._postgres is None else found | {"postgres": self._postgres.pids()}

    def cpu_seconds(self) -> dict[str, float]:
        return {name: processes.cpu_seconds(pids) for name, pids in self._processes().items()}

    def memory(self) -> float:
        return processes.memory_bytes(pid for pids in self._processes().values() for pid in pids)


@asynccontextmanager
async def library(
    name: str, program: str, folder: Path, model_url: str, *, stores: bool = True
) -> AsyncIterator[Library]:
    """The peer, ready. Raises InstallError, StartError."""
    python = await asyncio.to_thread(place.python)
    postgres = await asyncio.to_thread(Postgres, folder / f"{program}-postgres") if stores else None
    child: Child | None = None
    try:
        arguments = [model_url]
        if postgres is not None:
            await asyncio.to_thread(postgres.start)
            arguments.append(await asyncio.to_thread(postgres.create, program))
        port = free_port()
        module = f"benchmarks.peers.programs.{program}_peer"
        command = [str(python), "-m", module, str(port), *arguments]
        child = Child(program, command, folder / f"{program}.log", folder=ROOT)
        child.start()
        peer = Library(name, child, port, postgres)
        await peer.connect()
        yield peer
    finally:
        if child is not None:
            await asyncio.to_thread(child.stop)
        if postgres is not None:
            await asyncio.to_thread(postgres.stop)
