"""Decide which events a command or the outcome of a turn appends to a chat."""

from collections.abc import Mapping, Sequence
from typing import Any

from contracts.cache_seed import cache_seed
from contracts.commands import (
    AnswerQuestion,
    AnswerUiTool,
    AttachFile,
    CancelChat,
    Command,
    EditMessage,
    EscalateQuestion,
    ExpireQuestion,
    ForkChat,
    ResumeChat,
    RetryAnswer,
    RewindChat,
    SendMessage,
    SetVariables,
    StartChat,
    StopAnswer,
)
from contracts.events import Event
from contracts.events.chat import (
    AttachmentUploaded,
    ChatForked,
    ChatStarted,
    Segment,
    ToolCodeChanged,
    UserMessageReceived,
    UserMessageRefused,
)
from contracts.events.turn import (
    SELECTOR,
    TurnCompleted,
    VariablesChanged,
)
from contracts.ids import Seq
from contracts.reserved_variables import is_reserved
from contracts.settable_variables import why_not_settable
from services.orchestrator.domain.chat_failures import fail
from services.orchestrator.domain.chat_list import ListCommand, change_list
from services.orchestrator.domain.evolution import close_selection
from services.orchestrator.domain.following_turn import after_selector, with_next_speaker
from services.orchestrator.domain.question_decisions import answer, answer_ui_tool, escalate, expire
from services.orchestrator.domain.rewind_decisions import rewind
from services.orchestrator.domain.state import ChatState
from services.orchestrator.domain.stop_decisions import cancel, stop_request, user_spoke_since
from services.orchestrator.domain.turn_steps import Completed, Done, Failed, Outcome, Suspended
from services.orchestrator.domain.waiting_messages import with_message_fates
from services.orchestrator.workflows.spec import USER, TextTrigger, Workflow


def decide(command: Command, state: ChatState, workflow: Workflow | None) -> list[Event]:
    """The events that a command appends; none if it was applied before or comes too late.

    `workflow` is the chat's, None if it cannot be loaded: then the chat fails.
    """
    events = _caused_by(command, state, workflow)
    if not events or isinstance(command, RetryAnswer | EditMessage | RewindChat):
        return events
    return with_next_speaker(events, state, workflow, command.command_id)


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
            selected = after_selector(text, close_selection(state), workflow)
            return with_message_fates(selected, state)
        case Completed(text, handoff):
            completed = TurnCompleted(
                turn=turn.number, agent=turn.agent, text=text, handoff=handoff
            )
            triggered = [] if workflow is None else _triggered_by_text(text, state, workflow)
            return with_next_speaker([*triggered, completed], state, workflow, "")


def tool_code_changed(state: ChatState, workflow: Workflow) -> list[Event]:
    """The event that a chat continues with other tool code; none if the code is the same.

    A chat that was started by a release without pinned versions continues with any code.
    """
    now, before = workflow.version, state.tools_version
    if now is None or state.workflow_version is None or before == now.tools:
        return []
    return [ToolCodeChanged(before=before, now=now.tools)]


def _caused_by(command: Command, state: ChatState, workflow: Workflow | None) -> list[Event]:
    if isinstance(command, ListCommand):
        return change_list(command, state)
    if state.is_deleted or state.is_erased or state.started == isinstance(command, StartChat):
        return []
    if command.command_id in state.applied_commands:
        return []
    if isinstance(command, RetryAnswer | EditMessage | RewindChat):
        return rewind(command, state, workflow)
    if state.has_ended:
        return []
    match command:
        case StartChat():
            return start_chat(command, workflow)
        case SendMessage(text=str(text)) | ForkChat(message=str(text)):
            return _message_sent(command, text, state, workflow)
        case ForkChat():
            return []  # `fork_chat` has begun the chat
        case AnswerQuestion():
            return answer(command, state)
        case AnswerUiTool():
            return answer_ui_tool(command, state, workflow)
        case ExpireQuestion():
            return expire(command, state, workflow)
        case EscalateQuestion():
            return escalate(command, state)
        case SetVariables():
            return _variables_set(command, state, workflow)
        case AttachFile():
            return _attached(command, state)
        case ResumeChat():
            return []  # handled by `resume`
        case StopAnswer(turn=seen):
            turn = state.running_turn
            if turn is None or turn.stop is not None or user_spoke_since(seen, turn, state):
                return []
            return [stop_request(turn, command, "stop")]
        case CancelChat(reason=reason):
            return cancel(command, state, reason)


def fork_chat(command: ForkChat, at: Seq, segments: Sequence[Segment]) -> ChatForked:
    """The first event of a fork at event `at` of its origin, which these segments lead to."""
    return ChatForked(
        user_id=command.user_id,
        origin=command.origin,
        seq=at,
        segments=list(segments),
        variables={"chat_id": command.chat_id},
        client_request_id=command.client_request_id,
    )


def _message_sent(
    command: SendMessage | ForkChat, text: str, state: ChatState, workflow: Workflow | None
) -> list[Event]:
    """The message; while an answer is running, what the workflow's policy makes of it.

    A message that follows a stop is the next one in any case, also while the turn has not ended.
    """
    user, turn = command.user_id, state.running_turn
    if turn is None:
        return [UserMessageReceived(user_id=user, text=text)]
    policy = "queue" if workflow is None or turn.stop is not None else workflow.while_running
    match policy:
        case "reject":
            return [UserMessageRefused(user_id=user, reason="answer_running")]
        case "interrupt":
            return [
                UserMessageReceived(user_id=user, text=text, while_running="interrupt"),
                stop_request(turn, command, "message"),
            ]
        case "queue" | "steer":
            return [UserMessageReceived(user_id=user, text=text, while_running=policy)]


def start_chat(command: StartChat, workflow: Workflow | None) -> list[Event]:
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
            ends_on_failure=workflow is not None and workflow.on_failure == "end",
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
    return [VariablesChanged(turn=state.turn_number, agent=USER, changed=changed)]


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
