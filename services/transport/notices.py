"""What a client is told that is no event of its chat: where it stands, and where else it could go."""

from dataclasses import dataclass

from contracts.ids import ChatKey, UserId, WorkflowName
from services.transport.chatview import STATUS_NUMBER, ChatView
from services.transport.frames import Data, Frame


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


Launch = Launched | Blocked


def meta(view: ChatView) -> Frame:
    """The first frame on every socket."""
    data = {
        "kind": "chat_meta",
        "chat_id": view.key.chat,
        "workflow_name": view.workflow,
        "app_id": view.key.app,
        "user_id": view.user,
        "has_children": False,
        "cache_seed": view.seed,
        "chat_exists": True,
        "last_artifact": last_artifact(view),
        "status": STATUS_NUMBER[view.status],
        "chat_status": view.status,
        "last_sequence": view.last_seq,
        "created_at": view.started.isoformat(),
    }
    return Frame("chat_meta", data, time=view.last_time, top=data)


def last_artifact(view: ChatView) -> Data | None:
    """What ChatUI opens again after a reload."""
    if view.artifact is None:
        return None
    shown = {"workflow_name": view.workflow, "display": "artifact", "mode": "artifact"}
    return {
        "ui_tool_id": view.artifact.ui_tool_id,
        "event_id": view.artifact.event_id,
        "component_type": view.artifact.component,
        "display": "artifact",
        "workflow_name": view.workflow,
        "payload": {**view.artifact.payload, **shown},
        "updated_at": view.artifact.shown.isoformat(),
    }


def context_switched(left: ChatView, entered: ChatView) -> Frame:
    data = {
        "from_chat_id": left.key.chat,
        "to_chat_id": entered.key.chat,
        "chat_id": entered.key.chat,
        "workflow_name": entered.workflow,
        "artifact_id": None if entered.artifact is None else entered.artifact.event_id,
        "app_id": entered.key.app,
    }
    return Frame("chat.context_switched", data)


def launched(launch: Launch) -> Frame:
    kind = "chat.workflow_started" if isinstance(launch, Launched) else "chat.prereq_blocked"
    return Frame(kind, _launch(launch))


def batch_launched(launches: list[Launch]) -> Frame:
    begun = [_launch(one) for one in launches if isinstance(one, Launched)]
    blocked = [_launch(one) for one in launches if isinstance(one, Blocked)]
    data = {"count": len(begun), "workflows": begun, "blocked": blocked}
    return Frame("chat.workflow_batch_started", data)


def _launch(launch: Launch) -> Data:
    match launch:
        case Launched(key=key, workflow=workflow, user=user, label=label):
            named = {"chat_id": key.chat, "workflow_name": workflow, "app_id": key.app}
            return {**named, "user_id": user, "label": label}
        case Blocked(workflow=workflow, message=message, code=code):
            return {"workflow_name": workflow, "message": message, "error_code": code}
