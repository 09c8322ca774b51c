"""Open a chat: from connecting to the end of its history, by the chat's length, beside a direct get."""

import asyncio
import gc
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from nats.aio.client import Client
from websockets.asyncio.client import connect

from benchmarks import chats, floor, stage
from benchmarks.crowd import address_of
from benchmarks.figures import Figure
from contracts import subjects
from contracts.event_log import Decision
from contracts.ids import ChatKey, StreamSeq
from infra.servers import MongoServer, NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway

LENGTHS = (20, 200, 800, 2_000)
"""Messages of a chat: each turn is the user's, a tool call, its result and an answer."""
MESSAGES_OF_A_TURN = 4
TAIL = 100
"""Events, as many as the console asks for."""
REPETITIONS = 5
PIECE = 7
"""Messages of a chat in a row in the stream: a turn."""
PROJECTED_SECONDS = 300.0
POLL_SECONDS = 0.2
FRAME_BYTES = 16 * 1024 * 1024


class WrongChatError(Exception):
    """What was sent is not what was stored: the figure would mean nothing."""


async def measure(server: NatsServer) -> list[Figure]:
    async with (
        stage.gateway(server) as gateway,
        stage.plain(server) as nc,
        _mongodb() as mongo,
        stage.process("persistence", server, {"MONGODB_URI": mongo.uri}),
        stage.process("transport", server) as transport,
    ):
        stored = await _store(gateway, [*LENGTHS] * (REPETITIONS + 1))
        await _projected(gateway)
        for chat in stored[: len(LENGTHS)]:
            await _opened(transport.port, chat, "after=0")  # what is loaded once is nobody's
        measured = stored[len(LENGTHS) :]
        first = [(chat, await _opened(transport.port, chat, f"tail={TAIL}")) for chat in measured]
        again = [await _pair(nc, transport.port, chat) for chat in measured]
        whole = [(chat, await _opened(transport.port, chat, "after=0")) for chat in measured]
    return [figure for length in LENGTHS for figure in _figures(length, first, again, whole)]


@asynccontextmanager
async def _mongodb() -> AsyncIterator[MongoServer]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        mongo = MongoServer(Path(folder))
        await asyncio.to_thread(mongo.start)
        try:
            yield mongo
        finally:
            await asyncio.to_thread(mongo.stop)


async def _projected(gateway: JetStreamGateway) -> None:
    """Return once persistence has projected the whole log."""
    async with asyncio.timeout(PROJECTED_SECONDS):
        while True:
            consumer = await gateway.js.consumer_info(subjects.EVENTS, "persistence-events")
            if not consumer.num_pending and not consumer.num_ack_pending:
                return
            await asyncio.sleep(POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class Stored:
    """A chat in the log, and where its tail begins in the stream."""

    key: ChatKey
    messages: int
    tail: StreamSeq
    tail_messages: int


@dataclass(frozen=True, slots=True)
class Opened:
    milliseconds: float
    kilobytes: float


Pair = tuple[Stored, Opened, float]
"""A chat that was opened again, and the time of a direct get of the same tail."""


async def _opened(port: int, chat: Stored, start: str) -> Opened:
    address = address_of(port, chat.key).replace("after=0", start)
    gc.collect()
    size, began = 0, perf_counter()
    async with connect(address, compression=None, max_size=FRAME_BYTES) as socket:
        frame = b""
        while b'"chat.resume_boundary"' not in frame[:40]:
            frame = await socket.recv(decode=False)
            size += len(frame)
        taken = perf_counter() - began
    return Opened(1000 * taken, size / 1000)


async def _pair(nc: Client, port: int, chat: Stored) -> Pair:
    gc.collect()
    began = perf_counter()
    counted = await floor.direct_get(
        nc, subjects.EVENTS, subjects.events_of(chat.key), after=chat.tail - 1
    )
    taken = 1000 * (perf_counter() - began)
    if counted.messages != chat.tail_messages:
        raise WrongChatError(f"{counted.messages} of {chat.tail_messages} messages")
    return chat, await _opened(port, chat, f"tail={TAIL}"), taken


def _figures(
    length: int,
    first: list[tuple[Stored, Opened]],
    again: list[Pair],
    whole: list[tuple[Stored, Opened]],
) -> list[Figure]:
    name = f"open a chat of {length:,} messages"
    newest = [opened for chat, opened in first if chat.messages == length]
    pairs = [(opened, taken) for chat, opened, taken in again if chat.messages == length]
    everything = [opened for chat, opened in whole if chat.messages == length]
    return [
        Figure(
            f"{name}: newest {TAIL} events",
            "ms",
            [opened.milliseconds for opened, _ in pairs],
            [taken for _, taken in pairs],
            note=f"{pairs[0][0].kilobytes:,.0f} kB; floor: a direct get of them",
        ),
        Figure(
            f"{name}: for the first time in the process",
            "ms",
            [opened.milliseconds for opened in newest],
            note="from persistence's snapshot where it is long",
        ),
        Figure(
            f"{name}: all events",
            "ms",
            [opened.milliseconds for opened in everything],
            note=f"{everything[0].kilobytes:,.0f} kB; as ChatUI does",
        ),
    ]


async def _store(gateway: JetStreamGateway, lengths: list[int]) -> list[Stored]:
    """Chats of these lengths, their turns mixed in the stream as those of live chats are."""
    written = [(chats.sealed(chats.new_chat(), _story(length)), length) for length in lengths]
    positions: list[list[StreamSeq]] = [[] for _ in written]

    async def append(chat: int, first: int) -> None:
        reached = positions[chat]
        for decision in written[chat][0][first : first + PIECE]:
            after = reached[-1] if reached else chats.NOWHERE
            reached.append(await gateway.events.append(decision, after=after))

    for first in range(0, max(len(decisions) for decisions, _ in written), PIECE):
        await asyncio.gather(*(append(chat, first) for chat in range(len(written))))
    return [
        _stored(decisions, reached, length)
        for (decisions, length), reached in zip(written, positions, strict=True)
    ]


def _story(length: int) -> list[chats.Group]:
    turns = range(1, length // MESSAGES_OF_A_TURN + 1)
    return [[chats.STARTED], *(group for number in turns for group in chats.turn(number))]


def _stored(decisions: list[Decision], positions: list[StreamSeq], length: int) -> Stored:
    last = decisions[-1].head.seq
    tail = next(n for n, one in enumerate(decisions) if one.head.seq > last - TAIL)
    return Stored(decisions[0].key, length, positions[tail], len(decisions) - tail)
