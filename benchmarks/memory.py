"""Memory: what the transport still holds after waves of viewers, beside what it held after the first."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection

from benchmarks import chats, stage
from benchmarks.crowd import (
    Ready,
    address_of,
    crowd,
    memory,
    open_files,
    peak_memory,
    replayed,
)
from benchmarks.figures import Aim, Figure
from contracts.ids import ChatKey
from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.memory_trim import POLL_SECONDS

VIEWERS = 500
CHATS = 50
WAVES = 5
WARM_UP = 50
"""Sockets that come and go before anything is weighed: what is loaded once is nobody's."""
IDLE_SECONDS = 3 * POLL_SECONDS
MEGABYTE = 1024**2
COMES_BACK = Aim(ratio=1.15)


@dataclass(frozen=True, slots=True)
class Wave:
    """What the viewers of a wave do: `ready` ends when one of them has seen enough."""

    name: str
    ready: Ready
    opening: int
    events: int
    """Of each chat."""


async def _gone(socket: ClientConnection) -> None:
    """Leave without a word in the middle of the history."""
    await socket.recv(decode=False)
    socket.transport.abort()


WAVE_KINDS = [
    Wave("who read all", replayed, opening=16, events=200),
    Wave("who leave within long histories", _gone, opening=64, events=1_000),
]


async def measure(server: NatsServer) -> list[Figure]:
    with open_files(VIEWERS):
        async with stage.gateway(server) as gateway:
            return [
                figure for wave in WAVE_KINDS for figure in await _weighed(server, gateway, wave)
            ]


async def _weighed(server: NatsServer, gateway: JetStreamGateway, wave: Wave) -> list[Figure]:
    keys = [await _stored(gateway, wave.events) for _ in range(CHATS)]
    async with stage.process("transport", server) as transport:
        addresses = [address_of(transport.port, key) for key in keys] * (VIEWERS // CHATS)
        await _come_and_go(addresses[:WARM_UP], Wave("", replayed, 1, 0))
        rest = memory(transport.pid)
        after: list[int] = []
        for _ in range(WAVES):
            await _come_and_go(addresses, wave)
            after.append(memory(transport.pid))
        return _figures(wave, rest, peak_memory(transport.pid), after)


async def _stored(gateway: JetStreamGateway, events: int) -> ChatKey:
    key = chats.new_chat()
    await chats.store(gateway, chats.sealed(key, chats.story(events)))
    return key


async def _come_and_go(addresses: Sequence[str], wave: Wave) -> None:
    async with crowd(addresses, wave.ready, wave.opening):
        pass
    await asyncio.sleep(IDLE_SECONDS)


def _figures(wave: Wave, rest: int, peak: int, after: Sequence[int]) -> list[Figure]:
    title = f"waves of {VIEWERS} viewers {wave.name}"
    returned = 100 * (peak - after[-1]) / max(peak - rest, 1)
    events = f"{CHATS} chats of {wave.events:,} events"
    first, last = after[0] / MEGABYTE, after[-1] / MEGABYTE
    return [
        Figure(f"{title}: memory at rest before", "MB", [rest / MEGABYTE], note=events),
        Figure(f"{title}: at the peak", "MB", [peak / MEGABYTE]),
        Figure(
            f"{title}: after {WAVES}",
            "MB",
            [last],
            [first],
            COMES_BACK,
            note="floor: after the first",
        ),
        Figure(f"{title}: came back", "%", [returned], note="of what the peak took beyond rest"),
    ]
