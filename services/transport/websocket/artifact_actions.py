"""Actions of artifacts: launch a workflow, or update the variables of the chat."""

from contracts.ids import QuestionId
from contracts.wire.client_messages import (
    ArtifactAction,
    LaunchAction,
    UpdateAction,
    ui_variables,
)
from contracts.wire.frames import (
    ArtifactActionAcceptedData,
    ArtifactStateUpdatedData,
    NavigateData,
)
from services.transport.context import RequestContext
from services.transport.errors import bad_request
from services.transport.protocol.chat_projection import ChatView
from services.transport.protocol.frame_encoding import Frame
from services.transport.protocol.session_frames import Blocked, LaunchResult, launch_result
from services.transport.websocket.launch import launch


async def handle_action(
    context: RequestContext, view: ChatView, message: ArtifactAction
) -> list[Frame]:
    """Carry out the action; the frames that answer it. Raises ApiError."""
    match message.data:
        case LaunchAction(payload=run):
            result = await launch(context, view, run)
            return [
                _launch_frame(result, view),
                _acknowledgement(message, accepted=not isinstance(result, Blocked)),
            ]
        case UpdateAction(payload=variables, artifact_id=artifact):
            if not view.is_whole:
                view = await context.chats.find(view.key)
            if QuestionId(artifact) not in view.components:
                raise bad_request("data.artifact_id", "is not a component of this chat")
            await context.chats.set_variables(view, ui_variables(variables), "data.payload")
            updated = ArtifactStateUpdatedData(artifact_id=artifact, state_delta=variables)
            return [Frame(updated), _acknowledgement(message, accepted=True)]


def _launch_frame(launch: LaunchResult, view: ChatView) -> Frame:
    if isinstance(launch, Blocked):
        return launch_result(launch)
    return Frame(
        NavigateData(chat_id=launch.key.chat, workflow_name=launch.workflow, app_id=view.key.app)
    )


def _acknowledgement(message: ArtifactAction, *, accepted: bool) -> Frame:
    return Frame(
        ArtifactActionAcceptedData(
            action=message.data.action,
            artifact_id=message.data.artifact_id,
            status="accepted" if accepted else "rejected",
            correlation_id=message.correlation_id,
        )
    )
