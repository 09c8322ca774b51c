"""Recovery: the process of a running turn is killed; how soon its user sees the next text."""

import asyncio
import time

from benchmarks.peers.comparison import OURS, Comparison, PeerAim
from benchmarks.peers.library import Library
from benchmarks.peers.lineup import DBOS, Lineup, Repetitions
from benchmarks.peers.ours import Ours

REPETITIONS = 2
PACE_MILLISECONDS = 500.0
"""So slow that the turn outlasts the start of a standby."""
LOST_SECONDS = 60.0


async def measure(lineup: Lineup) -> list[Comparison]:
    restarted, standby = Repetitions(), Repetitions()
    dbos = lineup.peer(DBOS)
    async with lineup.model.paced(PACE_MILLISECONDS):
        for _ in range(REPETITIONS):
            restarted[OURS].append(await _restarted(lineup.ours))
            standby[OURS].append(await _with_standby(lineup.ours))
            if dbos is not None:
                restarted[DBOS].append(await _recovered(dbos))
    return [
        Comparison(
            "kill -9 to the next token, supervised restart",
            "s",
            restarted,
            PeerAim(limit=2.0),
            note="LangGraph and Agno do not resume by themselves",
        ),
        Comparison("kill -9 to the next token, with a standby", "s", standby, PeerAim(limit=1.0)),
    ]


async def _restarted(ours: Ours) -> float:
    """Seconds; everything runs again when it returns."""
    (chat,) = await ours.chats(1)
    async with asyncio.timeout(LOST_SECONDS):
        taken = await _killed(ours, chat)
    await asyncio.to_thread(ours.product.wait_until_ready)
    await ours.leave([chat])
    await ours.settle()
    return taken


async def _with_standby(ours: Ours) -> float:
    """The same where another orchestrator runs, started during the turn so that it is not its own."""
    (chat,) = await ours.chats(1)
    viewer = ours.viewer(chat)
    async with asyncio.timeout(LOST_SECONDS):
        await viewer.send()
        await viewer.next_text()
        async with ours.product.standby():
            killed_at = time.monotonic()
            ours.product.kill_orchestrator()
            taken = await viewer.next_text(sent_after=killed_at) - killed_at
            await viewer.until_own_turn()
            await asyncio.to_thread(ours.product.wait_until_ready)
            await ours.settle()
    await ours.leave([chat])
    return taken


async def _killed(ours: Ours, chat: str) -> float:
    viewer = ours.viewer(chat)
    await viewer.send()
    await viewer.next_text()
    killed_at = time.monotonic()
    ours.product.kill_orchestrator()
    taken = await viewer.next_text(sent_after=killed_at) - killed_at
    await viewer.until_own_turn()
    return taken


async def _recovered(peer: Library) -> float:
    (chat,) = await peer.chats(1)
    async with asyncio.timeout(LOST_SECONDS):
        turn = asyncio.create_task(peer.ask(do="turns", chats=[chat], turns=1))
        await asyncio.sleep(4 * PACE_MILLISECONDS / 1000)
        killed_at = await peer.restart_after_kill()
        await asyncio.gather(turn, return_exceptions=True)
        while (heard := (await peer.ask(do="heard"))["first"]) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return float(heard) - killed_at
