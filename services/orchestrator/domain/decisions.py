"""Decide which events a command or the outcome of a turn appends to a chat."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from contracts.approvals import Verdict, verdict_of
from contracts.cache_seed import cache_seed
from contracts.commands import (
    AnswerQuestion,
    AnswerUiTool,
    AttachFile,
    CancelChat,
    Command,
    EscalateQuestion,
    ExpireQuestion,
    ResumeChat,
    SendMessage,
    SetVariables,
    StartChat,
    StopAnswer,
)
from contracts.events import Event
from contracts.events.chat import (
    AttachmentUploaded,
    ChatCancelled,
    ChatCompleted,
    ChatFailed,
    ChatStarted,
    CommandGivenUp,
    ToolCodeChanged,
    TurnLimitReported,
    UserMessageReceived,
    UserMessageRefused,
    UserMessagesConsumed,
)
from contracts.events.human import (
    Approval,
    HumanAnswered,
    HumanAsked,
    QuestionEscalated,
    QuestionExpired,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.parts import TextPart
from contracts.events.run import RunClaimed
from contracts.events.turn import (
    RUNTIME,
    SELECTOR,
    Occasion,
    SpeakerSelected,
    TextInterrupted,
    ToolReturned,
    TurnCompleted,
    TurnFailed,
    TurnStopped,
    TurnStopRequested,
    VariablesChanged,
)
from contracts.ids import DeliveryId, QuestionId, delivery_of
from contracts.reserved_variables import is_reserved
from contracts.settable_variables import why_not_settable
from services.orchestrator.domain.speaker_selection import (
    Finish,
    HandoffCycle,
    Next,
    Speaker,
    after_selection,
    next_speaker,
    turn_limit,
)
from services.orchestrator.domain.state import (
    ChatState,
    LifecycleOccasion,
    applied,
    close_selection,
    remaining_lifecycle_tools,
)
from services.orchestrator.domain.turn import Question, Turn, UserInput
from services.orchestrator.domain.turn_steps import Completed, Done, Failed, Outcome, Suspended
from services.orchestrator.workflows.spec import USER, AnswerTrigger, TextTrigger, Workflow

WORKFLOW_UNAVAILABLE = Failed(
    "WORKFLOW_UNAVAILABLE", "The workflow of this chat is not available or cannot be loaded."
)
VALUE_LOST = Failed(
    "VALUE_LOST", "A large value of this chat is missing in storage, so it cannot continue."
)
EVENT_TOO_LARGE = Failed("NOT_KEPT", "A step of this chat is too large to be stored.")
QUESTION_EXPIRED = Failed("QUESTION_EXPIRED", "A question was not answered in time.")
GIVEN_UP = Failed("GIVEN_UP", "This chat failed repeatedly and is not retried any more.")


STOPPED_CALL = "The user stopped the answer before this call returned."
"""The error of a tool call that was running when the user stopped its turn."""
STOPPED_IN_DOUBT = f"{STOPPED_CALL} It is not known whether it took effect."
"""The same for a tool that acts once: the call is in doubt."""
NOT_BEGUN = "The user stopped the answer before this call began."


class FencedError(Exception):
    """A later delivery of the same command runs this chat: this delivery must stop."""


def decide(command: Command, state: ChatState, workflow: Workflow | None) -> list[Event]:
    """The events that a command appends; none if it was applied before or comes too late.

    `workflow` is the chat's, None if it cannot be loaded: then the chat fails.
    """
    events = _caused_by(command, state, workflow)
    if not events:
        return []
    return _with_next_speaker(events, state, workflow, command.command_id)


def conclude(outcome: Outcome, state: ChatState, workflow: Workflow | None) -> list[Event]:
    """The events that end the open turn and start what follows.

    None if no turn is open, or if the user has stopped it: `stop` ends it.
    """
    turn = state.open_turn
    if turn is None or state.ended or turn.stop is not None:
        return []
    match outcome:
        case Suspended() | Done():
            return []
        case Failed():
            return fail(outcome, state)
        case Completed(text) if turn.agent == SELECTOR:
            selected = _selected(text, close_selection(state), workflow)
            return _with_message_fates(selected, state)
        case Completed(text, handoff):
            completed = TurnCompleted(
                turn=turn.number, agent=turn.agent, text=text, handoff=handoff
            )
            triggered = [] if workflow is None else _triggered_by_text(text, state, workflow)
            return _with_next_speaker([*triggered, completed], state, workflow, "")


def stop(
    state: ChatState, workflow: Workflow | None, interrupted: Sequence[TextInterrupted] = ()
) -> list[Event]:
    """The events that end a turn that the user has stopped; none if there is none.

    `interrupted` is what was shown of its open model call. Calls without a result get one, open
    questions are closed. A message that waits begins the next turn; otherwise it is the user's turn.
    """
    turn = state.running_turn
    if turn is None or turn.stop is None:
        return []
    asked = turn.stop
    if asked.by == "cancel":
        cancelled = ChatCancelled(user_id=asked.user_id, reason=asked.reason)
        return _with_message_fates([*interrupted, cancelled], state)
    events: list[Event] = [
        *interrupted,
        *_stopped_calls(turn),
        *(QuestionExpired(question_id=one.question_id) for one in turn.unanswered),
        TurnStopped(turn=turn.number, agent=turn.agent, user_id=asked.user_id, by=asked.by),
    ]
    if turn.waiting_inputs:
        return _with_next_speaker(events, state, workflow, "")
    return [*events, SpeakerSelected(turn=state.turns + 1, agent=USER, by="stopped")]


def _stopped_calls(turn: Turn) -> Iterator[ToolReturned]:
    """Results for the tool calls that have none when the turn is stopped."""
    for call, unfinished in turn.unfinished_calls:
        yield _stopped_call(turn, call, unfinished.id, unfinished.name, None)
    results, last = turn.tool_results, max(len(turn.responses) - 1, 0)
    for one in turn.invocations:
        if one.tool_call_id not in results:
            yield _stopped_call(turn, last, one.tool_call_id, one.name, one.occasion)


def _stopped_call(
    turn: Turn, call: int, tool_call: str, name: str, occasion: Occasion | None
) -> ToolReturned:
    """The result of a call that did not return: in doubt, if it acts once and had begun."""
    dispatch = turn.dispatches.get(tool_call)
    in_doubt = dispatch is not None and dispatch.effect == "once"
    text = STOPPED_IN_DOUBT if in_doubt else NOT_BEGUN if dispatch is None else STOPPED_CALL
    return ToolReturned(
        turn=turn.number,
        call=call,
        agent=turn.agent,
        tool_call_id=tool_call,
        name=name,
        status="unknown" if in_doubt else "error",
        parts=[TextPart(text=text)],
        error=None if in_doubt else text,
        occasion=occasion,
        resolved_by="policy" if in_doubt else None,
    )


def fail(failure: Failed, state: ChatState) -> list[Event]:
    """The events that end a chat with a failure; none if it has ended or never started."""
    if state.ended or not state.started:
        return []
    failed: list[Event] = [ChatFailed(code=failure.code, message=failure.message)]
    if (turn := state.open_turn) is not None and turn.agent != USER:
        turn_failed = TurnFailed(
            turn=turn.number, agent=turn.agent, code=failure.code, message=failure.message
        )
        failed.insert(0, turn_failed)
    return _with_message_fates(failed, state)


def tool_code_changed(state: ChatState, workflow: Workflow) -> list[Event]:
    """The event that a chat continues with other tool code; none if the code is the same.

    A chat that was started by a release without pinned versions continues with any code.
    """
    now, before = workflow.version, state.tools_version
    if now is None or state.workflow_version is None or before == now.tools:
        return []
    return [ToolCodeChanged(before=before, now=now.tools)]


def claim(state: ChatState, delivery: DeliveryId) -> list[Event]:
    """The event by which a delivery takes over what an earlier delivery of its message started.

    None if the chat is quiet or another message owns it. Raises FencedError if a later delivery
    has claimed the chat.
    """
    if state.owner is None or state.owner.message != delivery.message:
        return []
    if is_fenced(state, delivery):
        raise FencedError(f"{state.runner} runs this chat")
    return [RunClaimed(runner=delivery.runner, attempt=delivery.attempt, previous=state.runner)]


def resume(command: ResumeChat, state: ChatState, delivery: DeliveryId) -> list[Event]:
    """The event by which the audit's command takes over a chat whose owner's message is gone.

    None if the chat has another owner than the audit found.
    """
    if state.owner is None or state.owner.message != command.owner:
        return []
    return [RunClaimed(runner=delivery.runner, attempt=delivery.attempt, previous=state.runner)]


def is_fenced(state: ChatState, delivery: DeliveryId) -> bool:
    """Whether a later delivery of the same message has appended since."""
    latest = None if state.runner is None else delivery_of(state.runner)
    return (
        latest is not None
        and latest.message == delivery.message
        and latest.attempt > delivery.attempt
    )


def fail_unavailable(state: ChatState) -> list[Event]:
    """The events that end a chat whose workflow is not available, lifecycle tools included."""
    return _fail_without_tools(WORKFLOW_UNAVAILABLE, state)


def fail_lost_value(state: ChatState) -> list[Event]:
    """The events that end a chat of which only the beginning of a value is known."""
    return _fail_without_tools(VALUE_LOST, state)


def _fail_without_tools(failed: Failed, state: ChatState) -> list[Event]:
    return [*fail(failed, state), *skip_lifecycle_tools("after_chat", state)]


def give_up(command: Command, state: ChatState, delivery: DeliveryId) -> list[Event]:
    """The events that record that a command is not retried any more, before its message is removed.

    If the command owns the chat, the chat fails and its lifecycle tools are skipped. A StartChat
    that was never applied starts a chat that has failed. For any other command that was not
    applied, CommandGivenUp prevents that an earlier delivery, still running, applies it later.
    """
    if is_owner(command, state, delivery):
        return _fail_without_tools(GIVEN_UP, state)
    match command:
        case StartChat() if not state.started:
            return [
                *_started(command, None),
                ChatFailed(code=GIVEN_UP.code, message=GIVEN_UP.message),
            ]
        case StartChat() | ResumeChat() | ExpireQuestion() | EscalateQuestion():
            return []
        case _ if state.ended or _is_applied(command, state):
            return []
        case _:
            return [CommandGivenUp(user_id=command.user_id, command=command.name)]


def is_owner(command: Command, state: ChatState, delivery: DeliveryId) -> bool:
    """Whether a command's message runs the chat, or is to take it over from one that is gone."""
    owner = state.owner
    return owner is not None and (
        owner.message == delivery.message
        or (isinstance(command, ResumeChat) and owner.message == command.owner)
    )


def reason_to_retry(command: Command, state: ChatState) -> str | None:
    """Why a command that has no effect now must be retried; None if it never can have one.

    A command is only dropped for a reason that stays true: the log may have been read from a
    replica that is behind.
    """
    match command:
        case StartChat() | ResumeChat() | ExpireQuestion() | EscalateQuestion():
            return None
        case AnswerQuestion(question_id=question) | AnswerUiTool(question_id=question):
            if state.ended or question in state.asked_questions:
                return None
            return f"question {question} has not been asked"
        case _:
            return None if state.started else "the chat has not started"


def _is_applied(command: Command, state: ChatState) -> bool:
    match command:
        case AnswerQuestion(question_id=question) | AnswerUiTool(question_id=question):
            return question in state.asked_questions and not any(
                one.question_id == question for one in _open_questions(state)
            )
        case AttachFile(attachment_id=attachment):
            return any(one.attachment_id == attachment for one in state.attachments)
        case _:
            return command.command_id in state.applied_commands


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


def _caused_by(command: Command, state: ChatState, workflow: Workflow | None) -> list[Event]:
    if state.ended or state.started == isinstance(command, StartChat):
        return []
    if command.command_id in state.applied_commands:
        return []
    match command:
        case StartChat():
            return _started(command, workflow)
        case SendMessage():
            return _message_sent(command, state, workflow)
        case AnswerQuestion():
            return _answered(command, state)
        case AnswerUiTool(question_id=question, response=response):
            if not isinstance(_answerable(command, state), UiToolRequested):
                return []
            return [
                UiToolAnswered(
                    question_id=question,
                    user_id=command.user_id,
                    response=response,
                    role=command.role,
                ),
                *_triggered_by_answer(question, response, state, workflow),
            ]
        case ExpireQuestion(question_id=question):
            return _expired(question, state, workflow)
        case EscalateQuestion(question_id=question):
            return _escalated(question, state)
        case SetVariables():
            return _variables_set(command, state, workflow)
        case AttachFile():
            return _attached(command, state)
        case ResumeChat():
            return []  # handled by `resume`
        case StopAnswer(turn=seen):
            turn = state.running_turn
            if turn is None or turn.stop is not None or _user_spoke_since(seen, turn, state):
                return []
            return [_stop_request(turn, command, "stop")]
        case CancelChat(reason=reason):
            return _cancelled(command, state, reason)


def _message_sent(command: SendMessage, state: ChatState, workflow: Workflow | None) -> list[Event]:
    """The message; while an answer is running, what the workflow's policy makes of it.

    A message that follows a stop is the next one in any case, also while the turn has not ended.
    """
    user, text, turn = command.user_id, command.text, state.running_turn
    if turn is None:
        return [UserMessageReceived(user_id=user, text=text)]
    policy = "queue" if workflow is None or turn.stop is not None else workflow.while_running
    match policy:
        case "reject":
            return [UserMessageRefused(user_id=user, reason="answer_running")]
        case "interrupt":
            return [
                UserMessageReceived(user_id=user, text=text, while_running="interrupt"),
                _stop_request(turn, command, "message"),
            ]
        case "queue" | "steer":
            return [UserMessageReceived(user_id=user, text=text, while_running=policy)]


def _stop_request(
    turn: Turn, command: Command, by: Literal["stop", "message", "cancel"], reason: str = ""
) -> TurnStopRequested:
    return TurnStopRequested(
        turn=turn.number, agent=turn.agent, user_id=command.user_id, by=by, reason=reason
    )


def _user_spoke_since(seen: int | None, turn: Turn, state: ChatState) -> bool:
    """Whether the open turn answers a later message than turn `seen`."""
    if seen is None or seen >= turn.number:
        return False
    for entry in reversed(state.conversation):
        if isinstance(entry, UserInput):
            return True
        if entry.number <= seen:
            break
    return False


def _cancelled(command: CancelChat, state: ChatState, reason: str) -> list[Event]:
    """The end of the chat; where text of a model call may be shown, its runner ends the chat."""
    turn = state.running_turn
    if turn is None or turn.open_request is None or turn.agent == SELECTOR:
        return [ChatCancelled(user_id=command.user_id, reason=reason)]
    if turn.stop is not None and turn.stop.by == "cancel":
        return []
    return [_stop_request(turn, command, "cancel", reason)]


def _answerable(command: AnswerQuestion | AnswerUiTool, state: ChatState) -> Question | None:
    """The question that a command answers, if it is open and its user may answer it."""
    turn = state.open_turn
    asked = _open_question(command.question_id, state)
    if turn is None or asked is None:
        return None
    return asked if turn.admits(asked, state.user, command.user_id, command.role) else None


def _answered(command: AnswerQuestion, state: ChatState) -> list[Event]:
    asked = _answerable(command, state)
    if not isinstance(asked, HumanAsked):
        return []
    approval = asked.approval
    if command.digest is not None and (approval is None or approval.digest != command.digest):
        return []
    verdict = None if approval is None else _verdict(command, approval)
    return [
        HumanAnswered(
            question_id=asked.question_id,
            user_id=command.user_id,
            text=command.text,
            role=command.role,
            approved=None if verdict is None else verdict.approved,
            always=verdict is not None and verdict.always,
        )
    ]


def _verdict(command: AnswerQuestion, approval: Approval) -> Verdict | None:
    if command.approved is None:
        return verdict_of(command.text, allow_always=approval.allow_always)
    always = command.always and command.approved and approval.allow_always
    return Verdict(command.approved, always)


def _escalated(question: QuestionId, state: ChatState) -> list[Event]:
    """The question's escalation; none if it is not open, has none, or was escalated already."""
    asked = _open_question(question, state)
    if asked is None or asked.escalation is None or state.open_turn is None:
        return []
    if question in state.open_turn.escalated:
        return []
    return [QuestionEscalated(question_id=question, to=asked.escalation.to)]


def _started(command: StartChat, workflow: Workflow | None) -> list[Event]:
    declared = {} if workflow is None else dict(workflow.variables)
    version = None if workflow is None else workflow.version
    events: list[Event] = [
        ChatStarted(
            user_id=command.user_id,
            seed=cache_seed(command.app_id, command.chat_id),
            client_request_id=command.client_request_id,
            variables={
                **declared,
                **_settable(command.variables, workflow),
                **_runtime_variables(command),
            },
            workflow_version=None if version is None else version.manifests,
            tools_version=None if version is None else version.tools,
            before_chat=[] if workflow is None else [tool.name for tool in workflow.before_chat],
            after_chat=[] if workflow is None else [tool.name for tool in workflow.after_chat],
        )
    ]
    if command.message:
        events.append(UserMessageReceived(user_id=command.user_id, text=command.message))
    return events


def _variables_set(
    command: SetVariables, state: ChatState, workflow: Workflow | None
) -> list[Event]:
    """The change of the variables that get another value; what users may not set is ignored."""
    changed = {
        name: value
        for name, value in _settable(command.variables, workflow, command.component).items()
        if not (name in state.variables and state.variables[name] == value)
    }
    if not changed:
        return []
    return [VariablesChanged(turn=state.turns, agent=USER, changed=changed)]


def _attached(command: AttachFile, state: ChatState) -> list[Event]:
    if any(one.attachment_id == command.attachment_id for one in state.attachments):
        return []
    return [
        AttachmentUploaded(
            attachment_id=command.attachment_id,
            user_id=command.user_id,
            filename=command.filename,
            size_bytes=command.size_bytes,
            content_type=command.content_type,
            digest=command.digest,
            intent=command.intent,
            bundle_path=command.bundle_path,
        )
    ]


def _settable(
    variables: Mapping[str, Any], workflow: Workflow | None, component: str | None = None
) -> dict[str, Any]:
    settable = {} if workflow is None else workflow.settable
    return {
        name: value
        for name, value in variables.items()
        if not is_reserved(name) and why_not_settable(name, settable, component) is None
    }


def _runtime_variables(command: StartChat) -> dict[str, Any]:
    """The variables that the runtime sets in every chat."""
    return {
        "workflow_name": command.workflow_name,
        "app_id": command.app_id,
        "chat_id": command.chat_id,
        "user_id": command.user_id,
    }


def _triggered_by_text(text: str, state: ChatState, workflow: Workflow) -> list[Event]:
    """The change of variables that the text of the open turn triggers."""
    turn = state.open_turn
    assert turn is not None  # noqa: S101  `conclude` has checked
    changed = {
        trigger.variable: trigger.value
        for trigger in workflow.triggers
        if isinstance(trigger, TextTrigger)
        and trigger.agent == turn.agent
        and trigger.matches(text)
    }
    if not changed:
        return []
    return [VariablesChanged(turn=turn.number, agent=turn.agent, changed=changed)]


def _triggered_by_answer(
    question: QuestionId, response: Mapping[str, Any], state: ChatState, workflow: Workflow | None
) -> list[Event]:
    """The change of variables that the user's answer to a UI tool triggers."""
    asked = _open_question(question, state)
    if workflow is None or not isinstance(asked, UiToolRequested):
        return []
    changed = {}
    for trigger in workflow.triggers:
        if isinstance(trigger, AnswerTrigger) and trigger.tool == asked.ui_tool_id:
            value = _value_at(response, trigger.key)
            if value is not None:
                changed[trigger.variable] = value if trigger.value is None else trigger.value
    if not changed:
        return []
    return [VariablesChanged(turn=asked.turn, agent=asked.agent, changed=changed)]


def _value_at(value: Any, path: str) -> Any:
    """The value at a dotted path, None if there is none."""
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _expired(question: QuestionId, state: ChatState, workflow: Workflow | None) -> list[Event]:
    """The default answer to a question that expires, or the failure of the chat without one."""
    asked = _open_question(question, state)
    match asked:
        case None:
            return []
        case HumanAsked(default=str(text), approval=approval):
            return [
                HumanAnswered(
                    question_id=question,
                    user_id=state.user,
                    text=text,
                    by_default=True,
                    approved=None if approval is None else False,
                )
            ]
        case UiToolRequested(default=dict(response)):
            return [
                UiToolAnswered(
                    question_id=question, user_id=state.user, response=response, by_default=True
                ),
                *_triggered_by_answer(question, response, state, workflow),
            ]
        case _:
            return [QuestionExpired(question_id=question), *fail(QUESTION_EXPIRED, state)]


def _open_questions(state: ChatState) -> tuple[Question, ...]:
    return state.open_turn.unanswered if state.open_turn else ()


def _open_question(question: QuestionId, state: ChatState) -> Question | None:
    return next((q for q in _open_questions(state) if q.question_id == question), None)


def _with_next_speaker(
    events: list[Event], state: ChatState, workflow: Workflow | None, cause: str
) -> list[Event]:
    """The events, followed by the next speaker or the end of the chat if no turn is open then."""
    updated = applied(state, events, cause=cause)
    if updated.ended is None and updated.open_turn is None:
        follows = (
            [_workflow_unavailable()]
            if workflow is None
            else _events_of(next_speaker(workflow, updated), updated, workflow)
        )
        events = [*events, *follows]
    return _with_message_fates(events, state)


def _with_message_fates(events: list[Event], state: ChatState) -> list[Event]:
    """The events, and what becomes by them of the messages that wait.

    An agent whose turn begins reads them; a chat that ends before refuses them.
    """
    if not state.waiting:
        return events
    for place, event in enumerate(events):
        match event:
            case SpeakerSelected(agent=agent, turn=turn) if agent not in (USER, SELECTOR):
                waiting = list(state.waiting)
                return [*events, UserMessagesConsumed(turn=turn, agent=agent, messages=waiting)]
            case ChatCompleted() | ChatFailed() | ChatCancelled():
                refused = [
                    UserMessageRefused(user_id=state.user, reason="chat_ended", message=message)
                    for message in state.waiting
                ]
                return [*events[:place], *refused, *events[place:]]
            case _:
                pass
    return events


def _selected(answer: str, state: ChatState, workflow: Workflow | None) -> list[Event]:
    if workflow is None:
        return [_workflow_unavailable()]
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
            return [ChatFailed(code="HANDOFF_CYCLE", message=message)]


def _turn_limit_events(follows: Speaker, state: ChatState, workflow: Workflow) -> list[Event]:
    limit = turn_limit(workflow, state, follows)
    if limit is None:
        return []
    return [TurnLimitReported(turns=limit.turns, max_turns=workflow.max_turns, waits=limit.waits)]


def _workflow_unavailable() -> Event:
    return ChatFailed(code=WORKFLOW_UNAVAILABLE.code, message=WORKFLOW_UNAVAILABLE.message)
