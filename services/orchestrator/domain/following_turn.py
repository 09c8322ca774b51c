"""The events that start what follows a turn."""

from contracts.events import Event
from contracts.events.chat import (
    ChatCompleted,
    TurnLimitReported,
)
from contracts.events.turn import (
    SpeakerSelected,
)
from services.orchestrator.domain.chat_failures import WORKFLOW_UNAVAILABLE, chat_failed
from services.orchestrator.domain.evolution import applied
from services.orchestrator.domain.speaker_selection import (
    Finish,
    HandoffCycle,
    Next,
    Speaker,
    after_selection,
    next_speaker,
    turn_limit,
)
from services.orchestrator.domain.state import ChatState
from services.orchestrator.domain.turn import Turn
from services.orchestrator.domain.turn_steps import Failed
from services.orchestrator.domain.waiting_messages import with_message_fates
from services.orchestrator.workflows.spec import Workflow


def select_again(turn: Turn, state: ChatState, workflow: Workflow | None) -> list[Event]:
    """The events that give a turn to the speaker of one that was dropped."""
    speaker = Speaker(turn.agent, turn.by)
    if workflow is None:
        return [SpeakerSelected(turn=state.turns + 1, agent=turn.agent, by=turn.by)]
    return _events_of(speaker, state, workflow)


def with_next_speaker(
    events: list[Event], state: ChatState, workflow: Workflow | None, cause: str
) -> list[Event]:
    """The events, followed by the next speaker or the end of the chat if no turn is open then."""
    updated = applied(state, events, cause=cause)
    if updated.ended is None and updated.open_turn is None:
        follows = (
            [chat_failed(WORKFLOW_UNAVAILABLE, updated)]
            if workflow is None
            else _events_of(next_speaker(workflow, updated), updated, workflow)
        )
        events = [*events, *follows]
    return with_message_fates(events, state)


def after_selector(answer: str, state: ChatState, workflow: Workflow | None) -> list[Event]:
    if workflow is None:
        return [chat_failed(WORKFLOW_UNAVAILABLE, state)]
    return _events_of(after_selection(workflow, state, answer), state, workflow)


def _events_of(next_: Next, state: ChatState, workflow: Workflow) -> list[Event]:
    match next_:
        case Speaker(agent, by):
            return [
                *_turn_limit_events(next_, state, workflow),
                SpeakerSelected(turn=state.turns + 1, agent=agent, by=by),
            ]
        case Finish(reason):
            return [ChatCompleted(reason=reason, turns=state.agent_turns)]
        case HandoffCycle(agents):
            message = f"These agents hand over in a cycle without a reply: {' → '.join(agents)}."
            return [chat_failed(Failed("HANDOFF_CYCLE", message), state)]


def _turn_limit_events(follows: Speaker, state: ChatState, workflow: Workflow) -> list[Event]:
    limit = turn_limit(workflow, state, follows)
    if limit is None:
        return []
    return [TurnLimitReported(turns=limit.turns, max_turns=workflow.max_turns, waits=limit.waits)]
