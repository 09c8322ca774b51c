"""Executes the open turn of an agent, step after step, until it ends or waits for the user."""

import logging
from collections.abc import Sequence
from functools import partial

from contracts.events import Event
from contracts.events.turn import SELECTOR, ConversationProcessed
from services.chassis.jetstream.errors import MessageTooLargeError
from services.orchestrator.agents.ag2.conversation import Conversation
from services.orchestrator.agents.ag2.json_values import json_copy
from services.orchestrator.agents.execution.compaction import (
    compact,
    compact_after_refusal,
    summary_plan,
    tool_chars,
)
from services.orchestrator.agents.execution.model_loop import (
    ModelTask,
    first_request,
    run_model_loop,
)
from services.orchestrator.agents.execution.outcomes import failed_outcome
from services.orchestrator.agents.execution.tool_invocation import invoke_tool
from services.orchestrator.agents.execution.turn_context import TurnContext
from services.orchestrator.agents.session.ports import Journal
from services.orchestrator.agents.session.recorder import TurnRecorder
from services.orchestrator.domain.agent_conversation import processed_conversation
from services.orchestrator.domain.conversation_changes import OtherConversationError
from services.orchestrator.domain.decisions import conclude
from services.orchestrator.domain.state import ChatState
from services.orchestrator.domain.turn import Turn
from services.orchestrator.domain.turn_steps import (
    CallModel,
    Completed,
    Done,
    EndTurn,
    Failed,
    InvokeTool,
    Outcome,
    ProcessConversation,
    RecordOutput,
    Step,
    SummariseConversation,
    next_step,
)
from services.orchestrator.runtime.chat_log import TurnOverError
from services.orchestrator.runtime.runner import StandstillError
from services.orchestrator.workflows.spec import Workflow

log = logging.getLogger(__name__)

_HOOKS_CALL_ID = "hooks"
"""The id under which variables that a turn's hooks change are tracked."""


async def execute_turn(context: TurnContext, journal: Journal) -> Outcome:
    """The outcome of the open turn, continued from where its log ends.

    Raises what the journal raises, TurnOverError if the turn ended meanwhile, StandstillError if a
    step recorded nothing, and CancelledError if the turn was cancelled from outside.
    """
    number = journal.state.turn_number
    while True:
        state = journal.state
        turn = state.open_turn
        if turn is None or turn.number != number:
            raise TurnOverError(f"turn {number} of {context.key.app}/{context.key.chat}")
        step = next_step(turn, context.agent, context.key.chat)
        try:
            outcome = await _execute_step(step, context, journal, turn)
        except OtherConversationError as other:
            return failed_outcome(other, "HOOK_FAILED")
        if outcome is not None:
            return outcome
        if journal.state.open_turn is None or journal.state.turn_number != number:
            return Done()  # it ended with its last response
        if journal.state.seq == state.seq:
            raise StandstillError(
                f"{context.key.app}/{context.key.chat} turn {turn.number}: {step}"
            )


def open_turn(context: TurnContext, state: ChatState) -> Sequence[Event]:
    """The request that begins the open turn, if it is the first step and needs no summary."""
    turn = state.open_turn
    if (
        turn is None
        or turn.steps
        or next_step(turn, context.agent, context.key.chat) != CallModel()
    ):
        return ()
    task = _model_task(context, state, turn)
    if summary_plan(context.ag2_agent, task, state, turn) is not None:
        return ()
    return first_request(context.ag2_agent, turn, task)


def end_turn(context: TurnContext, workflow: Workflow, state: ChatState) -> Sequence[Event]:
    """The events that end the open turn and start what follows, if it has its last response."""
    turn = state.open_turn
    if turn is None or not turn.responses:
        return ()
    match next_step(turn, context.agent, context.key.chat):
        case EndTurn(Completed() as completed):
            return conclude(completed, state, workflow)
        case _:
            return ()


async def _execute_step(
    step: Step, context: TurnContext, journal: Journal, turn: Turn
) -> Outcome | None:
    """None if the turn continues with another step."""
    match step:
        case EndTurn(outcome):
            return outcome
        case RecordOutput(output):
            await journal.record(output)
            return None
        case ProcessConversation():
            task = _model_task(context, journal.state, turn)
            if await compact(context.ag2_agent, task, context.key, journal):
                return None
            return await _process_conversation(context, journal, turn)
        case CallModel(correction):
            task = _model_task(context, journal.state, turn, correction)
            if await compact(context.ag2_agent, task, context.key, journal):
                return None
            recorder = _recorder(context, journal, turn)
            return await run_model_loop(
                context.ag2_agent,
                task,
                recorder,
                call_limit=context.call_limit,
                tool_chars=partial(tool_chars, context.ag2_agent),
            )
        case SummariseConversation(failure, window):
            task = _model_task(context, journal.state, turn)
            is_shorter = await compact_after_refusal(
                context.ag2_agent, task, window, context.key, journal
            )
            return None if is_shorter else failure
        case InvokeTool():
            return await invoke_tool(step, context.functions, _recorder(context, journal, turn))


def _model_task(
    context: TurnContext, state: ChatState, turn: Turn, correction: str | None = None
) -> ModelTask:
    history, processed = context.history(state), turn.processed
    if processed is None:
        return ModelTask(history, context.prompt(state), correction)
    messages = Conversation.of(processed_conversation(history.messages, processed))
    return ModelTask(messages, processed.prompt, correction)


def _recorder(context: TurnContext, journal: Journal, turn: Turn) -> TurnRecorder:
    # A deep copy: what a tool changes in place must not reach the state, or another chat.
    variables = {} if turn.agent == SELECTOR else json_copy(journal.state.variables)
    return TurnRecorder(
        context.key,
        turn,
        variables,
        journal,
        context.output_policy,
        context.ending,
        context.early_dispatch,
    )


async def _process_conversation(
    context: TurnContext, journal: Journal, turn: Turn
) -> Failed | None:
    """Pass the conversation to the hooks, and record what they make of it."""
    state, recorder = journal.state, _recorder(context, journal, turn)
    try:
        processed = await context.hooks.process_conversation(
            context.agent.name,
            context.history(state).messages,
            context.prompt(state),
            recorder.variables,
            turn.number,
        )
    except Exception as error:
        log.warning("hook failed", exc_info=error, extra={"agent": context.agent.name})
        return failed_outcome(error, "HOOK_FAILED")
    recorder.attribute_changes(_HOOKS_CALL_ID)
    try:
        await recorder.record(processed, *recorder.variable_changes(_HOOKS_CALL_ID))
    except MessageTooLargeError as too_large:
        return Failed("HOOK_FAILED", _too_large(processed, too_large.limit))
    return None


def _too_large(processed: ConversationProcessed, limit: int) -> str:
    size = len(processed.model_dump_json().encode())
    return (
        f"The conversation of {processed.agent} as its hooks change it has {size:,} bytes, and "
        f"{limit:,} bytes can be stored."
    )
