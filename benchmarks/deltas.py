"""Deltas: what the streamed text of a model call costs nats-server, and how late a chunk of it arrives."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

from nats.aio.client import Client
from nats.aio.msg import Msg

from benchmarks import chats, stage, turn
from benchmarks.figures import Aim, Figure, percentile
from benchmarks.load.process_times import times_of
from contracts import subjects
from contracts.deltas import TextStreamed
from contracts.ids import new_command_id
from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.nats.connection import flush
from services.orchestrator.agents.session.text_stream import DEFAULT_OUTPUT_POLICY, TextStream
from services.orchestrator.domain.turn import Turn
from services.orchestrator.runtime.chat_journal import ChatJournal

REPETITIONS = 5
CHUNKS = 20
CHUNK = "blueprint " * 3
FAST_TEXTS, FAST_SECONDS = 60, 0.0003
"""A model that is much faster than a screen, and whose chunks are messages of their own all the same."""
SLOW_TEXTS, SLOW_SECONDS = 3, 0.02
LOST_SECONDS = 60.0
SLOW_AIM = Aim(ratio=3)


class Way(Protocol):
    """How chunks are published; they are received on the subject `live`."""

    live: str

    async def start_text(self, number: int) -> None: ...

    async def append(self, chunk: str) -> None: ...

    async def end_text(self) -> None: ...


@dataclass(slots=True)
class EachChunk:
    """Each chunk as a message."""

    nc: Client
    subject: str
    live: str

    async def start_text(self, number: int) -> None:
        pass

    async def append(self, chunk: str) -> None:
        streamed = TextStreamed(
            turn=1,
            call=0,
            agent=chats.AGENT,
            runner=chats.DELIVERY.runner,
            offset=0,
            text=chunk,
        )
        await self.nc.publish(self.subject, streamed.model_dump_json().encode())

    async def end_text(self) -> None:
        pass


class AsTheOrchestrator:
    """As the orchestrator publishes the text of a model call."""

    def __init__(self, gateway: JetStreamGateway) -> None:
        key, runner = chats.new_chat(), turn.build_runner(gateway, [])
        log = runner.open(key, new_command_id(), turn.next_sequence(), attempt=1)
        journal = ChatJournal(gateway, log, chats.clock)
        opened = Turn(1, chats.AGENT, "initial")
        self._stream = TextStream(opened, journal, DEFAULT_OUTPUT_POLICY)
        self.live = subjects.live(key)

    async def start_text(self, number: int) -> None:
        self._stream.start_call(number)

    async def append(self, chunk: str) -> None:
        await self._stream.append(chunk)

    async def end_text(self) -> None:
        await self._stream.flush()


async def measure(server: NatsServer) -> list[Figure]:
    async with (
        stage.gateway(server) as gateway,
        stage.plain(server) as nc,
        stage.plain(server) as subscriber,
        _stream(nc, "memory") as memory,
        _stream(nc, "file") as file,
    ):
        core, ours = EachChunk(nc, "bench.core", "bench.core"), AsTheOrchestrator(gateway)
        fast: list[list[Received]] = []
        slow: list[list[Received]] = []
        for _ in range(REPETITIONS):
            fast.append(
                [
                    await _received(server, subscriber, way, FAST_TEXTS, FAST_SECONDS)
                    for way in (core, ours, memory, file)
                ]
            )
            slow.append(
                [
                    await _received(server, subscriber, way, SLOW_TEXTS, SLOW_SECONDS)
                    for way in (core, ours)
                ]
            )
    return [*_costs(fast), *_delays(slow)]


def _costs(fast: Sequence[Sequence["Received"]]) -> list[Figure]:
    core, ours, memory, file = ([one.server_ms for one in way] for way in zip(*fast, strict=True))
    name = f"{CHUNKS} chunks of a fast model"
    return [
        Figure(f"{name}: messages", "messages", [received[1].messages for received in fast]),
        Figure(
            f"{name}: nats-server CPU", "ms", ours, core, note="floor: a message each, no stream"
        ),
        Figure(f"{name}, a message each in a memory stream: nats-server CPU", "ms", memory, core),
        Figure(f"{name}, a message each in a file stream: nats-server CPU", "ms", file, core),
    ]


def _delays(slow: Sequence[Sequence["Received"]]) -> list[Figure]:
    return [
        Figure(
            f"a chunk each {1000 * SLOW_SECONDS:g} ms to a subscriber, p{percent}",
            "ms",
            [1000 * percentile(ours.delays, percent) for _, ours in slow],
            [1000 * percentile(core.delays, percent) for core, _ in slow],
            SLOW_AIM if percent == 50 else None,
        )
        for percent in (50, 99)
    ]


@asynccontextmanager
async def _stream(nc: Client, storage: str) -> AsyncIterator[EachChunk]:
    """A stream that republishes, as DELTAS is one."""
    way = EachChunk(nc, f"bench.{storage}", f"bench.live.{storage}")
    config: dict[str, Any] = {
        "name": f"bench-{storage}",
        "subjects": [way.subject],
        "storage": storage,
        "retention": "limits",
        "republish": {"src": way.subject, "dest": way.live},
    }
    api = f"$JS.API.STREAM.CREATE.{config['name']}"
    await nc.request(api, json.dumps(config).encode())
    try:
        yield way
    finally:
        await nc.jetstream().delete_stream(config["name"])


@dataclass(slots=True)
class Received:
    """What a subscriber got of some texts, and what that took nats-server for each."""

    texts: int
    delays: list[float] = field(default_factory=list)
    server_ms: float = 0.0
    sent: list[float] = field(default_factory=list)
    received_messages: int = 0
    received_chars: int = 0
    complete: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def messages(self) -> float:
        """Of each text."""
        return self.received_messages / self.texts

    async def on_message(self, message: Msg) -> None:
        now = perf_counter()
        self.received_messages += 1
        self.received_chars += len(json.loads(message.data)["text"])
        chunks = self.received_chars // len(CHUNK)
        self.delays += [now - sent for sent in self.sent[len(self.delays) : chunks]]
        if len(self.delays) == self.texts * CHUNKS:
            self.complete.set()


async def _received(
    server: NatsServer, subscriber: Client, way: Way, texts: int, pause: float
) -> Received:
    received = Received(texts)
    subscription = await subscriber.subscribe(way.live, cb=received.on_message)
    await flush(subscriber, LOST_SECONDS)
    before = times_of(server.child.pid)
    async with asyncio.timeout(LOST_SECONDS):
        for number in range(texts):
            await way.start_text(number)
            for _ in range(CHUNKS):
                received.sent.append(perf_counter())
                await way.append(CHUNK)
                await asyncio.sleep(pause)
            await way.end_text()
        await received.complete.wait()
    received.server_ms = 1000 * (times_of(server.child.pid) - before).used / texts
    await subscription.unsubscribe()
    return received
