"""How each event changes the state of a chat."""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping

from contracts.codec import Fact
from contracts.events import Event
from contracts.events.budget import BudgetExceeded, BudgetWarned
from contracts.events.business import BusinessLogged
from contracts.events.chat import (
    AttachmentUploaded,
    ChatCancelled,
    ChatCompleted,
    ChatErased,
    ChatFailed,
    ChatForked,
    ChatRewound,
    ChatStarted,
    CommandGivenUp,
    HistoryCompacted,
    RewindRefused,
    ToolCodeChanged,
    TurnLimitReported,
    UserMessageReceived,
    UserMessageRefused,
    UserMessagesConsumed,
)
from contracts.events.chat_list import (
    ChatArchived,
    ChatDeleted,
    ChatRenamed,
    ChatUnarchived,
    ChatUndeleted,
)
from contracts.events.human import (
    HumanAnswered,
    HumanAsked,
    QuestionEscalated,
    QuestionExpired,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.run import RunClaimed
from contracts.events.turn import (
    SELECTOR,
    ConversationProcessed,
    ModelCallFailed,
    ModelRequested,
    ModelResponded,
    OutputStructured,
    SpeakerSelected,
    TextInterrupted,
    ToolDispatched,
    ToolInvoked,
    ToolReturned,
    TurnCompleted,
    TurnFailed,
    TurnStopped,
    TurnStopRequested,
    UsageRecorded,
    VariablesChanged,
)
from contracts.frozen import replace
from contracts.ids import AgentName, DeliveryId, QuestionId, RunnerId, Seq, delivery_of
from contracts.rewinds import with_rewind
from services.orchestrator.domain.applied_commands import AppliedCommands
from services.orchestrator.domain.shown_chat import shown_after
from services.orchestrator.domain.state import (
    AgentTool,
    ChatState,
    Compacted,
    LastUsage,
    ListEvent,
    Owner,
    RestorePoint,
    RestorePointMissingError,
    is_pristine,
    newest_turn,
    pending,
    remaining_lifecycle_tools,
)
from services.orchestrator.domain.turn import (
    Answer,
    Question,
    Turn,
    UserInput,
    closed,
    reopened,
    with_answer,
    with_business_occasion,
    with_consumed,
    with_dispatch,
    with_escalation,
    with_question,
    with_step,
)
from services.orchestrator.workflows.spec import USER

_NO_DELIVERY = DeliveryId("", 0, 0)


def replay(facts: Iterable[Fact], state: ChatState | None = None) -> ChatState:
    """Fold a history, or its continuation."""
    updated = state or ChatState()
    for fact in facts:
        updated = evolve(updated, fact)
    return updated


def evolve(state: ChatState, fact: Fact) -> ChatState:
    """The state after one more event."""
    envelope = fact.envelope
    updated = apply(state, fact.event, cause=envelope.cause)
    is_quiet = pending(updated) is None
    owner, runner = (None, None) if is_quiet else _ownership_after(state, fact)
    requested = isinstance(fact.event, ModelRequested)
    usage = state.usage
    if isinstance(fact.event, UsageRecorded):
        usage = LastUsage(usage.number + 1, fact.event, envelope.runner)
    evolved = replace(
        updated,
        seq=envelope.seq,
        workflow=envelope.workflow_name,
        owner=owner,
        runner=runner,
        call_requested_at=envelope.time if requested else state.call_requested_at,
        shown=shown_after(state.shown, envelope, fact.event),
        usage=usage,
    )
    if _is_restorable(evolved, fact.event, is_quiet=is_quiet):
        return replace(evolved, points=(*evolved.points, _restore_point(evolved)))
    return evolved


def _ownership_after(before: ChatState, fact: Fact) -> tuple[Owner | None, RunnerId | None]:
    """Who runs the pending chat: who turned it from quiet to pending, or who claimed it."""
    envelope = fact.envelope
    owner = None if isinstance(fact.event, ChatForked) else before.owner  # that of the origin
    if owner is not None and envelope.runner == before.runner:
        return owner, before.runner
    delivery = delivery_of(envelope.runner or RunnerId("")) or _NO_DELIVERY
    if owner is None or isinstance(fact.event, RunClaimed):
        return Owner(envelope.cause, delivery.message), envelope.runner
    return owner, envelope.runner if delivery.message == owner.message else before.runner


def _is_restorable(state: ChatState, event: Event, *, is_quiet: bool) -> bool:
    """Whether a rewind may go to this state: it is quiet, or its next turn has not begun."""
    if isinstance(event, ChatRewound):
        return event.kind == "rewind"
    turn = state.open_turn
    if is_quiet or (turn is None and state.ended is None):
        return True
    if not isinstance(event, ToolReturned) or event.occasion != "before_chat" or turn is None:
        return False
    return is_pristine(turn) and not remaining_lifecycle_tools("before_chat", state)


def _restore_point(state: ChatState) -> RestorePoint:
    bare = replace(
        state,
        conversation=(),
        points=(),
        dropped=(),
        applied_commands=AppliedCommands(),
        asked_questions=frozenset(),
        attachments=(),
    )
    return RestorePoint(state.seq, len(state.conversation), bare)


def _rewind(state: ChatState, event: ChatRewound, cause: str) -> ChatState:
    """The state at the position that is rewound to, with what is not rewound.

    A turn that is open there goes on after this event: its calls get other numbers and ids than
    those that were dropped.
    """
    place = bisect_left(state.points, event.to_seq, key=lambda point: point.seq)
    point = state.points[place] if place < len(state.points) else None
    if point is None or point.seq != event.to_seq:
        raise RestorePointMissingError(f"rewind to event {event.to_seq}")
    seq = Seq(state.seq + 1)
    turn = point.state.open_turn
    if turn is not None and turn.agent != USER:
        turn = reopened(turn, newest_turn(state, turn.number), seq)
    return replace(
        point.state,
        conversation=state.conversation[: point.entries],
        open_turn=turn,
        points=state.points[: place + 1],
        dropped=with_rewind(state.dropped, event.to_seq, seq),
        applied_commands=state.applied_commands.with_command(cause),
        asked_questions=state.asked_questions,
        attachments=state.attachments,
        tools_version=state.tools_version,
        turns=state.turns,
        title=state.title,
        is_archived=state.is_archived,
        is_deleted=state.is_deleted,
    )


def applied(state: ChatState, events: Iterable[Event], *, cause: str) -> ChatState:
    """The state after events that are about to be appended; it has no owner and workflow of them."""
    for event in events:
        state = replace(apply(state, event, cause=cause), seq=Seq(state.seq + 1))
    return state


def apply(state: ChatState, event: Event, *, cause: str) -> ChatState:
    """The state after an event that has no position in the log yet."""
    match event:
        case ChatStarted():
            return replace(
                state,
                user=event.user_id,
                seed=event.seed,
                variables=event.variables,
                workflow_version=event.workflow_version,
                tools_version=event.tools_version,
                before_chat=tuple(event.before_chat),
                after_chat=tuple(event.after_chat),
                ends_on_failure=event.ends_on_failure,
            )
        case ChatForked():
            return _forked(state, event)
        case ToolCodeChanged(now=now):
            return replace(state, tools_version=now)
        case AttachmentUploaded():
            return replace(state, attachments=(*state.attachments, event))
        case HistoryCompacted(through_turn=through, summary=summary) as step:
            compacted = Compacted(through, summary, since=state.turn_number)
            return _with_open_turn(
                replace(state, compacted=compacted), lambda turn: with_step(turn, step)
            )
        case UserMessageReceived():
            return _add_user_input(
                replace(
                    _resumed(state),
                    applied_commands=state.applied_commands.with_command(cause),
                    waiting=state.waiting
                    if event.while_running is None
                    else (*state.waiting, Seq(state.seq + 1)),
                ),
                UserInput(event.text, Seq(state.seq + 1), event.while_running == "steer"),
            )
        case UserMessagesConsumed():
            return _consume(state, event)
        case UserMessageRefused(message=None):
            return replace(state, applied_commands=state.applied_commands.with_command(cause))
        case UserMessageRefused(message=message):
            return replace(state, waiting=tuple(one for one in state.waiting if one != message))
        case SpeakerSelected():
            updated = _without_pristine_turn(close_selection(state))
            return replace(
                updated,
                open_turn=Turn(event.turn, event.agent, event.by),
                turns=event.turn,
                agent_turns=updated.agent_turns + (event.agent not in (USER, SELECTOR)),
                failed_turn=None,
            )
        case CommandGivenUp():
            return replace(state, applied_commands=state.applied_commands.with_command(cause))
        case VariablesChanged():
            remaining = {k: v for k, v in state.variables.items() if k not in event.removed}
            return replace(
                state,
                variables={**remaining, **event.changed},
                applied_commands=state.applied_commands.with_command(cause)
                if event.agent == USER
                else state.applied_commands,
                resolved_variables=state.resolved_variables.union(event.changed, event.removed),
            )
        case TurnCompleted():
            return _close_turn(state, event.text, event.handoff)
        case TurnFailed(turn=number):
            return replace(_close_turn(state, "", None), failed_turn=number)
        case TurnStopRequested():
            return _request_stop(state, event, cause)
        case TurnStopped():
            return _stop_turn(state)
        case ChatCompleted():
            return replace(state, ended="completed", open_turn=None)
        case ChatFailed(resumable=resumable):
            return replace(state, ended="failed", open_turn=None, resumable=resumable)
        case ChatCancelled():
            return replace(state, ended="cancelled", open_turn=None, resumable=False)
        case ChatErased():
            return ChatState(ended="cancelled", is_erased=True)
        case ChatRewound():
            return _rewind(state, event, cause)
        case RewindRefused():
            return replace(state, applied_commands=state.applied_commands.with_command(cause))
        case ToolReturned(occasion="before_chat" | "after_chat") as result:
            return replace(
                state, lifecycle_results={**state.lifecycle_results, result.tool_call_id: result}
            )
        case ToolDispatched(occasion="before_chat" | "after_chat") as dispatch:
            return replace(
                state,
                lifecycle_dispatches={
                    **state.lifecycle_dispatches,
                    dispatch.tool_call_id: dispatch,
                },
            )
        case ToolDispatched() as dispatch:
            return _with_open_turn(state, lambda turn: with_dispatch(turn, dispatch))
        case (
            ConversationProcessed()
            | ModelRequested()
            | ModelCallFailed()
            | ModelResponded()
            | OutputStructured()
            | TextInterrupted()
            | ToolInvoked()
            | ToolReturned()
        ) as step:
            return _with_open_turn(state, lambda turn: with_step(turn, step))
        case HumanAsked() | UiToolRequested() as question:
            return _add_question(state, question)
        case HumanAnswered() | UiToolAnswered() as answer:
            return _add_answer(state, answer)
        case QuestionEscalated():
            return _with_open_turn(state, lambda turn: with_escalation(turn, event))
        case BusinessLogged():
            return _with_open_turn(state, lambda turn: with_business_occasion(turn, event.occasion))
        case ChatRenamed() | ChatArchived() | ChatUnarchived() | ChatDeleted() | ChatUndeleted():
            return _change_list(state, event, cause)
        case UsageRecorded() | QuestionExpired() | RunClaimed() | TurnLimitReported():
            return state
        case BudgetWarned() | BudgetExceeded():
            return state


def _change_list(state: ChatState, event: ListEvent, cause: str) -> ChatState:
    changed = replace(state, applied_commands=state.applied_commands.with_command(cause))
    match event:
        case ChatRenamed(title=title):
            return replace(changed, title=title)
        case ChatArchived() | ChatUnarchived():
            return replace(changed, is_archived=isinstance(event, ChatArchived))
        case ChatDeleted() | ChatUndeleted():
            return replace(changed, is_deleted=isinstance(event, ChatDeleted))


def _forked(state: ChatState, event: ChatForked) -> ChatState:
    """The same state in another chat, which counts the attempts of calls that are open from 1 again."""
    turn = state.open_turn
    if turn is not None:
        doubted = {
            one.tool_call_id for one in turn.questions if isinstance(one, HumanAsked) and one.doubt
        }
        settled = doubted.union(turn.tool_results)
        turn = replace(turn, dispatches=_not_attempted(turn.dispatches, settled))
    return replace(
        state,
        variables={**state.variables, **event.variables},
        open_turn=turn,
        lifecycle_dispatches=_not_attempted(state.lifecycle_dispatches, state.lifecycle_results),
        is_archived=False,
        is_deleted=False,
        points=tuple(_point_of_fork(point, event) for point in state.points),
    )


def _point_of_fork(point: RestorePoint, event: ChatForked) -> RestorePoint:
    variables = {**point.state.variables, **event.variables}
    return replace(point, state=replace(point.state, variables=variables))


def _not_attempted(
    dispatches: Mapping[str, ToolDispatched], settled: Collection[str]
) -> Mapping[str, ToolDispatched]:
    return {
        call: one if call in settled else one.model_copy(update={"attempt": 0})
        for call, one in dispatches.items()
    }


def close_selection(state: ChatState) -> ChatState:
    """The state after the selector's turn; the same state if the open turn is not the selector's."""
    turn = state.open_turn
    if turn is None or turn.agent != SELECTOR:
        return state
    speaker = USER if turn.user_inputs else state.last_speaker
    return replace(
        state,
        conversation=(*state.conversation, turn, *turn.user_inputs),
        open_turn=None,
        last_speaker=speaker,
    )


def _without_pristine_turn(state: ChatState) -> ChatState:
    """The state without an agent's turn that has not begun, because it is selected anew."""
    turn = state.open_turn
    if turn is None or not is_pristine(turn):
        return state
    return replace(
        state,
        conversation=(*state.conversation, *turn.user_inputs),
        open_turn=None,
        agent_turns=state.agent_turns - (turn.agent != SELECTOR),
    )


def _resumed(state: ChatState) -> ChatState:
    """The state of a chat that failed, in which it is the user's turn; else the same state."""
    if not state.resumable:
        return state
    return replace(state, ended=None, resumable=False, last_speaker=USER)


def _add_user_input(state: ChatState, message: UserInput) -> ChatState:
    turn = state.open_turn
    if turn is None:
        return replace(state, conversation=(*state.conversation, message))
    if turn.agent == USER:  # it was the user's turn: the message ends it
        return replace(
            state, conversation=(*state.conversation, message), open_turn=None, last_speaker=USER
        )
    return replace(state, open_turn=replace(turn, user_inputs=(*turn.user_inputs, message)))


def _close_turn(state: ChatState, text: str, handoff: AgentName | None) -> ChatState:
    if state.open_turn is None:
        return state
    turn = closed(state.open_turn, text, handoff)
    read = [
        replace(one, read_by=turn.agent) for one in turn.user_inputs if one.seq in turn.consumed
    ]
    conversation = (*state.conversation, *read, turn, *turn.waiting_inputs)
    return replace(state, conversation=conversation, open_turn=None, last_speaker=turn.agent)


def _request_stop(state: ChatState, stop: TurnStopRequested, cause: str) -> ChatState:
    applied_commands = state.applied_commands.with_command(cause)
    requested = replace(state, applied_commands=applied_commands)
    return _with_open_turn(requested, lambda turn: replace(turn, stop=stop))


def _stop_turn(state: ChatState) -> ChatState:
    """The turn's text is what the user saw of it last; then it is the user's turn."""
    turn = state.open_turn
    if turn is None:
        return state
    if turn.agent == SELECTOR:
        return close_selection(state)
    shown = [one.text for one in turn.responses if one.text and not one.hidden]
    stopped = _close_turn(state, turn.stopped_text or "".join(shown[-1:]), None)
    return replace(stopped, last_speaker=USER) if turn.waiting_inputs else stopped


def _consume(state: ChatState, consumed: UserMessagesConsumed) -> ChatState:
    waiting = tuple(one for one in state.waiting if one not in consumed.messages)
    return _with_open_turn(
        replace(state, waiting=waiting), lambda turn: with_consumed(turn, consumed)
    )


def _with_open_turn(state: ChatState, change: Callable[[Turn], Turn]) -> ChatState:
    """The state with its open turn changed; the same state if no turn is open."""
    if state.open_turn is None:
        return state
    return replace(state, open_turn=change(state.open_turn))


def _add_question(state: ChatState, question: Question) -> ChatState:
    if state.open_turn is None:
        return state
    return replace(
        state,
        asked_questions=state.asked_questions | {question.question_id},
        open_turn=with_question(state.open_turn, question),
    )


def _add_answer(state: ChatState, answer: Answer) -> ChatState:
    if state.open_turn is None:
        return state
    return replace(
        state,
        open_turn=with_answer(state.open_turn, answer),
        always_approved=_always_approved(state, answer),
    )


def _always_approved(state: ChatState, answer: Answer) -> Mapping[AgentTool, QuestionId]:
    """With the tool that an answer approves for the whole chat, where the question offered that."""
    if state.open_turn is None or not isinstance(answer, HumanAnswered):
        return state.always_approved
    asked = state.open_turn.question(answer.question_id)
    approval = asked.approval if isinstance(asked, HumanAsked) else None
    if asked is None or approval is None:
        return state.always_approved
    if not (approval.allow_always and answer.always and answer.approved):
        return state.always_approved
    return {**state.always_approved, (asked.agent, approval.tool): asked.question_id}
