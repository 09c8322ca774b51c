"""Spans of tool calls, by the GenAI conventions, whoever calls the tool: a model or the runtime."""

import json
from contextlib import AbstractContextManager
from typing import Any

from ag2.events import ToolErrorEvent

from services.chassis.tracing.content import as_json
from services.chassis.tracing.spans import Span, captures_content, span
from services.orchestrator.agents.ag2 import codec
from services.orchestrator.agents.session.recorder import TurnRecorder


def tool_span(
    name: str, call_id: str, recorder: TurnRecorder, arguments: Any
) -> AbstractContextManager[Span]:
    """The span of one call. One that waits for a person ends; after the answer there is another one."""
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.call.id": call_id,
        "gen_ai.tool.type": "function",
        "gen_ai.agent.name": recorder.turn.agent,
        "gen_ai.conversation.id": recorder.key.chat,
    }
    if captures_content():
        given = json.loads(arguments or "{}") if isinstance(arguments, str) else arguments
        attributes["gen_ai.tool.call.arguments"] = as_json(given)
    return span(f"execute_tool {name}", attributes=attributes)


def note_result(current: Span, result: Any) -> None:
    """Whether the tool failed; what it returned only where content is captured."""
    if isinstance(result, ToolErrorEvent):
        current.fail(type(result.error).__qualname__)
    elif captures_content():
        parts = [codec.part_of(part).model_dump(mode="json") for part in result.result.parts]
        current.set({"gen_ai.tool.call.result": as_json(parts)})
