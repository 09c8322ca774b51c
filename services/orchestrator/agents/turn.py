"""Run an agent's turn on AG2, from wherever its log ends to where it ends or waits."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ag2 import Agent
from ag2.context import ConversationContext
from ag2.events import BaseEvent, ModelRequest, ModelResponse, ToolCallEvent, ToolErrorEvent
from ag2.middleware import BaseMiddleware, LLMCall, Middleware, ToolExecution, ToolResultType

from contracts.events.turn import ModelRequested
from contracts.ids import AgentName, ChatKey
from services.orchestrator.agents import codec
from services.orchestrator.agents.account import ACCOUNT
from services.orchestrator.agents.faults import failure
from services.orchestrator.agents.scope import Journal, Scope
from services.orchestrator.agents.stream import DurableStream
from services.orchestrator.agents.tools import HANDOFF, SCOPE
from services.orchestrator.decisions import Broke, Outcome, Spoke, Waits
from services.orchestrator.projection import Passage, Returned, recorded
from services.orchestrator.state import Turn

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Task:
    """A turn to run: what was said before it (ending in a Heard) and what it has done so far."""

    key: ChatKey
    turn: Turn
    before: Sequence[Passage]
    prompt: str
    variables: dict[str, Any]


class CallLimitError(Exception):
    """The model wanted more calls in one turn than it may make."""


async def run_turn(agent: Agent, task: Task, journal: Journal, *, call_limit: int) -> Outcome:
    """Let the agent go on until it has spoken, waits for a person, or cannot.

    Raises what the journal raises, and CancelledError where the turn was cancelled from outside.
    """
    if (done := _finished(task.turn)) is not None:
        return done
    # A copy to the bottom: what a tool changes in place must not reach the state, or another chat.
    scope = Scope(task.key, task.turn, codec.jsonable(task.variables), journal)
    try:
        response = await _resume(agent, task, scope, call_limit)
    except asyncio.CancelledError:
        if not scope.suspended or _cancelled_from_outside():
            raise
        scope.check()
        return Waits()
    except CallLimitError as limit:
        return Broke("CALL_LIMIT", str(limit))
    except Exception as trouble:
        scope.check()
        log.warning("a turn failed", exc_info=trouble, extra={"agent": task.turn.agent})
        return Broke(*failure(trouble))
    scope.check()
    return _spoke(response, scope)


def _finished(turn: Turn) -> Spoke | None:
    """What the turn said, where only its end is missing from the log."""
    last = turn.responses[-1] if turn.responses else None
    if last is None or last.tool_calls:
        return None
    return Spoke(last.text or "", None)


def _spoke(response: ModelResponse, scope: Scope) -> Spoke:
    if not response.response_force:
        return Spoke(response.content or "", None)
    target = response.metadata.get(HANDOFF)
    said = scope.last_text or response.content or ""
    return Spoke(said, None if target is None else AgentName(target))


async def _resume(agent: Agent, task: Task, scope: Scope, call_limit: int) -> ModelResponse:
    """Enter AG2's loop at the last thing that drives it.

    A turn that has responded goes on from its newest tool calls, finished ones answered from the
    log; one that has not, from its request. So the next model request is the one that an
    uninterrupted run would have made.
    """
    asked = next((s for s in task.turn.steps if isinstance(s, ModelRequested)), None)
    *history, heard = codec.events_of(task.before)
    request = heard if asked is None else ModelRequest([codec.input_of(p) for p in asked.parts])
    trigger: BaseEvent = request
    if task.turn.responses:
        said = recorded(task.turn)
        if isinstance(said[-1], Returned):
            said.pop()
        history += [request, *codec.events_of(said)]
        trigger = codec.calls_of(task.turn.responses[-1])
    reply = await agent.resume(
        *history,
        trigger,
        stream=DurableStream(scope.keep),
        prompt=[task.prompt] if asked is None else asked.prompt,
        variables=scope.variables,
        dependencies={SCOPE: scope, ACCOUNT: scope},
        middleware=[Middleware(_Watch, scope=scope, request=request, call_limit=call_limit)],
    )
    return reply.response


def _cancelled_from_outside() -> bool:
    current = asyncio.current_task()
    return current is not None and current.cancelling() > 0


class _Watch(BaseMiddleware):
    """Keeps each model request before it leaves, counts it, and answers finished tools by the log."""

    def __init__(
        self,
        event: BaseEvent,
        context: ConversationContext,
        scope: Scope,
        request: ModelRequest,
        call_limit: int,
    ) -> None:
        super().__init__(event, context)
        self._scope = scope
        self._request = request
        self._limit = call_limit

    async def on_llm_call(
        self, call_next: LLMCall, events: Sequence[BaseEvent], context: ConversationContext
    ) -> ModelResponse:
        scope = self._scope
        scope.check()
        call = scope.begin_call()
        if call >= self._limit:
            raise CallLimitError(f"the model made {self._limit} calls in one turn")
        scope.digest = codec.digest(context.prompt, events)
        if not any(isinstance(s, ModelRequested) and s.call == call for s in scope.turn.steps):
            await scope.record(self._requested(call, context))
        began = time.perf_counter()
        response = await call_next(events, context)
        scope.duration = time.perf_counter() - began
        return response

    def _requested(self, call: int, context: ConversationContext) -> ModelRequested:
        turn = self._scope.turn
        return ModelRequested(
            turn=turn.number,
            call=call,
            agent=turn.agent,
            prompt=context.prompt,
            parts=[codec.part_of(part) for part in self._request.parts] if call == 0 else [],
            digest=self._scope.digest,
        )

    async def on_tool_execution(
        self, call_next: ToolExecution, event: ToolCallEvent, context: ConversationContext
    ) -> ToolResultType:
        kept = self._scope.turn.returned.get(event.id)
        if kept is not None:
            return codec.result_of(kept)
        result = await call_next(event, context)
        if isinstance(result, ToolErrorEvent):
            log.warning("a tool failed", exc_info=result.error, extra={"tool": event.name})
        return result
