"""What an artifact on the page asks for: another workflow, or that agents know its state."""

from contracts.ids import QuestionId
from services.transport.chatview import ChatView
from services.transport.desk import Desk
from services.transport.frames import Data, Frame
from services.transport.inbound import ArtifactAction, LaunchAction, UpdateAction, of_page
from services.transport.launching import launch
from services.transport.notices import Blocked, Launch, launched
from services.transport.refusals import malformed


async def act(desk: Desk, view: ChatView, said: ArtifactAction) -> list[Frame]:
    """Do it, and say what came of it. Raises RefusalError."""
    match said.data:
        case LaunchAction(payload=run):
            told = await launch(desk, view, run)
            return [_began(told, view), _ack(said, accepted=not isinstance(told, Blocked))]
        case UpdateAction(payload=delta, artifact_id=artifact):
            if QuestionId(artifact) not in view.components:
                raise malformed("data.artifact_id", "is no component of this chat")
            await desk.chats.set_variables(view, of_page(delta), "data.payload")
            updated: Data = {"artifact_id": artifact, "state_delta": delta}
            return [Frame("artifact.state.updated", updated), _ack(said, accepted=True)]


def _began(launch: Launch, view: ChatView) -> Frame:
    if isinstance(launch, Blocked):
        return launched(launch)
    data: Data = {
        "chat_id": launch.key.chat,
        "workflow_name": launch.workflow,
        "artifact_instance_id": None,
        "app_id": view.key.app,
    }
    return Frame("chat.navigate", data)


def _ack(said: ArtifactAction, *, accepted: bool) -> Frame:
    data: Data = {
        "action": said.data.action,
        "artifact_id": said.data.artifact_id,
        "status": "accepted" if accepted else "rejected",
    }
    named = {} if said.correlation_id is None else {"correlation_id": said.correlation_id}
    return Frame("ack.artifact_action", {**data, **named}, top=named)
