"""Projection: what persistence and metrics make of a log, beside reading and storing the same bytes."""

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from pymongo import AsyncMongoClient

from benchmarks import floor, stage
from benchmarks.conversation import MESSAGES_PER_TURN, interleaved
from benchmarks.figures import Aim, Figure
from contracts import subjects
from contracts.event_log import Decision
from contracts.events.turn import TurnCompleted
from infra.ports import LOOPBACK
from infra.servers import MongoServer, NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway

CHATS = 20
TURNS = 200
ROUNDS = 4
"""Parts in which the log is filled and projected, each a repetition."""
PACED_EVENTS = 3_000
EVENTS_PER_SECOND = 500
AT_ONCE = 200
PROJECT_SECONDS = 300.0
POLL_SECONDS = 0.05
COMPRESS_SECONDS = 3.0
"""Until the server has compressed the blocks that are full."""
KILOBYTE = 1024
MEGABYTE = 1024**2
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
DATABASE = "bench"

CPU_AIM = Aim(limit=125)
"""Of each of the two: a quarter of a millisecond together."""
BYTES_AIM = Aim(limit=5)

Work = Callable[[], Awaitable[None]]
Document = dict[str, Any]


async def measure(server: NatsServer) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        mongo = MongoServer(Path(folder) / "mongodb")
        await asyncio.to_thread(mongo.start)
        try:
            async with stage.gateway(server) as gateway, stage.plain(server) as nc:
                return await _Comparison(server, mongo, gateway, nc).measure()
        finally:
            await asyncio.to_thread(mongo.stop)


@dataclass(frozen=True, slots=True)
class _Cost:
    """What the projection of some events took: seconds, and seconds of CPU by process."""

    events: int
    seconds: float
    cpu: dict[str, float]


@dataclass(slots=True)
class _Comparison:
    server: NatsServer
    mongo: MongoServer
    gateway: JetStreamGateway
    nc: Client
    messages: int = 0
    turns: int = 0
    log_bytes: int = 0
    floors: list[_Cost] = field(default_factory=list)
    kept: list[_Cost] = field(default_factory=list)
    counted: list[_Cost] = field(default_factory=list)

    async def measure(self) -> list[Figure]:
        environment = {"MONGODB_URI": self.mongo.uri, "MONGODB_DATABASE": DATABASE}
        async with (
            stage.process("persistence", self.server, environment) as persistence,
            stage.process("metrics", self.server, {}) as metrics,
        ):
            log = interleaved(CHATS, TURNS)
            most = 1 + CHATS * (1 + MESSAGES_PER_TURN * TURNS) // ROUNDS
            while part := list(islice(log, most)):
                await self._round(part, persistence, metrics)
            sizes = await self._sizes()
            paced = [await self._paced(persistence, metrics) for _ in range(ROUNDS)]
        return [*self._backlog_figures(), *_paced_figures(paced), sizes]

    async def _round(
        self, part: Sequence[Decision], persistence: stage.Process, metrics: stage.Process
    ) -> None:
        """Both are paused while the log is filled, and go on one after the other."""
        persistence.pause()
        metrics.pause()
        await self._store(part)
        self.floors.append(await self._floor(part))
        self.kept.append(await self._run("persistence", persistence, part, self._projected))

        async def all_counted() -> None:
            await self._counted(metrics.port)

        self.counted.append(await self._run("metrics", metrics, part, all_counted))

    async def _run(
        self, name: str, process: stage.Process, part: Sequence[Decision], done: Work
    ) -> _Cost:
        async def work() -> None:
            process.resume()
            await done()

        return await _cost(self._pids(**{name: process.pid}), work, _events(part))

    def _pids(self, **more: int) -> dict[str, int]:
        return {"mongod": self.mongo.child.pid, "nats": self.server.child.pid, **more}

    async def _store(self, part: Sequence[Decision]) -> None:
        for start in range(0, len(part), AT_ONCE):
            await asyncio.gather(*(self._publish(one) for one in part[start : start + AT_ONCE]))

    async def _publish(self, decision: Decision) -> None:
        data, subject = decision.data, subjects.event(decision.key, decision.first.category)
        reply = await self.nc.request(
            subject, data, timeout=floor.ACK_SECONDS, headers=decision.headers
        )
        if b'"seq"' not in reply.data:
            raise floor.FloorError(reply.data.decode())
        self.messages += 1
        self.log_bytes += len(data)
        self.turns += sum(isinstance(one.event, TurnCompleted) for one in decision.events)

    async def _floor(self, part: Sequence[Decision]) -> _Cost:
        """Read the messages with nats-py, and store their bytes with one `insert_many` a page."""
        pages: list[list[bytes]] = []

        async def read() -> None:
            pages.extend([page async for page in self._pages(self.messages - len(part))])

        async def store() -> None:
            async with AsyncMongoClient[Document](self.mongo.uri, journal=True) as client:
                for page in pages:
                    await client["floor"]["events"].insert_many([{"raw": raw} for raw in page])

        pids, events = self._pids(own=os.getpid()), _events(part)
        reading = await _cost(pids, read, events)
        storing = await _cost(pids, store, events)
        both = {name: reading.cpu[name] + storing.cpu[name] for name in pids}
        both |= {"read": reading.cpu["own"], "nats": reading.cpu["nats"]}
        return _Cost(events, reading.seconds + storing.seconds, both)

    async def _pages(self, after: int) -> AsyncIterator[list[bytes]]:
        config = ConsumerConfig(
            ack_policy=AckPolicy.NONE,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=after + 1,
        )
        consumer = await self.nc.jetstream().pull_subscribe(
            subjects.ALL_EVENTS, stream=subjects.EVENTS, config=config
        )
        while after < self.messages:
            page = await consumer.fetch(min(AT_ONCE, self.messages - after))
            after += len(page)
            yield [one.data for one in page]
        await consumer.unsubscribe()

    async def _projected(self) -> None:
        while True:
            found = await self.gateway.js.consumer_info(subjects.EVENTS, "persistence-events")
            if not found.num_pending and not found.num_ack_pending:
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _counted(self, port: int) -> None:
        address = f"http://{LOOPBACK}:{port}/metrics/prometheus"
        async with httpx.AsyncClient() as client:
            while True:
                page = (await client.get(address)).text
                if _counted_turns(page) >= self.turns:
                    return
                await asyncio.sleep(POLL_SECONDS)

    async def _paced(self, persistence: stage.Process, metrics: stage.Process) -> _Cost:
        """What both take while other chats go on evenly."""
        log = interleaved(CHATS, TURNS, seed=self.messages)

        async def work() -> None:
            began, events = perf_counter(), 0
            for decision in log:
                await self._publish(decision)
                events += len(decision.events)
                if events >= PACED_EVENTS:
                    break
                due = began + events / EVENTS_PER_SECOND
                await asyncio.sleep(max(due - perf_counter(), 0))
            await self._projected()
            await self._counted(metrics.port)

        pids = self._pids(persistence=persistence.pid, metrics=metrics.pid)
        return await _cost(pids, work, PACED_EVENTS)

    async def _sizes(self) -> Figure:
        """NATS compresses a block once it is full: of EVENTS, the turns in such blocks count."""
        await asyncio.sleep(COMPRESS_SECONDS)
        state = (await self.gateway.js.stream_info(subjects.EVENTS)).state
        blocks = sorted(self.server.folder.rglob(f"{subjects.EVENTS}/msgs/*.blk"), key=_number)
        newest = blocks[-1].stat().st_size
        full = sum(block.stat().st_size for block in blocks[:-1])
        everything = _size_of(self.server.folder / "jetstream")
        events = full / (1 - newest / state.bytes)
        nats = (events + everything - full - newest) / self.turns / KILOBYTE
        async with AsyncMongoClient[Document](self.mongo.uri) as client:
            await client.admin.command("fsync")
            stats = await client[DATABASE].command("dbStats")
        mongo = (stats["storageSize"] + stats["indexSize"]) / self.turns / KILOBYTE
        log = self.log_bytes / self.turns / KILOBYTE
        note = (
            f"NATS {nats:.2f} (and {newest / MEGABYTE:.1f} MB of a block that is not full),"
            f" MongoDB {mongo:.2f}; floor: the log's bytes as they are"
        )
        return Figure(
            "projection, kept per turn", "kB", [nats + mongo], [log], BYTES_AIM, note=note
        )

    def _backlog_figures(self) -> list[Figure]:
        kept, counted, floors = self.kept, self.counted, self.floors
        name = "projection, persistence"
        return [
            _cpu(f"{name}: CPU", (kept, "persistence"), (floors, "own"), CPU_AIM),
            _cpu(f"{name}: CPU of mongod", (kept, "mongod"), (floors, "mongod")),
            _cpu(f"{name}: CPU of nats-server", (kept, "nats"), (floors, "nats")),
            Figure(
                f"{name}: a backlog",
                "events/s",
                [one.events / one.seconds for one in kept],
                [one.events / one.seconds for one in floors],
                more_is_better=True,
            ),
            _cpu("projection, metrics: CPU", (counted, "metrics"), (floors, "read"), CPU_AIM),
            _cpu("projection, metrics: CPU of nats-server", (counted, "nats"), (floors, "nats")),
        ]


Taken = tuple[Sequence[_Cost], str]
"""Costs, and the process that is meant."""


def _cpu(title: str, ours: Taken, floors: Taken, aim: Aim | None = None) -> Figure:
    return Figure(title, "µs/event", _microseconds(*ours), _microseconds(*floors), aim)


def _microseconds(costs: Sequence[_Cost], name: str) -> list[float]:
    return [1e6 * one.cpu[name] / one.events for one in costs]


def _paced_figures(paced: Sequence[_Cost]) -> list[Figure]:
    rate = f"at {EVENTS_PER_SECOND} events/s"
    return [
        Figure(f"projection {rate}: CPU of {name}", "µs/event", _microseconds(paced, name))
        for name in ("persistence", "metrics", "mongod")
    ]


async def _cost(pids: dict[str, int], work: Work, events: int) -> _Cost:
    before = {name: _cpu_seconds(pid) for name, pid in pids.items()}
    began = perf_counter()
    async with asyncio.timeout(PROJECT_SECONDS):
        await work()
    seconds = perf_counter() - began
    used = {name: _cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    return _Cost(events, seconds, used)


def _cpu_seconds(pid: int) -> float:
    """What all threads of a process have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def _number(block: Path) -> int:
    return int(block.stem)


def _size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _counted_turns(page: str) -> float:
    found: list[str] = re.findall(r"^mozaiks_agent_turns_total\{.*\} (\S+)$", page, re.MULTILINE)
    return sum(map(float, found))


def _events(part: Sequence[Decision]) -> int:
    return sum(len(one.events) for one in part)
