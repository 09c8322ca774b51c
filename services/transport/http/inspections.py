"""HTTP routes that show operators model calls as sent and workflows with prompts, and make drafts."""

import zlib

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from nats.aio.client import Client
from pydantic import ValidationError

from contracts import subjects
from contracts.ids import Seq, WorkflowName, new_message_id
from contracts.inspection import (
    DraftAsked,
    InspectionFound,
    InspectionRequested,
    ModelCallAsked,
    WorkflowAsked,
)
from contracts.workflow_graph import Graph
from services.chassis.jetstream.subscription import ask
from services.transport.auth.principal import Principal
from services.transport.context import RequestContext
from services.transport.errors import ApiError
from services.transport.http.api_document import documented
from services.transport.http.models.inspections import (
    DraftAnswer,
    DraftRequest,
    ModelCallPage,
    WorkflowPicture,
    WorkflowSource,
)
from services.transport.http.parameters import (
    AppIdPath,
    ChatIdPath,
    SeqPath,
    UserIdQuery,
    WorkflowPath,
)
from services.transport.http.raw_events import require_raw_events
from services.transport.path_segments import chat_key, decode_segment

ANSWER_SECONDS = 20.0
"""How long an orchestrator may take: it may load a workflow."""
RETRY_SECONDS = 2.0


@get(
    "/api/chats/{app_id:str}/{chat_id:str}/model-calls/{seq:int}",
    **documented("Traces", "A model call exactly as it was sent", 400, 404, open_to="operators"),
)
async def model_call(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    seq: SeqPath,
    user_id: UserIdQuery,
) -> ModelCallPage:
    """By the `seq` of its `turn.model_requested`, of a chat of the operator's own, as for whole events.
    An orchestrator makes it from the log; 503 is the answer where none does."""
    require_raw_events(context)
    key = chat_key(app_id, chat_id)
    await context.chats.find(key, user=user_id)
    asked = ModelCallAsked(app_id=key.app, chat_id=key.chat, seq=Seq(seq))
    found = await inspect(context.services.gateway.nc, InspectionRequested(asked=asked))
    if found.model_call is None:
        raise ApiError("MODEL_CALL_NOT_FOUND", "seq", found.problem or "is no model request")
    return ModelCallPage(model_call=found.model_call)


@get(
    "/api/workflows/{workflow_name:str}/graph",
    **documented("Workflows", "The agents of a workflow and who follows whom", 400, 404, 409),
)
async def workflow_graph(
    context: NamedDependency[RequestContext], workflow_name: WorkflowPath
) -> WorkflowPicture:
    name = decode_segment(workflow_name, "workflow_name")
    card = await context.services.workflows.startable(name)
    is_operator = context.identity.has_scope("operator")
    graph = card.graph if is_operator else without_labels(card.graph)
    settable = [name for name, components in card.settable.items() if not components]
    return WorkflowPicture(workflow_name=card.name, graph=graph, settable=settable)


@get(
    "/api/workflows/{workflow_name:str}/source",
    **documented("Workflows", "A workflow with its prompts", 400, 404, 409, open_to="operators"),
)
async def workflow_source(
    context: NamedDependency[RequestContext], workflow_name: WorkflowPath
) -> WorkflowSource:
    """As an orchestrator has loaded it; 503 is the answer where none does."""
    require_raw_events(context)
    require_every_app(context)
    name = WorkflowName(decode_segment(workflow_name, "workflow_name"))
    await context.services.workflows.startable(name)
    asked = InspectionRequested(asked=WorkflowAsked(workflow_name=name))
    found = await inspect(context.services.gateway.nc, asked)
    if found.workflow is None:
        raise ApiError("WORKFLOW_NOT_FOUND", "workflow_name", found.problem or "is not loaded")
    return WorkflowSource(
        **found.workflow.model_dump(exclude={"agents"}), agents=found.workflow.agents
    )


@post(
    "/api/workflows/{workflow_name:str}/draft",
    status_code=200,
    **documented(
        "Workflows", "An edited copy of a workflow to try out", 400, 404, 409, open_to="operators"
    ),
)
async def draft_workflow(
    context: NamedDependency[RequestContext],
    workflow_name: WorkflowPath,
    data: JSONBody[DraftRequest],
) -> DraftAnswer:
    """Kept in the memory of an orchestrator, where ENVIRONMENT is development; else 409. Prompts, models,
    handoffs and the demo may be edited, not what names code, programs or variables of the environment.
    Equal edits have an equal name."""
    require_every_app(context)
    name = WorkflowName(decode_segment(workflow_name, "workflow_name"))
    await context.services.workflows.startable(name)
    asked = DraftAsked(
        workflow_name=name, files=data.files, variables=data.variables, model=data.model
    )
    found = await inspect(context.services.gateway.nc, InspectionRequested(asked=asked))
    if found.draft is None:
        raise ApiError("DRAFTS_OFF", "workflow_name", found.problem or "cannot be edited")
    context.services.workflows.forget()
    return DraftAnswer(**found.draft.model_dump())


def require_every_app(context: RequestContext) -> None:
    """Workflows belong to all apps: an operator of single apps does not see or edit them."""
    identity = context.identity
    if isinstance(identity, Principal) and identity.apps:
        raise ApiError("NOT_YOURS", "token", "names an app, and workflows belong to all")


def without_labels(graph: Graph) -> Graph:
    """The graph as users see it: conditions of handoffs are for models."""
    edges = tuple(edge.model_copy(update={"label": ""}) for edge in graph.edges)
    return graph.model_copy(update={"edges": edges})


async def inspect(nc: Client, request: InspectionRequested) -> InspectionFound:
    """What an orchestrator answers. Raises ApiError where none does, and NatsUnavailableError."""
    data = request.model_dump_json().encode()
    if len(data) > nc.max_payload:
        raise ApiError("MESSAGE_TOO_LARGE", "body", "is larger than a message of NATS")
    answer_subject = subjects.inspected(new_message_id())
    try:
        answer = await ask(nc, subjects.INSPECTIONS, data, answer_subject, ANSWER_SECONDS)
    except TimeoutError:
        raise _unavailable("no orchestrator answered in time") from None
    if answer is None:
        raise _unavailable("no orchestrator is running")
    try:
        return InspectionFound.model_validate_json(zlib.decompress(answer.data))
    except ValidationError:
        raise _unavailable("an orchestrator of another release answered") from None


def _unavailable(problem: str) -> ApiError:
    return ApiError("SERVICE_UNAVAILABLE", "orchestrator", problem, retry_after=RETRY_SECONDS)


HANDLERS = [model_call, workflow_graph, workflow_source, draft_workflow]
