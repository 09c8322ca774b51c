"""The AG-UI route: one request starts or continues a run, and the run's events are the answer."""

from typing import Annotated

from ag_ui.core import RunAgentInput
from litestar import post
from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from litestar.params import Body
from litestar.response.base import ASGIResponse

from contracts.ids import AppId, Seq, UserId, WorkflowName
from contracts.subjects import token
from services.transport.agui.run_input import BODY_BYTES, parse_run_input
from services.transport.agui.start import RunTarget, start_run
from services.transport.agui.stream import MEDIA_TYPE, AguiRun, not_started_response
from services.transport.context import RequestContext
from services.transport.http.api_document import answer, documented
from services.transport.http.parameters import (
    AppIdPath,
    LastEventIdHeader,
    UserIdQuery,
    WorkflowPath,
)
from services.transport.http.sse import EventStream
from services.transport.path_segments import decode_segment
from services.transport.protocol.event_to_frames import Viewer

EXAMPLE_INPUT = {
    "threadId": "thread-1",
    "runId": "run-1",
    "messages": [{"id": "m-1", "role": "user", "content": "Hello"}],
}
EXAMPLE_EVENTS = 'data: {"type":"RUN_STARTED","threadId":"thread-1","runId":"run-1"}\n\n'

RunInputBody = Annotated[RunAgentInput, Body(examples=[Example(value=EXAMPLE_INPUT)])]


@post(
    "/agui/{app_id:str}/{workflow_name:str}",
    status_code=200,
    request_max_body_size=BODY_BYTES,
    **documented(
        "AG-UI",
        "Run an agent by AG-UI 1.0",
        *(400, 404, 409, 413),
        answers={
            200: answer(
                str, "The events of the run.", media_type=MEDIA_TYPE, example=EXAMPLE_EVENTS
            )
        },
    ),
)
async def run_agent(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    workflow_name: WorkflowPath,
    user_id: UserIdQuery,
    data: RunInputBody,
    last_event_id: LastEventIdHeader = None,
) -> ASGIResponse:
    """Events come from the cursor on: `Last-Event-ID`, else `forwardedProps.after`."""
    target = _target(app_id, workflow_name, user_id)
    cursor = None if last_event_id is None else Seq(last_event_id)
    run_input = parse_run_input(data, cursor, context.services.settings.max_message_bytes)
    started = await start_run(context, target, run_input)
    if started is None:
        return ASGIResponse(body=not_started_response(run_input), media_type=MEDIA_TYPE)
    viewer = Viewer(agents=await context.services.workflows.visible_agents(target.workflow))
    agui_run = AguiRun(context.services.gateway.events, run_input, started, viewer)
    return EventStream(context, started.view, viewer, started.state.seq, agui_run)


def _target(app_id: str, workflow_name: str, user_id: str) -> RunTarget:
    app, workflow = decode_segment(app_id, "app_id"), decode_segment(workflow_name, "workflow_name")
    token(app, "app_id")
    token(workflow, "workflow_name")
    token(user_id, "user_id")
    return RunTarget(AppId(app), WorkflowName(workflow), UserId(user_id))


HANDLERS = [run_agent]
