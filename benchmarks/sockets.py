"""Sockets: what an idle one costs, whether many active ones get everything in order, and one asleep."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

from nats.aio.client import Client
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks import chats, stage
from benchmarks.crowd import (
    Ready,
    address_of,
    at_once,
    crowd,
    echo,
    memory,
    open_files,
    replayed,
)
from benchmarks.echo import TO_ALL
from benchmarks.figures import Aim, Figure, percentile
from benchmarks.load.process_times import times_of
from contracts import subjects
from contracts.event_log import Decision
from contracts.ids import Seq
from infra.ports import LOOPBACK
from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway

IDLE = 2000
WARM_UP = 50
"""Sockets that come and go before anything is weighed: what is loaded once is nobody's."""
SETTLE_SECONDS = 2.0
KILOBYTE = 1024
ABOVE_FLOOR = Aim(limit=20)

CHATS = 50
VIEWERS = 500
REPETITIONS = 3
PACED = 16
"""Events of a chat, one after the other of all chats in turn."""
PACE_SECONDS = 0.01
BURST = 30
"""Events of a chat, all at once."""
LOST_SECONDS = 60.0
NONE_WRONG = Aim(limit=0)
FRAME_AIM = Aim(ratio=1.2)

SLEEP_SECONDS = 1.0
HEAVY, HEAVY_BYTES = 200, 60_000

OPENING: list[chats.Group] = [[chats.STARTED], *chats.turn(1)]
OPENED = sum(map(len, OPENING))


async def measure(server: NatsServer) -> list[Figure]:
    with open_files(IDLE):
        async with stage.gateway(server) as gateway:
            return [
                *await _idle(server, gateway),
                *await _active(server, gateway),
                *await _asleep(server, gateway),
            ]


# -- idle -----------------------------------------------------------------------------------------


async def _idle(server: NatsServer, gateway: JetStreamGateway) -> list[Figure]:
    async with echo(server) as (port, pid):
        floor = await weight(pid, [f"ws://{LOOPBACK}:{port}/lobby"] * IDLE, at_once)
    alone, shared = await stored_chats(gateway, IDLE), await stored_chats(gateway, CHATS)
    figures: list[Figure] = []
    for name, last in (("a chat each", alone), (f"{IDLE // CHATS} a chat", shared)):
        async with stage.process("transport", server) as transport:
            addresses = [address_of(transport.port, one.key) for one in last] * (IDLE // len(last))
            ours = await weight(transport.pid, addresses, replayed)
        title = f"idle socket of {IDLE:,}, {name}"
        figures += [
            Figure(f"{title}: memory", "KB", [ours], [floor]),
            Figure(f"{title}: above the floor", "KB", [ours - floor], aim=ABOVE_FLOOR),
        ]
    return figures


async def stored_chats(gateway: JetStreamGateway, number: int) -> list[Decision]:
    """Chats in the log, each as its last decision."""
    found: list[Decision] = []
    for _ in range(number):
        decisions = chats.sealed(chats.new_chat(), OPENING)
        await chats.store(gateway, decisions)
        found.append(decisions[-1])
    return found


async def weight(pid: int, addresses: Sequence[str], ready: Ready) -> float:
    """Kilobytes that each of these sockets takes in the process that serves it."""
    async with crowd(addresses[:WARM_UP], ready):
        pass
    await asyncio.sleep(SETTLE_SECONDS)
    empty = memory(pid)
    async with crowd(addresses, ready):
        await asyncio.sleep(SETTLE_SECONDS)
        return (memory(pid) - empty) / len(addresses) / KILOBYTE


# -- active ---------------------------------------------------------------------------------------

Publish = Callable[[int, int], Awaitable[None]]
"""Publish event `seq` to the n-th chat."""


class Burst(NamedTuple):
    """Frames a second, and microseconds of CPU of the server for each."""

    rate: float
    cost: float


@dataclass
class Audience:
    """Everyone who watches, what each should see next, and how long frames took to reach them."""

    pid: int
    sockets: Sequence[ClientConnection]
    publish: Publish
    seq_of: Callable[[bytes], int]
    last: int
    sent: dict[tuple[int, int], float] = field(default_factory=dict)
    taken: list[float] = field(default_factory=list)
    wrong: int = 0

    async def paced(self) -> None:
        """One event each some milliseconds, so that none waits for another."""
        first = self.last + 1
        await self._watched(PACED, self._in_turn(range(first, first + PACED)))

    async def burst(self) -> Burst:
        """Everything is published at once."""
        first, began, used = self.last + 1, perf_counter(), times_of(self.pid).used
        await self._watched(BURST, self._all_at_once(range(first, first + BURST)))
        frames = len(self.sockets) * BURST
        cost = (times_of(self.pid).used - used) / frames
        return Burst(frames / (perf_counter() - began), 1_000_000 * cost)

    async def _in_turn(self, seqs: Sequence[int]) -> None:
        for seq in seqs:
            for chat in range(CHATS):
                self.sent[chat, seq] = perf_counter()
                await self.publish(chat, seq)
                await asyncio.sleep(PACE_SECONDS)

    async def _all_at_once(self, seqs: Sequence[int]) -> None:
        for seq in seqs:
            for chat in range(CHATS):
                await self.publish(chat, seq)

    async def _watched(self, events: int, publishing: Awaitable[None]) -> None:
        async with asyncio.timeout(LOST_SECONDS), asyncio.TaskGroup() as group:
            for place, socket in enumerate(self.sockets):
                group.create_task(self._watch(place % CHATS, socket, events))
            await publishing
        self.last += events

    async def _watch(self, chat: int, socket: ClientConnection, events: int) -> None:
        for expected in range(self.last + 1, self.last + 1 + events):
            seq = self.seq_of(await socket.recv(decode=False))
            self.wrong += seq != expected
            if (sent := self.sent.get((chat, seq))) is not None:
                self.taken.append(perf_counter() - sent)


async def _active(server: NatsServer, gateway: JetStreamGateway) -> list[Figure]:
    floors: list[Audience] = []
    ours: list[Audience] = []
    bursts: list[tuple[Burst, Burst]] = []
    for _ in range(REPETITIONS):
        async with _bare(server) as audience:
            await audience.paced()
            bare = await audience.burst()
            floors.append(audience)
        async with _viewers(server, gateway) as audience:
            await audience.paced()
            bursts.append((await audience.burst(), bare))
            ours.append(audience)
    title = f"{VIEWERS} viewers of {CHATS} chats"
    return [
        *(_latency(title, percent, ours, floors) for percent in (50, 99)),
        *_bursts(title, bursts),
        Figure(
            f"{title}: frames missing or out of order",
            "frames",
            [audience.wrong for audience in ours],
            aim=NONE_WRONG,
            note=f"of {VIEWERS * (PACED + BURST):,}, {REPETITIONS} times",
        ),
    ]


def _latency(
    title: str, percent: int, ours: Sequence[Audience], floors: Sequence[Audience]
) -> Figure:
    return Figure(
        f"{title}: event to frame p{percent}",
        "ms",
        [1000 * percentile(audience.taken, percent) for audience in ours],
        [1000 * percentile(audience.taken, percent) for audience in floors],
        note=f"{VIEWERS / CHATS / PACE_SECONDS:,.0f} frames/s; floor: no log, no NATS",
    )


def _bursts(title: str, bursts: Sequence[tuple[Burst, Burst]]) -> list[Figure]:
    ours, floors = zip(*bursts, strict=True)
    name = f"{title}: all at once"
    rates, bare_rates = ([one.rate for one in side] for side in (ours, floors))
    costs, bare_costs = ([one.cost for one in side] for side in (ours, floors))
    return [
        Figure(name, "frames/s", rates, bare_rates, more_is_better=True),
        Figure(f"{name}, CPU of a frame", "us", costs, bare_costs, FRAME_AIM),
    ]


@asynccontextmanager
async def _viewers(server: NatsServer, gateway: JetStreamGateway) -> AsyncIterator[Audience]:
    last = await stored_chats(gateway, CHATS)
    ready = [_events(one) for one in last]
    async with (
        stage.plain(server) as publisher,
        stage.process("transport", server) as transport,
        crowd([address_of(transport.port, one.key) for one in last] * _ROW, replayed) as sockets,
    ):

        async def publish(chat: int, seq: int) -> None:
            await _published(publisher, next(ready[chat]), seq)

        yield Audience(transport.pid, sockets, publish, _seq_of_frame, last=OPENED)


_ROW = VIEWERS // CHATS


@dataclass(frozen=True, slots=True)
class Sealed:
    seq: int
    subject: str
    payload: bytes


class WrongOrderError(Exception):
    """An event is published at a place that is not its own: the figures would mean nothing."""


def _events(last: Decision) -> Iterator[Sealed]:
    """A person's words, one event each, made before the clock runs."""
    words: list[chats.Group] = [[chats.said()] for _ in range(PACED + BURST)]
    subject = subjects.event(last.key, "runtime")
    decisions = chats.sealed(last.key, words, last.head)
    return iter([Sealed(one.head.seq, subject, one.data) for one in decisions])


async def _published(publisher: Client, event: Sealed, seq: int) -> None:
    if event.seq != seq:
        raise WrongOrderError(f"{event.seq} instead of {seq}")
    await publisher.publish(event.subject, event.payload)


def _seq_of_frame(frame: bytes) -> int:
    return int(frame.rpartition(b'"seq":')[2].rstrip(b"}"))


@asynccontextmanager
async def _bare(server: NatsServer) -> AsyncIterator[Audience]:
    """The same number of sockets in rooms of a bare app; one more in each tells the others."""
    async with AsyncExitStack() as stack:
        port, pid = await stack.enter_async_context(echo(server))
        rooms = [f"ws://{LOOPBACK}:{port}/{room}" for room in range(CHATS)]
        speakers = await stack.enter_async_context(crowd(rooms, at_once))
        sockets = await stack.enter_async_context(crowd(rooms * _ROW, at_once))
        padding = "x" * len(_EXAMPLE)

        async def publish(chat: int, seq: int) -> None:
            await speakers[chat].send(f"{TO_ALL}{padding}:{seq}")

        yield Audience(pid, sockets, publish, _seq_of_text, last=0)


_EXAMPLE = chats.sealed(chats.new_chat(), [[chats.said()]])[0].data
"""As long as a frame, more or less."""


def _seq_of_text(text: bytes) -> int:
    return int(text.rpartition(b":")[2])


# -- asleep ---------------------------------------------------------------------------------------


async def _asleep(server: NatsServer, gateway: JetStreamGateway) -> list[Figure]:
    """A socket stands still while megabytes happen, is sent away, and comes back by its cursor."""
    (last,) = await stored_chats(gateway, 1)
    key = last.key
    patience = {"CLIENT_SEND_TIMEOUT_SECONDS": str(SLEEP_SECONDS)}
    async with stage.process("transport", server, patience) as transport:
        asleep = await connect(address_of(transport.port, key), max_queue=1, compression=None)
        await replayed(asleep)
        before = memory(transport.pid)
        await _heavy(gateway, last)
        await asyncio.sleep(SLEEP_SECONDS)
        grown = (memory(transport.pid) - before) / KILOBYTE**2
        seen = await _until_closed(asleep)
        cursor = max(seen, default=OPENED)
        again = await _read_to(address_of(transport.port, key, cursor), OPENED + HEAVY)
    missing = HEAVY - len(set(seen) | set(again))
    doubled = len(seen) + len(again) - HEAVY + missing
    sent = HEAVY * HEAVY_BYTES / KILOBYTE**2
    name = "a socket that stands still and comes back"
    return [
        Figure(f"{name}: events missing", "events", [missing], aim=NONE_WRONG),
        Figure(f"{name}: events doubled", "events", [doubled], aim=NONE_WRONG),
        Figure(f"{name}: memory", "MB", [grown], note=f"while {sent:.0f} MB happened"),
    ]


async def _heavy(gateway: JetStreamGateway, last: Decision) -> None:
    words: list[chats.Group] = [[chats.said("x" * HEAVY_BYTES)] * 4] * (HEAVY // 4)
    position = await gateway.events.last_position(last.key)
    await chats.store(gateway, chats.sealed(last.key, words, last.head), after=position)


async def _until_closed(socket: ClientConnection) -> list[int]:
    """What a socket still has when it begins to read again, too late."""
    seen: list[int] = []
    try:
        async with asyncio.timeout(LOST_SECONDS):
            while True:
                seen.append(_seq_of_frame(await socket.recv(decode=False)))
    except ConnectionClosed:
        return seen


async def _read_to(address: str, last: int) -> list[Seq]:
    seen: list[Seq] = []
    async with asyncio.timeout(LOST_SECONDS), connect(address, compression=None) as socket:
        while not seen or seen[-1] < last:
            frame = await socket.recv(decode=False)
            if b'"chat.text"' in frame[:40]:
                seen.append(Seq(_seq_of_frame(frame)))
    return seen
