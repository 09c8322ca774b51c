"""The whole pipeline under load: events that are stored, projected and delivered in a second."""

import time
from statistics import median

from benchmarks.peers.comparison import OURS, Comparison, PeerAim
from benchmarks.peers.lineup import Lineup

REPETITIONS = 3
CHATS = 64
TURNS = 10
"""Enough that the wait for the last batch of persistence is a small part."""
BEFORE = 360.0
"""Events/s when the aim was set."""
AIM = 5.0


async def measure(lineup: Lineup) -> list[Comparison]:
    """Delivered when the users have them, projected when no consumer of the log has any left."""
    rates: list[float] = []
    each: list[float] = []
    for _ in range(REPETITIONS):
        chats = await lineup.ours.chats(CHATS)
        await lineup.ours.settle()
        before = sum(lineup.ours.cpu_seconds().values())
        began = time.monotonic()
        turns, _seconds = await lineup.ours.talk(chats, TURNS)
        await lineup.ours.settle()
        events = sum(turn.events for turn in turns)
        rates.append(events / (time.monotonic() - began))
        each.append((sum(lineup.ours.cpu_seconds().values()) - before) / events)
        await lineup.ours.leave(chats)
    return [
        Comparison(
            f"pipeline, {CHATS} chats",
            "events/s",
            {OURS: rates},
            PeerAim(limit=AIM * BEFORE),
            more_is_better=True,
            note=f"projected and delivered; {1000 * median(each):.1f} ms of CPU for an event",
        )
    ]
