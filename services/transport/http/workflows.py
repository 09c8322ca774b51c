"""Routes that list workflows and themes."""

from litestar import get
from litestar.di import NamedDependency

from contracts.catalogue import ToolCard, WorkflowCard
from contracts.ids import AgentName, AppId, WorkflowName
from contracts.subjects import token
from services.transport.auth.principal import require_owner
from services.transport.chats.catalogue import not_loaded
from services.transport.context import RequestContext
from services.transport.http import themes
from services.transport.http.api_document import documented
from services.transport.http.models.workflows import (
    AppTheme,
    AvailableWorkflows,
    StructuredOutputs,
    ToolConfig,
    UiToolConfig,
    WorkflowAvailability,
    WorkflowConfig,
    WorkflowStats,
    WorkflowTool,
    WorkflowTools,
    WorkflowTransport,
    WorkflowUiTool,
    WorkflowUiTools,
)
from services.transport.http.parameters import AppIdPath, UserIdQuery, WorkflowPath
from services.transport.path_segments import decode_segment

TAG = "Workflows"
CARD_ERRORS = (400, 404, 409)


@get(
    ["/api/workflows", "/api/workflows/config"],
    **documented(TAG, "The workflows that can be started, by name", 503, open_to="everyone"),
)
async def workflows(
    context: NamedDependency[RequestContext],
) -> dict[WorkflowName, WorkflowConfig]:
    cards = await context.services.workflows.without_general()
    return {card.name: _config(card) for card in cards.values() if card.on_offer}


@get(
    "/api/workflows/diagnostics",
    **documented(TAG, "What is wrong in workflow folders, by workflow", open_to="operators"),
)
async def diagnostics(
    context: NamedDependency[RequestContext],
) -> dict[WorkflowName, list[str]]:
    """Workflows that did not load, and those of which the newest edit did not."""
    cards = await context.services.workflows.cards()
    return {card.name: card.problems for card in cards.values() if card.problems}


@get(
    "/api/workflows/{workflow_name:str}/transport",
    **documented(TAG, "How to talk to the chats of a workflow", *CARD_ERRORS),
)
async def transport_info(
    context: NamedDependency[RequestContext], workflow_name: WorkflowPath
) -> WorkflowTransport:
    card = await _startable(context, workflow_name)
    return WorkflowTransport(workflow_name=card.name)


@get(
    "/api/workflows/{workflow_name:str}/tools",
    **documented(TAG, "The tools of a workflow, and the agents that have them", *CARD_ERRORS),
)
async def tools(
    context: NamedDependency[RequestContext], workflow_name: WorkflowPath
) -> WorkflowTools:
    card = await _startable(context, workflow_name)
    found = [WorkflowTool(**tool.model_dump(), workflow=card.name) for tool in card.tools]
    return WorkflowTools(workflow_name=card.name, tools=found)


@get(
    "/api/workflows/{workflow_name:str}/ui-tools",
    **documented(TAG, "The tools of a workflow that show a component", *CARD_ERRORS),
)
async def ui_tools(
    context: NamedDependency[RequestContext], workflow_name: WorkflowPath
) -> WorkflowUiTools:
    card = await _startable(context, workflow_name)
    found = [
        WorkflowUiTool(**_ui_tool(tool).model_dump(), agent=agent, workflow=card.name)
        for tool in card.tools
        if tool.component is not None
        for agent in tool.agents
    ]
    return WorkflowUiTools(workflow_name=card.name, ui_tools_count=len(found), ui_tools=found)


@get(
    "/api/workflows/{app_id:str}/available",
    **documented(TAG, "Which workflows a user may start, and why not the others", 400),
)
async def available(
    context: NamedDependency[RequestContext], app_id: AppIdPath, user_id: UserIdQuery
) -> AvailableWorkflows:
    token(decode_segment(app_id, "app_id"), "app_id")
    token(user_id, "user_id")
    cards = await context.services.workflows.without_general()
    return AvailableWorkflows(workflows=[_availability(card) for card in cards.values()])


@get(
    "/api/workflows/{app_id:str}/{workflow_name:str}/stats",
    **documented(
        TAG,
        "The statistics of an app's workflow, over all its chats",
        400,
        open_to="administrators",
    ),
)
async def workflow_stats(
    context: NamedDependency[RequestContext], app_id: AppIdPath, workflow_name: WorkflowPath
) -> WorkflowStats:
    """From persistence; 503 where it does not answer in time. Zeros where there is no chat."""
    app = AppId(decode_segment(app_id, "app_id"))
    workflow = WorkflowName(decode_segment(workflow_name, "workflow_name"))
    token(app, "app_id")
    token(workflow, "workflow_name")
    require_owner(context.identity, app, None)
    found = await context.read_models.workflow_stats(app, workflow)
    return WorkflowStats.of(app, workflow, found)


@get(
    "/api/themes/{app_id:str}",
    sync_to_thread=False,
    **documented(TAG, "How ChatUI looks for an app", 400, open_to="everyone"),
)
def theme(app_id: AppIdPath) -> AppTheme:
    app = AppId(decode_segment(app_id, "app_id"))
    token(app, "app_id")
    return AppTheme(app_id=app, theme=themes.DEFAULT)


HANDLERS = [
    workflows,
    diagnostics,
    transport_info,
    tools,
    ui_tools,
    available,
    workflow_stats,
    theme,
]


async def _startable(context: RequestContext, workflow_name: str) -> WorkflowCard:
    name = decode_segment(workflow_name, "workflow_name")
    return await context.services.workflows.startable(name)


def _availability(card: WorkflowCard) -> WorkflowAvailability:
    return WorkflowAvailability(
        workflow_name=card.name,
        available=card.on_offer,
        reason=None if card.on_offer else not_loaded(card.name),
        type=card.pattern or "workflow",
        description=card.description,
    )


def _config(card: WorkflowCard) -> WorkflowConfig:
    return WorkflowConfig(
        name=card.name,
        description=card.description,
        pattern=card.pattern,
        startup_mode=card.startup_mode,
        human_in_the_loop=card.human_in_the_loop,
        max_turns=card.max_turns,
        initial_message_to_user=card.initial_message_to_user,
        agents=card.agents,
        visual_agents=card.visual_agents,
        model=card.model,
        demo=card.demo,
        version=card.version,
        general=card.general,
        workflow_name=card.name,
        orchestration_pattern=card.pattern,
        chat_pane_agents=card.visual_agents,
        inline_component_agents=_agents_showing(card, "inline"),
        artifact_component_agents=_agents_showing(card, "artifact"),
        structured_outputs=StructuredOutputs(registry=card.outputs),
        tools={tool.name: ToolConfig(**tool.model_dump()) for tool in card.tools},
        ui_tools={t.name: _ui_tool(t) for t in card.tools if t.component is not None},
    )


def _ui_tool(tool: ToolCard) -> UiToolConfig:
    return UiToolConfig(ui_tool_id=tool.name, component=tool.component, mode=tool.mode or "inline")


def _agents_showing(card: WorkflowCard, mode: str) -> list[AgentName]:
    """The agents that have a tool with such a component, in the workflow's order."""
    owners = {agent for tool in card.tools if tool.mode == mode for agent in tool.agents}
    return [agent for agent in card.agents if agent in owners]
