"""Frames of a client's session that are no events of its chat: where it stands, what it started."""

from dataclasses import dataclass

from contracts.ids import ChatKey, Seq, UserId, WorkflowName
from contracts.wire.frames import (
    BlockedWorkflow,
    ChatMetaData,
    ContextSwitchedData,
    ForkStartedData,
    LastArtifact,
    LaunchedWorkflow,
    WorkflowBatchStartedData,
    WorkflowBlockedData,
    WorkflowStartedData,
)
from services.transport.protocol.chat_projection import STATUS_NUMBER, ChatView
from services.transport.protocol.frame_encoding import Frame


@dataclass(frozen=True, slots=True)
class Launched:
    """A chat that was started from within another one."""

    key: ChatKey
    workflow: WorkflowName
    user: UserId
    label: str | None


@dataclass(frozen=True, slots=True)
class Blocked:
    """A workflow that was not started, and why."""

    workflow: WorkflowName
    message: str
    code: str


LaunchResult = Launched | Blocked


def chat_meta(view: ChatView) -> Frame:
    """The first frame of every connection."""
    data = ChatMetaData(
        chat_id=view.key.chat,
        workflow_name=view.workflow_name,
        app_id=view.key.app,
        user_id=view.user,
        cache_seed=view.seed,
        last_artifact=last_artifact(view),
        status=STATUS_NUMBER[view.status],
        chat_status=view.status,
        last_sequence=view.last_seq,
        created_at=view.created_at.isoformat(),
        origin_chat_id=None if view.origin is None else view.origin.chat_id,
        origin_sequence=None if view.origin is None else view.origin.last,
    )
    return Frame(data, time=view.last_updated_at)


def last_artifact(view: ChatView) -> LastArtifact | None:
    """What ChatUI opens again after a reload."""
    artifact = view.last_artifact
    if artifact is None:
        return None
    display = {"workflow_name": view.workflow_name, "display": "artifact", "mode": "artifact"}
    return LastArtifact(
        ui_tool_id=artifact.ui_tool_id,
        event_id=artifact.question_id,
        component_type=artifact.component,
        workflow_name=view.workflow_name,
        payload={**view.artifact_payload, **display},
        updated_at=artifact.shown_at.isoformat(),
    )


def context_switched(previous: ChatView, current: ChatView) -> Frame:
    artifact = current.last_artifact
    return Frame(
        ContextSwitchedData(
            from_chat_id=previous.key.chat,
            to_chat_id=current.key.chat,
            chat_id=current.key.chat,
            workflow_name=current.workflow_name,
            artifact_id=None if artifact is None else artifact.question_id,
            app_id=current.key.app,
        )
    )


def fork_started(
    key: ChatKey, workflow: WorkflowName, user: UserId, origin: ChatKey, last: Seq
) -> Frame:
    return Frame(
        ForkStartedData(
            chat_id=key.chat,
            workflow_name=workflow,
            app_id=key.app,
            user_id=user,
            origin_chat_id=origin.chat,
            origin_sequence=last,
        )
    )


def launch_result(result: LaunchResult) -> Frame:
    match result:
        case Launched():
            return Frame(WorkflowStartedData(**_launched(result).model_dump()))
        case Blocked():
            return Frame(WorkflowBlockedData(**_blocked(result).model_dump()))


def batch_result(results: list[LaunchResult]) -> Frame:
    launched = [_launched(one) for one in results if isinstance(one, Launched)]
    blocked = [_blocked(one) for one in results if isinstance(one, Blocked)]
    return Frame(WorkflowBatchStartedData(count=len(launched), workflows=launched, blocked=blocked))


def _launched(result: Launched) -> LaunchedWorkflow:
    return LaunchedWorkflow(
        chat_id=result.key.chat,
        workflow_name=result.workflow,
        app_id=result.key.app,
        user_id=result.user,
        label=result.label,
    )


def _blocked(result: Blocked) -> BlockedWorkflow:
    return BlockedWorkflow(
        workflow_name=result.workflow, message=result.message, error_code=result.code
    )
