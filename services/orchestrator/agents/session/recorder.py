"""Records what happens in a turn on AG2: events are stored before AG2 acts on them."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

from ag2.context import ConversationContext
from ag2.events import (
    BaseEvent,
    HumanInputRequest,
    HumanMessage,
    ModelMessageChunk,
    ModelReasoning,
    ModelRequest,
    ModelResponse,
    ToolCallEvent,
    ToolCallsEvent,
    ToolResultEvent,
    ToolResultsEvent,
    UsageEvent,
)
from pydantic_core import to_json

from contracts.deltas import ToolProgressed, WaitReported
from contracts.events import Event
from contracts.events.business import BusinessLogged
from contracts.events.parts import ToolCall
from contracts.events.turn import (
    ModelCallFailed,
    Occasion,
    ToolEffect,
    ToolReturned,
    VariablesChanged,
)
from contracts.ids import ChatKey
from contracts.large_values import LargeValue
from services.chassis.budgets.storage import StorageUsedUpError
from services.chassis.jetstream.errors import MessageTooLargeError
from services.chassis.secrets import process_redactor
from services.orchestrator.agents.ag2 import codec
from services.orchestrator.agents.ag2.json_values import utf8
from services.orchestrator.agents.session.call_ids import unique_call_id
from services.orchestrator.agents.session.call_meter import CallMeter, Wait
from services.orchestrator.agents.session.dispatches import Dispatches
from services.orchestrator.agents.session.human_requests import HumanRequests
from services.orchestrator.agents.session.open_calls import OpenCalls
from services.orchestrator.agents.session.ports import Follow, Journal, follow_nothing
from services.orchestrator.agents.session.text_stream import (
    DEFAULT_OUTPUT_POLICY,
    OutputPolicy,
    TextStream,
)
from services.orchestrator.agents.session.turn_journal import TurnJournal
from services.orchestrator.agents.session.variable_tracking import VariableTracker
from services.orchestrator.compatibility.context_variables import ContextVariables
from services.orchestrator.domain.turn import Turn
from services.orchestrator.workflows.spec import DataReference

MAX_REASONING_CHARS = 20_000
"""How much of the reasoning of a failed call is kept."""
RECORDER = "mozaiks.recorder"
"""The key in AG2's dependencies under which tools find the recorder of their turn."""


STORAGE_LEFT = "the storage of this app is nearly full, {:,} bytes are left."
NO_TOOLS: Mapping[str, ToolEffect] = MappingProxyType({})


class TurnRecorder:
    """The recorder of one agent's turn; `call` is the number of its newest model call.

    `variables` are those that the turn's tools change.
    """

    def __init__(
        self,
        key: ChatKey,
        turn: Turn,
        variables: dict[str, Any],
        journal: Journal,
        output_policy: OutputPolicy = DEFAULT_OUTPUT_POLICY,
        ending: Follow = follow_nothing,
        early_dispatch: Mapping[str, ToolEffect] = NO_TOOLS,
    ) -> None:
        """`ending` is what follows from the last response of the turn; `early_dispatch` are the
        tools whose calls are dispatched with the response (see `Dispatches`).
        """
        self.key = key
        self.turn = turn
        self.variables = ContextVariables(variables)
        self.call = turn.next_call - 1
        self._open_calls = OpenCalls()
        self.journal = TurnJournal(journal, self._open_calls)
        self._output_policy = output_policy
        self._ending = ending
        self._text_stream = TextStream(turn, self.journal, output_policy)
        self._reasoning: list[str] = []
        self.meter = CallMeter(key, self._restart_answer, self._show_wait)
        self._tracker = VariableTracker(self.variables, journal.state.variables)
        self.dispatches = Dispatches(key, turn, self.journal, early_dispatch)
        self.human_requests = HumanRequests(
            key, turn, self.journal, self._open_calls, self._tracker, self.dispatches
        )
        self._outcomes: dict[str, dict[str, Any]] = {}
        self._call_ids = {call.id for response in turn.responses for call in response.tool_calls}
        self._next_business_event: dict[str, int] = {}

    # -- events of AG2 -------------------------------------------------------------------------

    async def persist(self, event: BaseEvent, context: ConversationContext) -> BaseEvent:
        """Record what an event says; returns the event as the log gives it back.

        Raises UnsupportedEventError for a kind of event that cannot be recorded.
        """
        match event:
            case ModelMessageChunk(content=text):
                self.meter.note_chunk()
                await self._text_stream.append(text)
                await self.journal.note_streamed(len(text))
            case ModelReasoning(content=reasoning):
                self._reasoning.append(reasoning)
                await self.journal.note_streamed(len(reasoning))
            case ModelResponse(response_force=False):
                last = not context.pending_messages  # else AG2 calls the model again
                return await self._persist_response(event, self._ending if last else follow_nothing)
            case ToolCallsEvent(calls=calls):
                self._open_calls.start(call.id for call in calls)
            case ToolResultEvent():
                return await self._persist_result(event)
            case ModelRequest() | ToolCallEvent() | ToolResultsEvent() | ModelResponse():
                pass  # contained in other events
            case HumanInputRequest() | HumanMessage() | UsageEvent():
                pass  # recorded by `human_requests` and with the response
            case _:
                if not type(event).__transient__:
                    raise codec.UnsupportedEventError(event)
        return event

    async def record(self, *events: Event) -> None:
        await self.journal.record(*events)

    async def flush_text(self) -> None:
        """Publish the streamed text that still waits."""
        await self._text_stream.flush()

    async def _persist_response(self, response: ModelResponse, ending: Follow) -> ModelResponse:
        await self.flush_text()  # before the event that supersedes it
        turn, policy = self.turn, self._output_policy
        responded = codec.responded_of(response, turn=turn.number, call=self.call, agent=turn.agent)
        text = responded.text
        if text and policy.edit is not None:
            text = await policy.edit(text)
        responded = responded.model_copy(
            update={
                "tool_calls": self._with_unique_ids(responded.tool_calls),
                "text": text,
                "hidden": bool(text) and policy.hides(text or ""),
            }
        )
        usage = self.meter.usage_of(responded)
        dispatched = self.dispatches.of_response(responded)
        await self.journal.record(
            responded, usage, then=(lambda _: dispatched) if dispatched else ending
        )
        self.journal.budget.settle()
        self.dispatches.note_early(dispatched)
        self.meter.log_usage(usage)
        return codec.response_of(responded)

    async def record_failed_call(
        self, failed: ModelCallFailed, response: ModelResponse | None
    ) -> None:
        """Record a call that led to no answer; a response that counts has its usage, too."""
        await self.flush_text()
        await self.journal.interrupt_text()
        reasoning = "".join(self._reasoning)[:MAX_REASONING_CHARS]
        failed = failed.model_copy(update={"reasoning": utf8(reasoning) or None})
        if response is None:
            await self.record(failed)
            self.journal.budget.settle()
            return
        turn = self.turn
        usage = self.meter.usage_of(
            codec.responded_of(response, turn=turn.number, call=self.call, agent=turn.agent)
        )
        await self.record(failed, usage)
        self.journal.budget.settle()
        self.meter.log_usage(usage)

    async def _persist_result(self, result: ToolResultEvent) -> ToolResultEvent:
        turn = self.turn
        returned = turn.tool_results.get(result.parent_id)
        if returned is None:  # otherwise it is in the log already
            returned = await self.record_result(
                *codec.returned_of(result, turn=turn.number, call=self.call, agent=turn.agent)
            )
        self._open_calls.finish(result.parent_id)
        self.merge_logged_variables()
        return codec.result_of(returned)

    async def record_result(
        self, result: ToolReturned, values: Sequence[LargeValue] = ()
    ) -> ToolReturned:
        """Record a tool's result with the variables that the tool has changed; returns what is kept.

        `values` are the whole values that the result refers to. What is kept is an error where both
        together are too large to be stored: then nothing has changed.
        """
        result = result.model_copy(update=self._outcomes.pop(result.tool_call_id, {}))
        changes = self._tracker.take_events(result.tool_call_id, self.turn)
        try:
            await self.journal.store(values)
            await self.record(result, *changes)
        except MessageTooLargeError as too_large:
            self._tracker.discard(changes)
            why = _too_large(result, changes, too_large.limit)
            if isinstance(too_large, StorageUsedUpError):
                why = f"Nothing of this call was kept: {STORAGE_LEFT.format(too_large.limit)}"
            result = codec.failed_result(result, why)
            await self.record(result)
        return result

    def _with_unique_ids(self, calls: Iterable[ToolCall]) -> list[ToolCall]:
        """The calls with ids that are unique in the turn, and that every provider accepts back.

        In a turn that a rewind has opened again, those of the calls that were dropped are not known:
        there each id has the number of its model call, which is unique.
        """
        unique: list[ToolCall] = []
        for call in calls:
            given = call.id if self.turn.reopened_at is None else f"{call.id}_{self.call}"
            call_id = unique_call_id(given, self.call, self._call_ids)
            self._call_ids.add(call_id)
            unique.append(call.model_copy(update={"id": call_id}))
        return unique

    def start_model_call(self) -> int:
        """The number of the model call that starts now."""
        self.call += 1
        self._text_stream.start_call(self.call)
        self._reasoning.clear()
        self.meter.start_call()
        self.merge_logged_variables()
        return self.call

    async def _restart_answer(self) -> None:
        self._reasoning.clear()
        self.journal.budget.restart()
        await self._text_stream.restart()

    async def _show_wait(self, wait: Wait) -> None:
        await self.journal.show(
            WaitReported(
                turn=self.turn.number,
                agent=self.turn.agent,
                runner=self.journal.runner,
                code=wait.code,
                seconds=round(wait.seconds, 1),
                until=wait.until,
                attempt=wait.attempt,
                attempts=wait.attempts,
            )
        )

    def note_outcome(self, tool_call: str, **fields: Any) -> None:
        """Fields of the result that a call is about to have: its receipt, or who resolved a doubt."""
        self._outcomes.setdefault(tool_call, {}).update(fields)

    # -- variables -----------------------------------------------------------------------------

    def attribute_changes(self, tool_call: str) -> None:
        """Attribute what is changed by now to a call; called in the tool's own thread."""
        self._tracker.attribute(tool_call)

    def variable_changes(self, tool_call: str) -> list[Event]:
        """What a call has changed and was not recorded yet."""
        return [*self._tracker.take_events(tool_call, self.turn)]

    def merge_logged_variables(self) -> None:
        """Take over the variables that others have set meanwhile."""
        self._tracker.merge_logged(self.journal.state.variables)

    # -- what tools report ---------------------------------------------------------------------

    @asynccontextmanager
    async def open_call(self, tool_call: str, occasion: Occasion) -> AsyncIterator[None]:
        """While the runtime itself, not the model, calls a tool."""
        self.dispatches.occasions[tool_call] = occasion
        self._open_calls.start([tool_call])
        try:
            yield
        finally:
            self._open_calls.finish(tool_call)

    async def log_business(self, tool_call: str, event: BusinessLogged) -> None:
        """Record a business event of a tool, once, however often the tool is run.

        Raises ValueError where it is too large.
        """
        ordinal = self._next_business_event.get(tool_call, 0)
        self._next_business_event[tool_call] = ordinal + 1
        occasion = f"{self.turn.number}:{tool_call}:{ordinal}"
        if occasion in self.turn.business_occasions:
            return
        try:
            await self.record(event.model_copy(update={"occasion": occasion}))
        except MessageTooLargeError as too_large:
            raise ValueError(
                f"message, metadata: a business event may have {too_large.limit:,} bytes"
            ) from too_large

    async def show_progress(
        self, tool_call: str, tool_name: str, percent: float | None, message: str
    ) -> None:
        await self.journal.show(
            ToolProgressed(
                turn=self.turn.number,
                agent=self.turn.agent,
                runner=self.journal.runner,
                tool_call_id=tool_call,
                tool_name=tool_name,
                percent=percent,
                message=process_redactor().without_known(message),
            )
        )

    async def refresh(self, tool_call: str, reference: DataReference) -> Any:
        """Look a variable up in its database again; the variable's new value."""
        occasion = f"{self.turn.number}:{tool_call}"
        found = await self.journal.look_up(reference, self.variables, occasion)
        self.variables[reference.name] = found
        return found

    def restart_tool(self, tool_call: str) -> None:
        """The tool runs again: what it asks and reports is what it asked and reported before."""
        self.human_requests.restart_call(tool_call)
        self._next_business_event.pop(tool_call, None)
        self._outcomes.pop(tool_call, None)


def _too_large(result: ToolReturned, changes: Iterable[VariablesChanged], limit: int) -> str:
    """Which part of a tool's result is too large to be stored; each part is named."""
    sizes = {"the result": len(result.model_dump_json().encode())}
    for change in changes:
        for name, value in change.changed.items():
            sizes[f"context variable {name}"] = len(to_json(value))
    largest = max(sizes, key=lambda part: sizes[part])
    return (
        f"Nothing of this call was kept: {largest} has {sizes[largest]:,} bytes, and one call may "
        f"keep {limit:,} bytes. Store large data elsewhere and keep a reference to it."
    )
