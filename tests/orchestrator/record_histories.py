"""Record chats of the shipped workflows for the replay tests: python -m tests.orchestrator.record_histories

A recorded history is never edited: what was stored once must stay readable. Record a new one beside
it for a new feature.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from contracts.codec import Fact
from contracts.commands import Command
from contracts.transcript import transcript
from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.domain.evolution import evolve, replay
from services.orchestrator.domain.state import ChatState, RunTurn, pending
from services.orchestrator.runtime.runner import Runner
from tests.gateway import connected_gateway
from tests.orchestrator.chat_harness import (
    ChatUser,
    deliver,
    history,
    last_question,
    runner,
    shipped_catalogue,
    user_with_chat,
)

FOLDER = Path(__file__).parent / "histories"


def known(facts: list[Fact]) -> dict[str, Any]:
    """The state that this release folds from a history, and what was pending after each event."""
    open_turns: list[int | None] = []
    state = ChatState()
    for fact in facts:
        state = evolve(state, fact)
        effect = pending(state)
        open_turns.append(effect.turn if isinstance(effect, RunTurn) else None)
    assert state == replay(facts)
    return {
        "messages": [one.to_ag2() for one in transcript(fact.event for fact in facts)],
        "variables": dict(state.variables),
        "ended": state.ended,
        "turns": state.turns,
        "agent_turns": state.agent_turns,
        "pending": open_turns,
    }


async def _generator(gateway: JetStreamGateway, on: Runner) -> list[Fact]:
    ann = user_with_chat("recorded generator", "Generator")
    await deliver(on, ann.start_chat())
    for answer in ("A garden planner, “für Äpfel”", "Approve"):
        question = last_question(await history(gateway, ann.key))
        await deliver(on, ann.answer_question(question, answer))
    return await history(gateway, ann.key)


async def _hello(gateway: JetStreamGateway, on: Runner) -> list[Fact]:
    ann: ChatUser = user_with_chat("recorded hello", "HelloWorld")
    commands: list[Command] = [
        ann.start_chat(),
        ann.send_message("Hi"),
        ann.send_message("And again"),
        ann.cancel_chat(),
    ]
    for command in commands:
        await deliver(on, command)
    return await history(gateway, ann.key)


async def record(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as data:
        server = NatsServer(Path(data))
        server.start()
        try:
            async with connected_gateway(server.url) as gateway:
                catalogue = shipped_catalogue()
                on = runner(gateway, AgentExecutor(catalogue, 25), workflows=catalogue.workflows)
                for name, record_chat in (("generator", _generator), ("hello", _hello)):
                    _save(folder / f"{name}.json", await record_chat(gateway, on))
        finally:
            server.stop()


def _save(file: Path, facts: list[Fact]) -> None:
    content = {
        "known": known(facts),
        "envelopes": [fact.envelope.model_dump(mode="json", exclude_none=True) for fact in facts],
    }
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    asyncio.run(record(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
