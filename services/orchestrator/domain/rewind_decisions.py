"""Decide what a retry, an edit and a rewind append to a chat."""

from bisect import bisect_right
from collections.abc import Iterator

from contracts.commands import EditMessage, RetryAnswer, RewindChat
from contracts.events import Event
from contracts.events.chat import (
    ChatRewound,
    RestoredChat,
    RestoredQuestion,
    RewindKind,
    RewindRefusal,
    RewindRefused,
    UserMessageReceived,
)
from contracts.events.turn import SELECTOR
from contracts.ids import Seq
from contracts.rewinds import MAX_RANGES, with_rewind
from services.orchestrator.domain.evolution import applied
from services.orchestrator.domain.following_turn import select_again, with_next_speaker
from services.orchestrator.domain.state import ChatState, RestorePoint, is_pristine, pending
from services.orchestrator.domain.turn import Turn, UserInput
from services.orchestrator.domain.waiting_messages import with_message_fates
from services.orchestrator.workflows.spec import Workflow

Rewind = RetryAnswer | EditMessage | RewindChat


class _RefusedError(Exception):
    def __init__(self, reason: RewindRefusal) -> None:
        super().__init__(reason)
        self.reason = reason


def rewind(command: Rewind, state: ChatState, workflow: Workflow | None) -> list[Event]:
    """The rewind and what follows from it, or the event that says why there is none."""
    try:
        _check(command, state)
        match command:
            case RetryAnswer():
                return _retry(command, state, workflow)
            case EditMessage():
                return _edit(command, state, workflow)
            case RewindChat():
                return [_rewound("rewind", _resting_point(command.to_seq, state), command, state)]
    except _RefusedError as refused:
        return [RewindRefused(user_id=command.user_id, kind=_kind(command), reason=refused.reason)]


def _kind(command: Rewind) -> RewindKind:
    match command:
        case RetryAnswer():
            return "retry"
        case EditMessage():
            return "edit"
        case RewindChat():
            return "rewind"


def _check(command: Rewind, state: ChatState) -> None:
    if command.seen_seq != state.seq:
        raise _RefusedError("chat_changed")
    if pending(state) is not None:
        raise _RefusedError("answer_running")


# -- retry ----------------------------------------------------------------------------------------


def _retry(command: RetryAnswer, state: ChatState, workflow: Workflow | None) -> list[Event]:
    """The turn that ended last is selected again, with all that the user wrote since it began."""
    turn = turn_to_retry(state)
    if turn is None:
        return _retry_selection(command, state, workflow)
    point = _point_before(turn, state)
    rewound = _rewound("retry", point, command, state)
    said = [
        UserMessageReceived(user_id=command.user_id, text=text)
        for text in _said_after(point, state)
    ]
    before = applied(state, [rewound], cause=command.command_id)
    again = applied(before, said, cause=command.command_id)
    selected = select_again(turn, again, workflow)
    return [rewound, *with_message_fates([*said, *selected], before)]


def turn_to_retry(state: ChatState) -> Turn | None:
    """The turn that failed, or that an agent had last; None if none failed, or there is none.

    A turn of the selector is retried only if it failed.
    """
    if state.running_turn is not None:
        return state.running_turn
    turns = (entry for entry in reversed(state.conversation) if isinstance(entry, Turn))
    if state.ended == "failed":
        return next((turn for turn in turns if turn.number == state.failed_turn), None)
    return next((turn for turn in turns if turn.agent != SELECTOR), None)


def _retry_selection(
    command: RetryAnswer, state: ChatState, workflow: Workflow | None
) -> list[Event]:
    """Where a chat failed between two turns, the next speaker is selected again."""
    if state.ended != "failed":
        raise _RefusedError("nothing_to_retry")
    points = (point for point in reversed(state.points) if point.state.ended is None)
    point = next(points, None)
    if point is None:
        raise _RefusedError("nothing_to_retry")
    rewound = _rewound("retry", point, command, state)
    before = applied(state, [rewound], cause=command.command_id)
    return [rewound, *with_next_speaker([], before, workflow, command.command_id)]


def _point_before(turn: Turn, state: ChatState) -> RestorePoint:
    for point in reversed(state.points):
        open_turn = point.state.open_turn
        is_of_turn = open_turn is not None and open_turn.number == turn.number
        if is_of_turn and open_turn is not None and is_pristine(open_turn):
            return point  # the lifecycle tools before the first turn have been called
        if not is_of_turn and point.state.turns < turn.number:
            return point
    raise _RefusedError("nothing_to_retry")


def _said_after(point: RestorePoint, state: ChatState) -> Iterator[str]:
    """What the user wrote while the turn was running, which the rewind drops."""
    for entry in state.conversation[point.entries :]:
        if isinstance(entry, UserInput):
            yield entry.text
    if state.running_turn is not None:
        yield from (one.text for one in state.running_turn.user_inputs)


# -- edit and rewind --------------------------------------------------------------------------------


def _edit(command: EditMessage, state: ChatState, workflow: Workflow | None) -> list[Event]:
    is_message = any(
        isinstance(entry, UserInput) and entry.seq == command.message
        for entry in state.conversation
    )
    point = _point_at(Seq(command.message - 1), state)
    if not is_message or point is None:
        raise _RefusedError("not_editable")
    rewound = _rewound("edit", point, command, state)
    before = applied(state, [rewound], cause=command.command_id)
    said = UserMessageReceived(user_id=command.user_id, text=command.text)
    return [rewound, *with_next_speaker([said], before, workflow, command.command_id)]


def _resting_point(to_seq: Seq, state: ChatState) -> RestorePoint:
    """The point at a position at which the chat waited for the user, or had ended."""
    if to_seq == state.seq:
        raise _RefusedError("nothing_to_rewind")
    point = _point_at(to_seq, state)
    if point is None or not is_resting(point.state):
        raise _RefusedError("not_a_resting_point")
    return point


def is_resting(state: ChatState) -> bool:
    """Whether a chat waits for a message or an answer of the user, or has ended."""
    if pending(state) is not None:
        return False
    return state.ended is not None or state.open_turn is not None


def _point_at(seq: Seq, state: ChatState) -> RestorePoint | None:
    place = bisect_right(state.points, seq, key=lambda point: point.seq) - 1
    point = state.points[place] if place >= 0 else None
    return point if point is not None and point.seq == seq else None


# -- the event --------------------------------------------------------------------------------------


def _rewound(
    kind: RewindKind, point: RestorePoint, command: Rewind, state: ChatState
) -> ChatRewound:
    if len(with_rewind(state.dropped, point.seq, Seq(state.seq + 1))) > MAX_RANGES:
        raise _RefusedError("too_many_rewinds")
    return ChatRewound(
        to_seq=point.seq,
        kind=kind,
        user_id=command.user_id,
        restored=_restored(point.state, state),
    )


def _restored(then: ChatState, now: ChatState) -> RestoredChat:
    shown = then.shown
    assert shown is not None  # noqa: S101  a point is of a chat that has started
    return RestoredChat(
        status=shown.status,
        end_reason=shown.end_reason,
        ended_at=shown.ended_at,
        resumable=shown.resumable,
        speaker=shown.speaker,
        turn=then.turn_number,
        turn_started_at=shown.turn_started_at,
        turn_seq=shown.turn_seq,
        questions=[
            RestoredQuestion(question=one, seq=shown.question_seqs[one.question_id])
            for one in shown.open_questions
        ],
        last_artifact=shown.last_artifact,
        artifact_payload=dict(shown.artifact_payload),
        has_title=bool(shown.title) or now.title is not None,
        changed={
            name: value
            for name, value in then.variables.items()
            if name not in now.variables or now.variables[name] != value
        },
        removed=[name for name in now.variables if name not in then.variables],
    )
