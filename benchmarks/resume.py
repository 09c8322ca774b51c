"""Resume: from nothing in memory to knowing what a chat waits for, by its length."""

import gc
from dataclasses import dataclass
from time import perf_counter

from nats.aio.client import Client

from benchmarks import chats, floor, stage
from benchmarks.figures import Aim, Figure
from contracts import subjects
from contracts.ids import ChatKey, CommandId
from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.domain.agent_conversation import conversation_for
from services.orchestrator.domain.state import pending
from services.orchestrator.runtime.chat_log import ChatLog

REPETITIONS = {100: 25, 1_000: 11, 10_000: 3}
MIXED = 7
"""Messages of a chat in a row: a turn."""
AIMS = {1_000: Aim(ratio=3, limit=60)}


class WrongChatError(Exception):
    """What was read is not what was written: the figure would mean nothing."""


async def measure(server: NatsServer) -> list[Figure]:
    async with stage.gateway(server) as gateway, stage.plain(server) as nc:
        stored = await _store(gateway, list(REPETITIONS))
        return [await _read(gateway, nc, chat) for chat in stored]


@dataclass(frozen=True, slots=True)
class Stored:
    """A chat in the log: how many events, in how many messages."""

    key: ChatKey
    length: int
    messages: int


async def _read(gateway: JetStreamGateway, nc: Client, chat: Stored) -> Figure:
    floors: list[float] = []
    ours: list[float] = []
    for _ in range(REPETITIONS[chat.length]):
        floors.append(await _raw(nc, chat.key, chat.messages))
        ours.append(await _ours(gateway, chat.key, chat.length))
    name, note = f"resume {chat.length:,} events", f"in {chat.messages:,} messages"
    return Figure(name, "ms", ours, floors, AIMS.get(chat.length), note=note)


async def _ours(gateway: JetStreamGateway, key: ChatKey, length: int) -> float:
    gc.collect()
    began = perf_counter()
    chat = ChatLog(gateway, key, chats.DELIVERY, CommandId("resume"), chats.clock)
    await chat.refresh()
    pending(chat.state)
    conversation_for(chat.state, chats.AGENT, None)
    taken = 1000 * (perf_counter() - began)
    if chat.state.seq != length:
        raise WrongChatError(f"{chat.state.seq} of {length} events")
    return taken


async def _raw(nc: Client, key: ChatKey, messages: int) -> float:
    gc.collect()
    began = perf_counter()
    counted = await floor.direct_get(nc, subjects.EVENTS, subjects.events_of(key))
    taken = 1000 * (perf_counter() - began)
    if counted.messages != messages:
        raise WrongChatError(f"{counted.messages} of {messages} messages")
    return taken


async def _store(gateway: JetStreamGateway, lengths: list[int]) -> list[Stored]:
    """Chats of these lengths, their turns mixed in the stream as those of live chats are."""
    written = {length: chats.sealed(chats.new_chat(), chats.story(length)) for length in lengths}
    reached = dict.fromkeys(lengths, chats.NOWHERE)
    for place in range(0, max(lengths), MIXED):
        for length, decisions in written.items():
            piece = decisions[place : place + MIXED]
            reached[length] = await chats.store(gateway, piece, after=reached[length])
    return [Stored(ds[0].key, length, len(ds)) for length, ds in written.items()]
