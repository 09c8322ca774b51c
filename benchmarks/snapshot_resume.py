"""Resume from a snapshot: from nothing in memory to knowing what a chat waits for, beside the whole log."""

import gc
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, islice
from time import perf_counter

from benchmarks import chats, stage
from benchmarks.figures import Aim, Figure
from contracts.events import Event
from contracts.events.chat import HistoryCompacted
from contracts.ids import ChatKey, CommandId
from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.domain.agent_conversation import conversation_for
from services.orchestrator.domain.state import pending
from services.orchestrator.runtime.chat_log import ChatLog
from services.orchestrator.runtime.chat_snapshots import EVERY_EVENTS, ChatSnapshots

LENGTHS = (100, 1_000, 10_000, 100_000)
REPETITIONS = 15
EVENTS_PER_MESSAGE = 100
TURNS_PER_SUMMARY = 20
"""A long chat does not fit a model: it is summarised again and again."""
TAIL = EVERY_EVENTS // 2
"""Events after the snapshot: on average."""
AIM = Aim(ratio=1.5)


async def measure(server: NatsServer) -> list[Figure]:
    """The time of a resume by the length of the chat, with a snapshot and without."""
    figures: list[Figure] = []
    async with stage.gateway(server) as gateway:
        snapshots = ChatSnapshots(gateway)
        base: list[float] = []
        for length in LENGTHS:
            key, whole = await _stored(gateway, snapshots, length)
            taken = [await _resumed(gateway, key, length, snapshots) for _ in range(REPETITIONS)]
            if length == 1_000:
                base = taken
            note = f"all events read: {whole:,.0f} ms"
            flat = length > 1_000
            figures.append(
                Figure(
                    f"resume {length:,} events, snapshot",
                    "ms",
                    taken,
                    base if flat else (),
                    AIM if flat else None,
                    note=f"{note}; floor: at 1,000" if flat else note,
                )
            )
    return figures


async def _stored(
    gateway: JetStreamGateway, snapshots: ChatSnapshots, length: int
) -> tuple[ChatKey, float]:
    """A chat of so many events, with the snapshot that was written before its last TAIL events.

    With it, how many milliseconds it took to read and fold all events up to the snapshot.
    """
    key = chats.new_chat()
    decisions = chats.sealed(key, _grouped(_story(length)))
    last = [one for one in decisions if one.head.seq <= max(length - TAIL, 0)]
    after = await chats.store(gateway, last)
    log = ChatLog(gateway, key, chats.DELIVERY, CommandId("keep"), chats.clock)
    began = perf_counter()
    await log.refresh()
    whole = 1000 * (perf_counter() - began)
    await snapshots.keep(key, log.folded)
    await chats.store(gateway, decisions[len(last) :], after=after)
    return key, whole


async def _resumed(
    gateway: JetStreamGateway, key: ChatKey, length: int, snapshots: ChatSnapshots | None
) -> float:
    gc.collect()
    began = perf_counter()
    log = ChatLog(
        gateway, key, chats.DELIVERY, CommandId("resume"), chats.clock, snapshots=snapshots
    )
    await log.refresh()
    pending(log.state)
    conversation_for(log.state, chats.AGENT, None)
    taken = 1000 * (perf_counter() - began)
    if log.state.seq != length:
        raise ValueError(f"{log.state.seq} of {length} events")
    return taken


def _story(length: int) -> Iterator[Event]:
    turns = (_turn(number) for number in count(1))
    return islice(chain([chats.STARTED], chain.from_iterable(turns)), length)


def _turn(number: int) -> Iterable[Event]:
    events = [event for group in chats.turn(number) for event in group]
    if number % TURNS_PER_SUMMARY:
        return events
    summary = HistoryCompacted(
        through_turn=number - 1, summary="They planned. " * 20, tokens_before=9
    )
    return [*events[:2], summary, *events[2:]]


def _grouped(events: Iterable[Event]) -> Iterator[Sequence[Event]]:
    rest = iter(events)
    while group := list(islice(rest, EVENTS_PER_MESSAGE)):
        yield group
