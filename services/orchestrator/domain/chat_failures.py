"""The events that end a chat with a failure."""

from contracts.events import Event
from contracts.events.chat import (
    ChatFailed,
)
from contracts.events.turn import (
    RUNTIME,
    ToolReturned,
    TurnFailed,
)
from services.orchestrator.domain.state import (
    ChatState,
    LifecycleOccasion,
    remaining_lifecycle_tools,
)
from services.orchestrator.domain.turn_steps import Failed
from services.orchestrator.domain.unfinished_calls import results_of_unfinished
from services.orchestrator.domain.waiting_messages import with_message_fates
from services.orchestrator.workflows.spec import USER

WORKFLOW_UNAVAILABLE = Failed(
    "WORKFLOW_UNAVAILABLE", "The workflow of this chat is not available or cannot be loaded."
)
VALUE_LOST = Failed(
    "VALUE_LOST", "A large value of this chat is missing in storage, so it cannot continue."
)
STORAGE_USED_UP = Failed(
    "STORAGE_USED_UP", "The storage of this app is full, so a step of this chat cannot be stored."
)
EVENT_TOO_LARGE = Failed("NOT_KEPT", "A step of this chat is too large to be stored.")
QUESTION_EXPIRED = Failed("QUESTION_EXPIRED", "A question was not answered in time.")
GIVEN_UP = Failed("GIVEN_UP", "This chat failed repeatedly and is not retried any more.")


CALL_NOT_RETURNED = "The answer failed before this call returned."
"""The error of a tool call that was running when its turn failed."""


def chat_failed(failure: Failed, state: ChatState) -> ChatFailed:
    """The failure of a chat, which ends it if its workflow says so."""
    return ChatFailed(
        code=failure.code, message=failure.message, resumable=not state.ends_on_failure
    )


def fail(failure: Failed, state: ChatState) -> list[Event]:
    """The events by which a chat fails; none if it has failed, has ended or never started.

    Calls without a result get one: the chat may go on, and models refuse calls without results.
    """
    if state.ended or not state.started:
        return []
    failed: list[Event] = [chat_failed(failure, state)]
    if (turn := state.open_turn) is not None and turn.agent != USER:
        turn_failed = TurnFailed(
            turn=turn.number,
            agent=turn.agent,
            code=failure.code,
            message=failure.message,
            detail=failure.detail,
            waits=[*failure.waits],
        )
        unfinished = [] if state.ends_on_failure else results_of_unfinished(turn, CALL_NOT_RETURNED)
        failed = [*unfinished, turn_failed, *failed]
    return with_message_fates(failed, state)


def fail_unavailable(state: ChatState) -> list[Event]:
    """The events that end a chat whose workflow is not available, lifecycle tools included."""
    return fail_without_tools(WORKFLOW_UNAVAILABLE, state)


def fail_lost_value(state: ChatState) -> list[Event]:
    """The events that end a chat of which only the beginning of a value is known."""
    return fail_without_tools(VALUE_LOST, state)


def fail_without_tools(failed: Failed, state: ChatState) -> list[Event]:
    skipped = skip_lifecycle_tools("after_chat", state) if state.ends_on_failure else []
    return [*fail(failed, state), *skipped]


def skip_lifecycle_tools(occasion: LifecycleOccasion, state: ChatState) -> list[Event]:
    """Results with status `not_found` for the lifecycle tools that are not called."""
    return [
        ToolReturned(
            turn=0,
            call=0,
            agent=RUNTIME,
            tool_call_id=call,
            name=name,
            status="not_found",
            error="The tool was not called: its workflow is not available.",
            occasion=occasion,
        )
        for call, name in remaining_lifecycle_tools(occasion, state).items()
    ]
