"""Let an agent talk on AG2, from wherever its turn's log ends to its last word or a question."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ag2 import Agent
from ag2.context import ConversationContext
from ag2.events import (
    BaseEvent,
    Input,
    ModelRequest,
    ModelResponse,
    TextInput,
    ToolCallEvent,
    ToolErrorEvent,
)
from ag2.middleware import BaseMiddleware, LLMCall, Middleware, ToolExecution, ToolResultType

from contracts.events.turn import ModelRequested
from services.orchestrator.agents import codec
from services.orchestrator.agents.account import ACCOUNT
from services.orchestrator.agents.faults import failure
from services.orchestrator.agents.scope import SCOPE, Scope
from services.orchestrator.agents.stream import DurableStream
from services.orchestrator.projection import Heard, Passage, Returned, Spoke, recorded
from services.orchestrator.state import Turn
from services.orchestrator.turns import Broke, Waits

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Task:
    """What a model is to go on from: what was said before the turn (ending in a Heard), and `again`,
    why its last answer was not accepted.
    """

    before: Sequence[Passage]
    prompt: str
    again: str | None = None


class CallLimitError(Exception):
    """The model wanted more calls in one turn than it may make."""


async def talk(agent: Agent, task: Task, scope: Scope, *, call_limit: int) -> Broke | Waits | None:
    """Let the agent go on until it has said its last word, waits for a person, or cannot.

    What it said is in the journal. Raises what the journal raises, and CancelledError where the turn
    was cancelled from outside.
    """
    try:
        await _resume(agent, task, scope, call_limit)
    except asyncio.CancelledError as cancelled:
        return left(scope, cancelled)
    except CallLimitError as limit:
        return Broke("CALL_LIMIT", str(limit))
    except Exception as trouble:
        scope.check()
        log.warning("a turn failed", exc_info=trouble, extra={"agent": scope.turn.agent})
        return Broke(*failure(trouble))
    scope.check()
    return None


def left(scope: Scope, cancelled: asyncio.CancelledError) -> Waits:
    """What a cancellation means: that the turn waits for a person.

    Raises it again where it came from outside, and what the journal raised.
    """
    if not scope.suspended or _cancelled_from_outside():
        raise cancelled
    scope.check()
    return Waits()


async def _resume(agent: Agent, task: Task, scope: Scope, call_limit: int) -> None:
    """Enter AG2's loop at the last thing that drives it.

    A turn that has responded goes on from its newest tool calls, finished ones answered from the
    log, or from why its answer was not accepted; one that has not, from its request. So the next
    model request is the one that an uninterrupted run would have made.
    """
    asked = scope.turn.requests[0] if scope.turn.requests else None
    *history, heard = codec.events_of(task.before)
    request = heard if asked is None else ModelRequest([codec.input_of(p) for p in asked.parts])
    trigger: BaseEvent = request
    if scope.turn.responses:
        said, trigger = _driven(scope.turn, task.again)
        history += [request, *codec.events_of(said)]
    await agent.resume(
        *history,
        trigger,
        stream=DurableStream(scope.keep),
        prompt=[task.prompt] if asked is None else asked.prompt,
        variables=scope.variables,
        dependencies={SCOPE: scope, ACCOUNT: scope},
        middleware=[Middleware(_Watch, scope=scope, trigger=trigger, call_limit=call_limit)],
    )


def _driven(turn: Turn, again: str | None) -> tuple[list[Passage], BaseEvent]:
    """What a turn that has responded has said so far, and what drives it on."""
    said = recorded(turn)
    if isinstance(said[-1], Returned):
        said.pop()
    match said[-1]:
        case Spoke(response) if response.tool_calls:
            return said, codec.calls_of(response)
        case Heard(text):
            return said[:-1], ModelRequest([TextInput(text)])
        case _:
            return said, ModelRequest([TextInput(again or "")])


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
        trigger: BaseEvent,
        call_limit: int,
    ) -> None:
        super().__init__(event, context)
        self._scope = scope
        self._told = trigger.parts if isinstance(trigger, ModelRequest) else []
        self._limit = call_limit

    async def on_llm_call(
        self, call_next: LLMCall, events: Sequence[BaseEvent], context: ConversationContext
    ) -> ModelResponse:
        scope = self._scope
        scope.check()
        call = scope.begin_call()
        if call >= self._limit:
            raise CallLimitError(f"the model made {self._limit} calls in one turn")
        told, self._told = self._told, []
        scope.digest = codec.digest(context.prompt, events)
        if not any(request.call == call for request in scope.turn.requests):
            await scope.record(self._requested(call, told, context))
        began = time.perf_counter()
        response = await call_next(events, context)
        scope.duration = time.perf_counter() - began
        return response

    def _requested(
        self, call: int, told: Sequence[Input], context: ConversationContext
    ) -> ModelRequested:
        turn = self._scope.turn
        return ModelRequested(
            turn=turn.number,
            call=call,
            agent=turn.agent,
            prompt=context.prompt,
            parts=[codec.part_of(part) for part in told],
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
