"""Decide how a turn is stopped and a chat is cancelled."""

from collections.abc import Sequence
from typing import Literal

from contracts.commands import (
    CancelChat,
    Command,
)
from contracts.events import Event
from contracts.events.chat import (
    ChatCancelled,
)
from contracts.events.human import (
    QuestionExpired,
)
from contracts.events.turn import (
    SELECTOR,
    SpeakerSelected,
    TextInterrupted,
    TurnStopped,
    TurnStopRequested,
    UsageRecorded,
)
from services.orchestrator.domain.following_turn import with_next_speaker
from services.orchestrator.domain.state import (
    ChatState,
)
from services.orchestrator.domain.turn import Turn, UserInput
from services.orchestrator.domain.unfinished_calls import in_doubt, results_of_unfinished
from services.orchestrator.domain.waiting_messages import with_message_fates
from services.orchestrator.workflows.spec import USER, Workflow

STOPPED_CALL = "The user stopped the answer before this call returned."
"""The error of a tool call that was running when the user stopped its turn."""
STOPPED_IN_DOUBT = in_doubt(STOPPED_CALL)
"""The same for a tool that acts once: the call is in doubt."""
NOT_BEGUN = "The user stopped the answer before this call began."


def stop(
    state: ChatState,
    workflow: Workflow | None,
    interrupted: Sequence[TextInterrupted | UsageRecorded] = (),
) -> list[Event]:
    """The events that end a turn that the user or a budget has stopped; none if there is none.

    `interrupted` is what was shown of its open model call, and what that has used. Calls without a result get one, open
    questions are closed. A message that waits begins the next turn; otherwise it is the user's turn.
    """
    turn = state.running_turn
    if turn is None or turn.stop is None:
        return []
    asked = turn.stop
    if asked.by == "cancel":
        cancelled = ChatCancelled(user_id=asked.user_id, reason=asked.reason)
        return with_message_fates([*interrupted, cancelled], state)
    events: list[Event] = [
        *interrupted,
        *results_of_unfinished(turn, STOPPED_CALL, NOT_BEGUN),
        *(QuestionExpired(question_id=one.question_id) for one in turn.unanswered),
        TurnStopped(turn=turn.number, agent=turn.agent, user_id=asked.user_id, by=asked.by),
    ]
    if turn.waiting_inputs and not state.is_deleted:
        return with_next_speaker(events, state, workflow, "")
    return [*events, SpeakerSelected(turn=state.turns + 1, agent=USER, by="stopped")]


def stop_request(
    turn: Turn, command: Command, by: Literal["stop", "message", "cancel"], reason: str = ""
) -> TurnStopRequested:
    return TurnStopRequested(
        turn=turn.number, agent=turn.agent, user_id=command.user_id, by=by, reason=reason
    )


def user_spoke_since(seen: int | None, turn: Turn, state: ChatState) -> bool:
    """Whether the open turn answers a later message than turn `seen`."""
    if seen is None or seen >= turn.number:
        return False
    for entry in reversed(state.conversation):
        if isinstance(entry, UserInput):
            return True
        if entry.number <= seen:
            break
    return False


def cancel(command: CancelChat, state: ChatState, reason: str) -> list[Event]:
    """The end of the chat; where text of a model call may be shown, its runner ends the chat."""
    turn = state.running_turn
    if turn is None or turn.open_request is None or turn.agent == SELECTOR:
        return [ChatCancelled(user_id=command.user_id, reason=reason)]
    if turn.stop is not None and turn.stop.by == "cancel":
        return []
    return [stop_request(turn, command, "cancel", reason)]
