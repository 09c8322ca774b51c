"""The tools of MCP servers as a recorded chat has called them: no server is asked."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ag2 import Context, tool
from ag2.events import ToolCallEvent, ToolErrorEvent, ToolResultEvent
from ag2.middleware import ToolExecution, ToolResultType
from ag2.tools.types import Tool

from contracts.events.turn import ToolDispatched, ToolReturned
from services.orchestrator.agents.replay.recorded_calls import CallKey
from services.orchestrator.agents.replay.recorded_chat import RecordedChat
from services.orchestrator.agents.replay.recorded_code import (
    RecordedFailureError,
    named_error,
    tool_result,
)
from services.orchestrator.agents.replay.recorded_model import ChatSource
from services.orchestrator.agents.session.human_requests import TO_USER
from services.orchestrator.agents.session.recorder import RECORDER, TurnRecorder
from services.orchestrator.agents.tools.guarded_calls import (
    GuardedTool,
    OutcomeUnknownError,
    ResolvedResult,
)
from services.orchestrator.agents.tools.limits import TimeBudget
from services.orchestrator.agents.tools.mcp_tools import ServerToolkit
from services.orchestrator.workflows.effect_policy import McpHints, mcp_policy


class RecordedToolkit(ServerToolkit):
    """Offers what was called and is no tool of the workflow itself.

    Which of several servers a tool was of is not in the log: the first of an agent offers all.
    """

    def __init__(self, source: ChatSource, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._source = source

    async def _available_tools(self, context: Context) -> Sequence[Tool]:
        del context
        effects = {} if self._earlier else dict(self._called())
        hints = McpHints(read_only=False, idempotent=False)
        server = self._server
        routing = TO_USER if server.approval is None else server.approval.routing
        self._guarded = {
            name: GuardedTool(
                name,
                mcp_policy(replace(server.declared_effect, effect=effect), hints),
                self._limiter,
                self._check,
                routing,
            )
            for name, effect in effects.items()
        }
        return [self._tool(name) for name in effects]

    def _called(self) -> Iterator[tuple[str, Any]]:
        for event in self._source.get().events():
            if isinstance(event, ToolDispatched) and event.name not in self._other_names:
                yield event.name, event.effect

    def _tool(self, name: str) -> Tool:
        async def recorded() -> None:
            """Never run: the middleware answers."""

        built: Tool = tool(
            recorded,
            name=name,
            description=name,
            schema={"type": "object", "properties": {}},
            middleware=self._call_middleware,
        )
        return built

    async def _call(
        self, call_next: ToolExecution, event: ToolCallEvent, context: Context
    ) -> ToolResultType:
        del call_next
        recorder: TurnRecorder = context.dependencies[RECORDER]
        chat, call = self._source.get(), CallKey(recorder.turn.number, event.id)
        try:
            guarded = self._guarded[event.name]
            done = await guarded.call(recorder, event.id, partial(_recorded, chat, call))
        except Exception as error:  # noqa: BLE001  the model is told of every error
            return ToolErrorEvent.from_call(event, error)
        value = done.value if isinstance(done, ResolvedResult) else done
        return ToolResultEvent.from_call(event, result=value)


async def _recorded(chat: RecordedChat, call: CallKey, _: TimeBudget) -> Any:
    """What the server answered; raises the error of a call that failed."""
    place, fails = await chat.tool_step(call, 0)
    event = chat.fact(place).event
    if fails:
        failed = RecordedFailureError("the recorded attempt failed")
        if isinstance(event, ToolDispatched) and event.reason == "retry":
            raise failed
        raise OutcomeUnknownError("ended without an answer of the server", failed)
    assert isinstance(event, ToolReturned)  # noqa: S101  a server's tool does nothing else
    if event.resolved_by is not None:
        failed = RecordedFailureError("the recorded attempt failed")
        raise OutcomeUnknownError("ended without an answer of the server", failed)
    if event.status == "error":
        raise named_error(event.error or "")
    return tool_result(event, chat.values)
