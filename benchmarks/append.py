"""Append: how soon a decision is true, and how many events a second become true in one process."""

import asyncio
from collections.abc import Sequence
from time import perf_counter

from nats.aio.client import Client

from benchmarks import chats, floor, stage
from benchmarks.figures import Aim, Figure, percentile
from contracts.ids import CommandId
from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.runtime.chat_journal import ChatJournal
from services.orchestrator.runtime.chat_log import ChatLog

REPETITIONS = 7
DECISIONS = 120
WRITERS = 32
DECISIONS_OF_A_WRITER = 6
AIM = Aim(ratio=1.5)

OPENING: chats.Group = [chats.STARTED, chats.selected(1)]

DECISIONS_BY_SIZE: dict[int, chats.Group] = {
    1: [chats.returned(1)],
    3: [chats.responded(1), chats.used(1), chats.returned(1)],
}


async def measure(server: NatsServer) -> list[Figure]:
    async with stage.gateway(server) as gateway, stage.plain(server) as nc:
        figures: list[Figure] = []
        for size, decision in DECISIONS_BY_SIZE.items():
            name = f"append {size} event{'s' * (size > 1)}"
            figures += await _one_after_the_other(name, gateway, nc, decision)
            figures.append(await _many_at_once(name, gateway, nc, decision))
        return figures


async def _one_after_the_other(
    name: str, gateway: JetStreamGateway, nc: Client, decision: chats.Group
) -> list[Figure]:
    floors: list[list[float]] = []
    ours: list[list[float]] = []
    for _ in range(REPETITIONS):
        floors.append(await (await _Raw.on(gateway, nc, decision, DECISIONS)).run())
        ours.append(await (await _Ours.on(gateway, decision, DECISIONS)).run())
    return [
        Figure(
            f"{name}, ack p{percent}",
            "ms",
            [1000 * percentile(times, percent) for times in ours],
            [1000 * percentile(times, percent) for times in floors],
            AIM,
        )
        for percent in (50, 99)
    ]


async def _many_at_once(
    name: str, gateway: JetStreamGateway, nc: Client, decision: chats.Group
) -> Figure:
    floors: list[float] = []
    ours: list[float] = []
    each = DECISIONS_OF_A_WRITER
    for _ in range(REPETITIONS):
        raw = [await _Raw.on(gateway, nc, decision, each) for _ in range(WRITERS)]
        floors.append(await _rate(raw, len(decision)))
        own = [await _Ours.on(gateway, decision, each) for _ in range(WRITERS)]
        ours.append(await _rate(own, len(decision)))
    many = f"{name}, {WRITERS} chats at once"
    return Figure(many, "events/s", ours, floors, AIM, more_is_better=True)


async def _rate(writers: "Sequence[_Raw] | Sequence[_Ours]", size: int) -> float:
    began = perf_counter()
    await asyncio.gather(*(writer.run() for writer in writers))
    return WRITERS * DECISIONS_OF_A_WRITER * size / (perf_counter() - began)


class _Ours:
    """A chat as the orchestrator appends to it: decide, seal, encode, publish, fold."""

    def __init__(self, journal: ChatJournal, decision: chats.Group, times: int) -> None:
        self._journal = journal
        self._decision = decision
        self._times = times

    @classmethod
    async def on(cls, gateway: JetStreamGateway, decision: chats.Group, times: int) -> "_Ours":
        key, command = chats.new_chat(), CommandId("start")
        chat = ChatLog(gateway, key, chats.DELIVERY, command, chats.clock)
        await chat.append(lambda _: OPENING, workflow=chats.WORKFLOW)
        return cls(ChatJournal(gateway, chat, chats.clock), decision, times)

    async def run(self) -> list[float]:
        """Seconds from decision to acknowledgement, each."""
        taken: list[float] = []
        for _ in range(self._times):
            began = perf_counter()
            await self._journal.record(*self._decision)
            taken.append(perf_counter() - began)
        return taken


class _Raw:
    """The same chat's messages, made beforehand."""

    def __init__(self, nc: Client, messages: list[floor.Ready], position: int) -> None:
        self._nc = nc
        self._messages = messages
        self._position = position

    @classmethod
    async def on(
        cls, gateway: JetStreamGateway, nc: Client, decision: chats.Group, times: int
    ) -> "_Raw":
        key = chats.new_chat()
        opening, *decisions = chats.sealed(key, [OPENING, *[decision] * times])
        position = await chats.store(gateway, [opening])
        return cls(nc, [floor.ready(one) for one in decisions], position)

    async def run(self) -> list[float]:
        taken: list[float] = []
        for message in self._messages:
            began = perf_counter()
            self._position = await floor.publish(self._nc, message, self._position)
            taken.append(perf_counter() - began)
        return taken
