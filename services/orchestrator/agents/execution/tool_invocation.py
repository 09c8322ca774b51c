"""Tools that the runtime itself calls: before and after turns, and with an agent's output."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from ag2 import ToolResult
from ag2.events import ToolErrorEvent, ToolResultEvent

from contracts.events.turn import RUNTIME
from services.orchestrator.agents.ag2 import codec
from services.orchestrator.agents.execution.outcomes import suspended_outcome
from services.orchestrator.agents.execution.tool_spans import note_result, tool_span
from services.orchestrator.agents.session.recorder import TurnRecorder
from services.orchestrator.agents.tools.function_tools import Function
from services.orchestrator.domain.turn_steps import InvokeTool, Suspended
from services.orchestrator.workflows.spec import Tool

log = logging.getLogger(__name__)


async def invoke_tool(
    step: InvokeTool, functions: Mapping[Tool, Function], recorder: TurnRecorder
) -> Suspended | None:
    """Call a tool and record its result; an exception of the tool is a result, too."""
    call, turn = step.call, recorder.turn
    if turn.agent != RUNTIME and call not in turn.invocations:
        await recorder.record(call)
    try:
        async with recorder.open_call(call.tool_call_id, call.occasion):
            with tool_span(call.name, call.tool_call_id, recorder, call.arguments) as span:
                event = await _result_event(step, functions[step.tool], recorder)
                note_result(span, event)
    except asyncio.CancelledError as cancelled:  # of any kind: threads lose the subclass
        return suspended_outcome(recorder.journal, cancelled)
    recorder.journal.raise_error()
    returned, values = codec.returned_of(
        event, turn=call.turn, call=max(recorder.call, 0), agent=call.agent
    )
    await recorder.record_result(returned.model_copy(update={"occasion": call.occasion}), values)
    return None


async def _result_event(
    step: InvokeTool, function: Function, recorder: TurnRecorder
) -> ToolResultEvent:
    call = step.call
    fields: dict[str, Any] = {"parent_id": call.tool_call_id, "name": call.name}
    try:
        value = await function.call(
            recorder, call.tool_call_id, function.accepted_arguments(call.arguments)
        )
        return ToolResultEvent(**fields, result=ToolResult.ensure_result(value))
    except Exception as error:
        recorder.journal.raise_error()
        log.warning("tool failed", exc_info=error, extra={"tool": call.name})
        return ToolErrorEvent(**fields, error=error, result=ToolResult(str(error)))
