"""A long turn: what a tool call costs in a turn of 100, 300 and 1,000 of them, one after the other."""

import gc
import json
import tempfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from time import process_time
from typing import Any

from ag2.config import LLMClient
from ag2.context import ConversationContext
from ag2.events import BaseEvent, ModelMessage, ModelResponse, ToolCallEvent, ToolCallsEvent
from ag2.events import ModelResponse as Answered

from benchmarks.figures import Aim, Figure
from contracts.events.turn import ToolReturned
from infra.servers import NatsServer
from services.orchestrator.agents.models.offline import OfflineConfig
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.testkit import PlayedChat, play

CALLS = (100, 300, 1_000)
REPETITIONS = 3
AIM = Aim(ratio=2)
SECTIONS: dict[str, dict[str, Any]] = {
    "workflow": {
        "workflow_name": "Counter",
        "orchestration_pattern": "DefaultPattern",
        "human_in_the_loop": True,
    },
    "agents": {"agents": {"Clerk": {"system_message": "Count."}}},
    "handoffs": {"handoff_rules": [{"source_agent": "Clerk", "target_agent": "terminate"}]},
    "tools": {"tools": [{"agent": "Clerk", "file": "count.py", "function": "count"}]},
}
TOOL = 'async def count(number: int) -> str:\n    """Count."""\n    return f"counted {number}"\n'


class CountingConfig(OfflineConfig):
    """A model that calls the tool so many times, once in each answer."""

    def __init__(self, calls: int) -> None:
        super().__init__("counting")
        self._calls = calls

    def create(self) -> LLMClient:
        return _CountingClient(self._calls)


class _CountingClient(LLMClient):
    def __init__(self, calls: int) -> None:
        self._calls = calls

    async def __call__(
        self, messages: Sequence[BaseEvent], context: ConversationContext, **_: Any
    ) -> ModelResponse:
        del context
        number = sum(isinstance(one, Answered) for one in messages)
        if number == self._calls:
            return ModelResponse(ModelMessage("That is all."))
        call = ToolCallEvent("count", id=f"c{number}", arguments=json.dumps({"number": number}))
        return ModelResponse(None, tool_calls=ToolCallsEvent([call]))


async def played_turn(folder: Path, calls: int) -> PlayedChat:
    """A chat whose only turn makes so many tool calls."""
    for name, section in SECTIONS.items():
        (folder / f"{name}.json").write_text(json.dumps(section))
    (folder / "count.py").write_text(TOOL)
    config = CountingConfig(calls)
    models = ModelFactory("counting", demo=True, config_for=lambda _, __: config)
    return await play(folder, models=models, message="go", model_calls=calls + 1)


async def measure(_: NatsServer) -> list[Figure]:
    """No server is used."""
    costs: dict[int, list[float]] = {calls: [] for calls in CALLS}
    with tempfile.TemporaryDirectory() as folder:
        for _repetition in range(REPETITIONS):
            for calls, found in costs.items():
                gc.collect()
                begin = process_time()
                chat = await played_turn(Path(folder), calls)
                found.append(1000 * (process_time() - begin) / calls)
                if len(chat.of(ToolReturned)) != calls or chat.ended != "completed":
                    raise ValueError(f"{len(chat.of(ToolReturned))} of {calls} calls")
        peaks = {calls: await _peak(Path(folder), calls) for calls in CALLS}
    base = costs[CALLS[0]]
    return [
        Figure(
            f"tool call in a turn of {calls:,}: CPU",
            "ms",
            found,
            base if calls != CALLS[0] else (),
            AIM if calls != CALLS[0] else None,
            note=f"{peaks[calls] / calls:,.0f} KB of memory a call; floor: in a turn of {CALLS[0]}",
        )
        for calls, found in costs.items()
    ]


async def _peak(folder: Path, calls: int) -> float:
    """The most memory that the turn needs, in KB."""
    tracemalloc.start()
    try:
        await played_turn(folder, calls)
        return tracemalloc.get_traced_memory()[1] / 1024
    finally:
        tracemalloc.stop()
