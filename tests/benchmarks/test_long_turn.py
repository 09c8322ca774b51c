"""A turn with very many tool calls ends, and each call costs what the first one did."""

from pathlib import Path

import pytest
from ag2.events import BaseEvent

from benchmarks.long_turn import played_turn
from contracts.events.turn import ModelRequested, ToolReturned
from services.orchestrator.agents.ag2 import codec

CALLS = 1_000


async def test_a_turn_of_a_thousand_tool_calls_ends(tmp_path: Path) -> None:
    chat = await played_turn(tmp_path, CALLS)
    assert chat.ended == "completed"
    results = chat.of(ToolReturned)
    assert [one.status for one in results] == ["ok"] * CALLS
    assert len({one.digest for one in chat.of(ModelRequested)}) == CALLS + 1


async def test_each_event_of_a_turn_is_hashed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[BaseEvent] = []
    content_json = codec.content_json

    def counted(event: BaseEvent) -> bytes:
        hashed.append(event)
        return content_json(event)

    monkeypatch.setattr(codec, "content_json", counted)
    await played_turn(tmp_path, 40)
    assert len(hashed) <= 2 * 40 + 10  # a response and its result for each call
