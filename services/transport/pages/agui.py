"""AG-UI: a run of an agent, asked for in one request and told as it happens."""

from typing import Any

from ag_ui.core import RunAgentInput
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from contracts.ids import AppId, UserId, WorkflowName
from contracts.subjects import token
from services.transport import cursors
from services.transport.addresses import plain
from services.transport.agui.asking import BODY_BYTES, asked
from services.transport.agui.entering import Place, enter
from services.transport.agui.running import MEDIA_TYPE, Run, not_begun
from services.transport.desk import Desk
from services.transport.feed import Viewer
from services.transport.openapi import USER, Told, told
from services.transport.streaming import EventStream

AnyRequest = Request[Any, Any, Any]

SAID = {
    "threadId": "thread-1",
    "runId": "run-1",
    "messages": [{"id": "m-1", "role": "user", "content": "Hello"}],
}
ANSWER = 'data: {"type":"RUN_STARTED","threadId":"thread-1","runId":"run-1"}\n\n'


@post(
    "/agui/{app_id:str}/{workflow_name:str}",
    status_code=200,
    request_max_body_size=BODY_BYTES,
    opt=told(
        Told(
            "A run of AG-UI 1.0: say something, answer interrupts, or go on from a cursor.",
            ANSWER,
            body=RunAgentInput,
            said=SAID,
            query=(USER,),
            refusals=(400, 404, 409, 413, 429, 503),
            media_type=MEDIA_TYPE,
        )
    ),
)
async def run(
    desk: NamedDependency[Desk],
    request: AnyRequest,
    app_id: FromPath[str],
    workflow_name: FromPath[str],
) -> ASGIResponse:
    """A run as server-sent events, from its cursor on: `Last-Event-ID`, else `forwardedProps.after`."""
    place = _place(request, app_id, workflow_name)
    last_id = request.headers.get("last-event-id")
    wanted = asked(await request.body(), last_id, desk.max_message_bytes)
    entered = await enter(desk, place, wanted)
    if entered is None:
        return ASGIResponse(body=not_begun(wanted), media_type=MEDIA_TYPE)
    viewer = Viewer(agents=await desk.workflows.heard(place.workflow))
    told_run = Run(desk.bus, wanted, entered, viewer)
    return EventStream(desk, entered.view, viewer, entered.standing.seq, told_run)


def _place(request: AnyRequest, app_id: str, workflow_name: str) -> Place:
    app, workflow = plain(app_id, "app_id"), plain(workflow_name, "workflow_name")
    user = cursors.required(request.query_params.get("user_id"), "user_id")
    token(app, "app_id")
    token(workflow, "workflow_name")
    token(user, "user_id")
    return Place(AppId(app), WorkflowName(workflow), UserId(user))


HANDLERS = [run]
