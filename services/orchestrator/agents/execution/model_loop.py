"""Runs AG2's loop of model and tool calls, from where the turn's log ends to the last answer."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

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
    ToolResultsEvent,
)
from ag2.middleware import BaseMiddleware, LLMCall, Middleware, ToolExecution, ToolResultType

from contracts.events import Event
from contracts.events.chat import UserMessagesConsumed
from contracts.events.turn import ModelRequested
from services.chassis.consumers.slots import released
from services.orchestrator.agents.ag2 import codec
from services.orchestrator.agents.ag2.conversation import Conversation
from services.orchestrator.agents.ag2.durable_stream import DurableStream
from services.orchestrator.agents.execution.model_requests import ModelRequests
from services.orchestrator.agents.execution.outcomes import (
    CallLimitError,
    InDoubtError,
    failed_outcome,
    suspended_outcome,
)
from services.orchestrator.agents.execution.tool_spans import note_result, tool_span
from services.orchestrator.agents.models.errors import ModelError
from services.orchestrator.agents.session.call_meter import CALL_METER
from services.orchestrator.agents.session.call_settings import CALL_SETTINGS
from services.orchestrator.agents.session.recorder import RECORDER, TurnRecorder
from services.orchestrator.domain.agent_conversation import (
    AgentMessage,
    Message,
    ToolResults,
    UserMessage,
    turn_messages,
)
from services.orchestrator.domain.call_budget import PlannedCall, prompt_tokens
from services.orchestrator.domain.turn import Turn
from services.orchestrator.domain.turn_steps import Failed, Suspended, doubt_failure

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelTask:
    """What a model is given: the conversation before the turn, which ends in a UserMessage.

    `correction` says why its last answer was not accepted.
    """

    history: Conversation
    prompt: str
    correction: str | None = None


async def run_model_loop(
    agent: Agent,
    task: ModelTask,
    recorder: TurnRecorder,
    *,
    call_limit: int,
    tool_chars: Callable[[], int] = lambda: 0,
) -> Failed | Suspended | None:
    """Let the agent continue until its last answer, which is none; its answers are in the journal.

    Also none after a failed call that is in the journal, as something can be done about it. Raises
    what the journal raises, and CancelledError if the turn was cancelled from outside.
    """
    requests = ModelRequests(agent, task.prompt, recorder.turn)
    planned = partial(_planned_call, task, requests, recorder, tool_chars)
    try:
        await _resume(agent, task, recorder, requests, call_limit, planned)
    except asyncio.CancelledError as cancelled:
        return suspended_outcome(recorder.journal, cancelled)
    except ModelError as error:
        recorder.journal.raise_error()
        log.warning("turn failed", exc_info=error, extra={"agent": recorder.turn.agent})
        failed = requests.failed_call(error, recorder.call)
        if failed is None:
            return replace(failed_outcome(error), waits=tuple(recorder.meter.waits))
        requests.note_refusal(error.failure)
        await recorder.record_failed_call(failed, error.response)
    except Exception as error:
        recorder.journal.raise_error()
        log.warning("turn failed", exc_info=error, extra={"agent": recorder.turn.agent})
        return failed_outcome(error)
    finally:
        await recorder.flush_text()
    recorder.journal.raise_error()
    return None


def first_request(agent: Agent, turn: Turn, task: ModelTask) -> list[Event]:
    """What is recorded of the first request of a turn."""
    request = task.history.events[-1]
    if not isinstance(request, ModelRequest):
        return []
    requests = ModelRequests(agent, task.prompt, turn)
    return [
        ModelRequested(
            turn=turn.number,
            call=0,
            agent=turn.agent,
            prompt=requests.prompt,
            parts=[codec.part_of(part) for part in request.parts],
            digest=task.history.digest(requests.prompt, task.history.events),
            options=requests.recorded_options,
            offered=requests.offered,
        )
    ]


def _planned_call(
    task: ModelTask, requests: ModelRequests, recorder: TurnRecorder, tool_chars: Callable[[], int]
) -> PlannedCall:
    """The call that is about to be made, as far as budgets need it."""
    instructions = sum(map(len, requests.prompt)) + tool_chars()
    turn = recorder.journal.state.open_turn
    return PlannedCall(
        model=requests.model,
        prompt_tokens=prompt_tokens(task.history.size, instructions, turn),
        max_tokens=requests.settings.options.max_tokens,
        prices=requests.prices,
    )


async def _resume(
    agent: Agent,
    task: ModelTask,
    recorder: TurnRecorder,
    requests: ModelRequests,
    call_limit: int,
    planned: Callable[[], PlannedCall],
) -> None:
    """Enter AG2's loop at the last event that makes it continue.

    A turn with responses continues from its newest tool calls, of which finished ones are answered
    from the log, or from the correction of its answer; a turn without one from its request. So the
    next model request is the one that an uninterrupted run would have made.
    """
    turn = recorder.turn
    recorded = turn.trigger
    *history, last_message = task.history.events
    request = last_message if recorded is None else _recorded_request(recorded, last_message)
    trigger: BaseEvent = request
    if turn.responses:
        messages, trigger = _messages_and_trigger(turn, task.correction)
        history += [request, *codec.events_of(messages)]
    await agent.resume(
        *history,
        trigger,
        stream=DurableStream(recorder.persist),
        prompt=requests.prompt,
        variables=recorder.variables,
        dependencies={
            RECORDER: recorder,
            CALL_METER: recorder.meter,
            CALL_SETTINGS: requests.settings,
        },
        middleware=[
            Middleware(
                _RecordingMiddleware,
                recorder=recorder,
                requests=requests,
                trigger=trigger,
                call_limit=call_limit,
                digest=task.history.digest,
                planned=planned,
            )
        ],
    )


def _recorded_request(recorded: ModelRequested, last_message: BaseEvent) -> BaseEvent:
    """The request that began a turn; the last message of the conversation, if it was that one."""
    if isinstance(last_message, ModelRequest):
        parts = [codec.part_of(part) for part in last_message.parts]
        if parts == recorded.parts:
            return last_message
    return ModelRequest([codec.input_of(part) for part in recorded.parts])


def _messages_and_trigger(turn: Turn, correction: str | None) -> tuple[list[Message], BaseEvent]:
    """The messages of a turn with responses, and the event from which AG2 continues."""
    messages = turn_messages(turn)
    if isinstance(messages[-1], ToolResults):
        messages.pop()
    match messages[-1]:
        case AgentMessage(response) if response.tool_calls:
            return messages, codec.calls_of(response)
        case UserMessage(text):
            return messages[:-1], ModelRequest([TextInput(text)])
        case _:
            return messages, ModelRequest([TextInput(correction or "")])


def _steering_message(recorder: TurnRecorder, events: Sequence[BaseEvent]) -> ModelRequest | None:
    """What the user has written to the running turn, as a message after the results of its tools."""
    turn = recorder.journal.state.open_turn
    if turn is None or not turn.steering_inputs or not isinstance(events[-1], ToolResultsEvent):
        return None
    return ModelRequest([TextInput("\n\n".join(one.text for one in turn.steering_inputs))])


def _consumed(
    recorder: TurnRecorder, call: int, steering: ModelRequest | None
) -> list[UserMessagesConsumed]:
    """The event that says which messages of the user a model call reads first."""
    turn = recorder.journal.state.open_turn
    if steering is None or turn is None:
        return []
    return [
        UserMessagesConsumed(
            turn=turn.number,
            agent=turn.agent,
            call=call,
            messages=[one.seq for one in turn.steering_inputs],
        )
    ]


class MalformedArgumentsError(Exception):
    """A model called a tool with something else than a JSON object."""

    def __init__(self, tool: str) -> None:
        super().__init__(
            f"{tool} was not called: its arguments are not one complete JSON object. "
            "Call it again with an object of its parameters."
        )


class _RecordingMiddleware(BaseMiddleware):
    """Records each model request before it is sent, limits their number, and answers finished tool
    calls from the log.
    """

    def __init__(
        self,
        event: BaseEvent,
        context: ConversationContext,
        recorder: TurnRecorder,
        requests: ModelRequests,
        trigger: BaseEvent,
        call_limit: int,
        digest: Callable[[Sequence[str], Sequence[BaseEvent]], str],
        planned: Callable[[], PlannedCall],
    ) -> None:
        super().__init__(event, context)
        self._recorder = recorder
        self._requests = requests
        self._new_parts = trigger.parts if isinstance(trigger, ModelRequest) else []
        self._call_limit = call_limit
        self._digest = digest
        self._planned = planned

    async def on_llm_call(
        self, call_next: LLMCall, events: Sequence[BaseEvent], context: ConversationContext
    ) -> ModelResponse:
        recorder = self._recorder
        recorder.journal.raise_error()
        state = recorder.journal.state
        if state.open_turn is not None and (failure := doubt_failure(state.open_turn)) is not None:
            raise InDoubtError(failure)
        call = recorder.start_model_call()
        if call >= self._call_limit:
            raise CallLimitError(f"the model made {self._call_limit} calls in one turn")
        new_parts, self._new_parts = self._new_parts, []
        is_recorded = self._requests.is_recorded(call)
        steering = None if is_recorded else _steering_message(recorder, events)
        if steering is not None:
            await context.stream.history.storage.save_event(steering, context)
            events, new_parts = [*events, steering], steering.parts
        recorder.meter.request_digest = self._digest(context.prompt, events)
        if not is_recorded:
            is_known = steering is None and self._requests.is_repeated(call)
            requested = self._requested(call, [] if is_known else new_parts, context)
            await recorder.record(requested, *_consumed(recorder, call, steering))
        if recorder.journal.budget.is_limited:
            await recorder.journal.hold_budget(self._planned())
        async with released(recorder.journal.slot):
            with recorder.meter.timing():
                response = await call_next(events, context)
        self._requests.answered()
        return response

    def _requested(
        self, call: int, parts: Sequence[Input], context: ConversationContext
    ) -> ModelRequested:
        recorder = self._recorder
        return ModelRequested(
            turn=recorder.turn.number,
            call=call,
            agent=recorder.turn.agent,
            prompt=context.prompt,
            parts=[codec.part_of(part) for part in parts],
            digest=recorder.meter.request_digest,
            options=self._requests.recorded_options,
            offered=self._requests.offered,
        )

    async def on_tool_execution(
        self, call_next: ToolExecution, event: ToolCallEvent, context: ConversationContext
    ) -> ToolResultType:
        recorded = self._recorder.turn.tool_results.get(event.id)
        if recorded is not None:
            return codec.result_of(recorded)
        if codec.has_malformed_arguments(event):
            # Called without them, a tool whose parameters all have defaults would act on none.
            return ToolErrorEvent.from_call(event, error=MalformedArgumentsError(event.name))
        with tool_span(event.name, event.id, self._recorder, event.arguments) as span:
            result = await call_next(event, context)
            note_result(span, result)
        if isinstance(result, ToolErrorEvent):
            log.warning("tool failed", exc_info=result.error, extra={"tool": event.name})
        return result
