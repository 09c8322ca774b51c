"""Record chats of the shipped workflows for the replay tests: python -m tests.orchestrator.recording

A recorded history is never edited: what was stored once must be read for ever. Record a new one
beside it when there is something new to show.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from contracts.codec import Fact
from contracts.commands import Command
from infra.servers import NatsServer
from services.chassis.bus import Bus
from services.orchestrator.agents.offer import build_performer
from services.orchestrator.projection import messages
from services.orchestrator.runner import Runner
from services.orchestrator.state import ChatState, RunTurn, evolve, pending, replay
from tests.orchestrator.world import (
    Person,
    bus_to,
    history,
    last_question,
    named,
    runner,
    shipped,
    tell,
)

FOLDER = Path(__file__).parent / "histories"


def known(facts: list[Fact]) -> dict[str, Any]:
    """What this release makes of a history: at its end, and what was pending after each event."""
    open_turns: list[int | None] = []
    state = ChatState()
    for fact in facts:
        state = evolve(state, fact)
        effect = pending(state)
        open_turns.append(effect.turn if isinstance(effect, RunTurn) else None)
    assert state == replay(facts)
    return {
        "messages": messages(state),
        "variables": dict(state.variables),
        "ended": state.ended,
        "turns": state.turns,
        "agent_turns": state.agent_turns,
        "pending": open_turns,
    }


async def _generator(bus: Bus, told: Runner) -> list[Fact]:
    ann = named("recorded generator", "Generator")
    await tell(told, ann.starts())
    for answer in ("A garden planner, “für Äpfel”", "Approve"):
        asked = last_question(await history(bus, ann.key))
        await tell(told, ann.answers(asked, answer))
    return await history(bus, ann.key)


async def _hello(bus: Bus, told: Runner) -> list[Fact]:
    ann: Person = named("recorded hello", "HelloWorld")
    orders: list[Command] = [ann.starts(), ann.says("Hi"), ann.says("And again"), ann.cancels()]
    for order in orders:
        await tell(told, order)
    return await history(bus, ann.key)


async def record(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as data:
        server = NatsServer(Path(data))
        server.start()
        try:
            async with bus_to(server.url) as bus:
                offer = shipped()
                told = runner(bus, build_performer(offer, 25), workflows=offer.workflows)
                for name, play in (("generator", _generator), ("hello", _hello)):
                    _save(folder / f"{name}.json", await play(bus, told))
        finally:
            server.stop()


def _save(file: Path, facts: list[Fact]) -> None:
    told = {
        "known": known(facts),
        "envelopes": [fact.envelope.model_dump(mode="json", exclude_none=True) for fact in facts],
    }
    file.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    asyncio.run(record(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
