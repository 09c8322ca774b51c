"""Start of a chat: until it is stored, one after the other and many at the same time."""

from benchmarks.figures import percentile
from benchmarks.peers.comparison import Comparison, PeerAim
from benchmarks.peers.lineup import AGNO, Lineup, Repetitions

REPETITIONS = 3
STARTS = {1: 20, 64: 2}
"""How often so many chats are started at the same time, in a repetition."""
NOTE = "ours: HTTP until the answer; a peer: a function of its library"


async def measure(lineup: Lineup) -> list[Comparison]:
    taken = {count: Repetitions() for count in STARTS}
    for contender in lineup.storing:
        await contender.start(max(STARTS))
        await contender.settle()
    for _ in range(REPETITIONS):
        for count, times in STARTS.items():
            for contender in lineup.storing:
                each = [seconds for _ in range(times) for seconds in await contender.start(count)]
                await contender.settle()
                taken[count][contender.name].append(1000 * percentile(each, 50))
    return [
        Comparison(
            f"start of a chat, {count} at once, p50", "ms", values, PeerAim(1.0, AGNO), note=NOTE
        )
        for count, values in taken.items()
    ]
