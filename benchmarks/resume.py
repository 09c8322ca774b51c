"""Resume: from nothing in memory to knowing what a chat waits for, by its length."""

import gc
from time import perf_counter

from nats.aio.client import Client

from benchmarks import chats, floor, stage
from benchmarks.figures import Aim, Figure
from contracts import subjects
from contracts.ids import ChatKey, StreamSeq
from infra.servers import NatsServer
from services.chassis.bus import Bus
from services.orchestrator.chatlog import ChatLog
from services.orchestrator.decisions import pending
from services.orchestrator.projection import conversation

REPETITIONS = {100: 25, 1_000: 11, 10_000: 3}
AIMS = {1_000: Aim(ratio=3, limit=60)}


class WrongChatError(Exception):
    """What was read is not what was written: the figure would mean nothing."""


async def measure(server: NatsServer) -> list[Figure]:
    async with stage.bus(server) as bus, stage.plain(server) as nc:
        stored = await _store(bus, list(REPETITIONS))
        return [await _read(bus, nc, key, length) for length, key in stored.items()]


async def _read(bus: Bus, nc: Client, key: ChatKey, length: int) -> Figure:
    floors: list[float] = []
    ours: list[float] = []
    for _ in range(REPETITIONS[length]):
        floors.append(await _raw(nc, key, length))
        ours.append(await _ours(bus, key, length))
    return Figure(f"resume {length:,} events", "ms", ours, floors, AIMS.get(length))


async def _ours(bus: Bus, key: ChatKey, length: int) -> float:
    gc.collect()
    began = perf_counter()
    chat = ChatLog(bus, key, chats.clock)
    await chat.refresh()
    pending(chat.state, None)
    conversation(chat.state, chats.AGENT, None)
    taken = 1000 * (perf_counter() - began)
    if chat.state.seq != length:
        raise WrongChatError(f"{chat.state.seq} of {length} events")
    return taken


async def _raw(nc: Client, key: ChatKey, length: int) -> float:
    gc.collect()
    began = perf_counter()
    counted = await floor.direct_get(nc, subjects.EVENTS, subjects.events_of(key))
    taken = 1000 * (perf_counter() - began)
    if counted.messages != length:
        raise WrongChatError(f"{counted.messages} of {length} messages")
    return taken


async def _store(bus: Bus, lengths: list[int]) -> dict[int, ChatKey]:
    """Chats of these lengths, their turns mixed in the stream as those of live chats are."""
    keys = {length: chats.new_chat() for length in lengths}
    facts = {length: chats.sealed(key, chats.story(length)) for length, key in keys.items()}
    reached = dict.fromkeys(lengths, chats.NOWHERE)
    for place in range(0, max(lengths), 10):
        for length in lengths:
            if piece := facts[length][place : place + 10]:
                reached[length] = StreamSeq(await bus.append(piece, after=reached[length]))
    return keys
