"""At rest: memory of all processes, of a chat whose user is away, and of a user who only watches."""

from benchmarks.crowd import crowd, open_files, replayed
from benchmarks.peers import processes
from benchmarks.peers.comparison import OURS, Comparison, PeerAim
from benchmarks.peers.lineup import Lineup, Repetitions

MEGABYTE = 1024**2
KILOBYTE = 1024
FIRST_PARKED = 300
"""Chats before anything is weighed: what is loaded or grown once is no chat's."""
PARKED = 1_000
SOCKETS = 500
FIRST_SOCKETS = 50


async def measure(lineup: Lineup) -> list[Comparison]:
    memory = Repetitions()
    for contender in lineup.contenders:
        memory[contender.name].append(contender.memory() / MEGABYTE)
    return [
        Comparison(
            "memory at rest, all processes",
            "MB",
            memory,
            PeerAim(limit=350.0),
            note="after some turns; a page that several processes share counts once",
        ),
        await _parked(lineup),
        await _watched(lineup),
    ]


async def _parked(lineup: Lineup) -> Comparison:
    ours = lineup.ours
    await ours.start_parked(FIRST_PARKED)
    await ours.settle()
    before = ours.services_memory()
    await ours.start_parked(PARKED)
    await ours.settle()
    each = (ours.services_memory() - before) / PARKED / KILOBYTE
    note = f"memory of the four services, {PARKED:,} chats that wait for a first message"
    return Comparison("parked chat", "KB", {OURS: [each]}, PeerAim(limit=5.0), note=note)


async def _watched(lineup: Lineup) -> Comparison:
    """Sockets of chats that wait, a chat each, in the process of the transport."""
    ours = lineup.ours
    addresses = [ours.address_of(chat) for chat in await ours.start_parked(SOCKETS)]
    await ours.settle()
    pid = ours.product.processes()["transport"]
    with open_files(SOCKETS):
        async with crowd(addresses[:FIRST_SOCKETS], replayed):
            pass
        before = processes.memory_bytes([pid])
        async with crowd(addresses, replayed):
            each = (processes.memory_bytes([pid]) - before) / SOCKETS / KILOBYTE
    note = f"memory of the transport, {SOCKETS} sockets with a chat each"
    return Comparison("idle socket", "KB", {OURS: [each]}, PeerAim(limit=20.0), note=note)
