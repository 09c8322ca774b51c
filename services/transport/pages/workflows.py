"""Which workflows there are, and what a page needs to know of them."""

from typing import Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from contracts.catalogue import ToolCard, WorkflowCard
from contracts.subjects import token
from services.transport import cursors, themes
from services.transport.addresses import plain
from services.transport.desk import Desk
from services.transport.openapi import USER, Told, told

AnyRequest = Request[Any, Any, Any]
Json = dict[str, Any]

CARD = {
    "name": "HelloWorld",
    "workflow_name": "HelloWorld",
    "description": "Says hello.",
    "orchestration_pattern": "DefaultPattern",
    "startup_mode": "AgentDriven",
    "visual_agents": ["Greeter"],
}
TOOL = {
    "name": "show_blueprint",
    "description": "Show the blueprint.",
    "agents": ["Architect"],
    "component": "Blueprint",
    "mode": "artifact",
    "auto_invoke": False,
}
UI_TOOL = {
    "ui_tool_id": "show_blueprint",
    "component": "Blueprint",
    "mode": "artifact",
    "agent": "Architect",
    "workflow": "Generator",
}
ENDPOINTS = {
    "websocket": "/ws/{workflow_name}/{app_id}/{chat_id}/{user_id}",
    "input": "/chat/{app_id}/{chat_id}/{user_id}/input",
}
AVAILABLE = {
    "workflow_name": "HelloWorld",
    "available": True,
    "reason": None,
    "type": "DefaultPattern",
    "description": "Says hello.",
    "required_gates": [],
}


@get(
    ["/api/workflows", "/api/workflows/config"],
    opt=told(
        Told(
            "Every workflow on offer, by name.",
            {"HelloWorld": CARD},
            refusals=(503,),
            open_to="everyone",
        )
    ),
)
async def workflows(desk: NamedDependency[Desk]) -> Json:
    cards = await desk.workflows.listed()
    return {name: _card(card) for name, card in cards.items() if card.on_offer}


@get(
    "/api/workflows/diagnostics",
    opt=told(
        Told(
            "Workflows that did not load, or whose newest edit did not, and why.",
            {"Torn": ["agents.json: is not JSON"]},
            refusals=(503,),
            open_to="operators",
        )
    ),
)
async def diagnostics(desk: NamedDependency[Desk]) -> Json:
    cards = await desk.workflows.cards()
    return {name: card.problems for name, card in cards.items() if card.problems}


@get(
    "/api/workflows/{workflow_name:str}/transport",
    opt=told(
        Told(
            "How to talk to a workflow's chats.",
            {"workflow_name": "HelloWorld", "transport": "websocket", "endpoints": ENDPOINTS},
            refusals=(400, 404, 409, 503),
        )
    ),
)
async def transport_of(desk: NamedDependency[Desk], workflow_name: FromPath[str]) -> Json:
    card = await desk.workflows.offered(plain(workflow_name, "workflow_name"))
    return {
        "workflow_name": card.name,
        "transport": "websocket",
        "endpoints": ENDPOINTS,
    }


@get(
    "/api/workflows/{workflow_name:str}/tools",
    opt=told(
        Told(
            "The tools of a workflow, and which agents have them.",
            {"workflow_name": "Generator", "tools": [{**TOOL, "workflow": "Generator"}]},
            refusals=(400, 404, 409, 503),
        )
    ),
)
async def tools(desk: NamedDependency[Desk], workflow_name: FromPath[str]) -> Json:
    card = await desk.workflows.offered(plain(workflow_name, "workflow_name"))
    listed = [{**tool.model_dump(mode="json"), "workflow": card.name} for tool in card.tools]
    return {"workflow_name": card.name, "tools": listed}


@get(
    "/api/workflows/{workflow_name:str}/ui-tools",
    opt=told(
        Told(
            "Those tools that a component shows, once for each agent that has them.",
            {"workflow_name": "Generator", "ui_tools_count": 1, "ui_tools": [UI_TOOL]},
            refusals=(400, 404, 409, 503),
        )
    ),
)
async def ui_tools(desk: NamedDependency[Desk], workflow_name: FromPath[str]) -> Json:
    card = await desk.workflows.offered(plain(workflow_name, "workflow_name"))
    shown = [
        {**_ui_tool(tool), "agent": agent, "workflow": card.name}
        for tool in card.tools
        if tool.component is not None
        for agent in tool.agents
    ]
    return {"workflow_name": card.name, "ui_tools_count": len(shown), "ui_tools": shown}


@get(
    "/api/workflows/{app_id:str}/available",
    opt=told(
        Told(
            "Which workflows a user may start, and why not the others.",
            {"workflows": [AVAILABLE]},
            query=(USER,),
            refusals=(400, 503),
        )
    ),
)
async def available(
    desk: NamedDependency[Desk], request: AnyRequest, app_id: FromPath[str]
) -> Json:
    token(plain(app_id, "app_id"), "app_id")
    token(cursors.required(request.query_params.get("user_id"), "user_id"), "user_id")
    return {"workflows": [_available(card) for card in (await desk.workflows.listed()).values()]}


@get(
    "/api/themes/{app_id:str}",
    opt=told(
        Told(
            "How ChatUI looks for an app.",
            {"app_id": "acme", "theme": themes.DEFAULT, "source": "default"},
            refusals=(400,),
            open_to="everyone",
        )
    ),
)
async def theme(app_id: FromPath[str]) -> Json:
    app = plain(app_id, "app_id")
    token(app, "app_id")
    return {"app_id": app, "theme": themes.DEFAULT, "source": "default"}


HANDLERS = [workflows, diagnostics, transport_of, tools, ui_tools, available, theme]


def _available(card: WorkflowCard) -> Json:
    return {
        "workflow_name": card.name,
        "available": card.on_offer,
        "reason": None if card.on_offer else "; ".join(card.problems) or None,
        "type": card.pattern or "workflow",
        "description": card.description,
        "required_gates": [],
    }


def _card(card: WorkflowCard) -> Json:
    return {
        **card.model_dump(mode="json", exclude={"problems", "warnings", "tools", "outputs"}),
        "workflow_name": card.name,
        "orchestration_pattern": card.pattern,
        "initial_message": None,
        "chat_pane_agents": card.visual_agents,
        "artifact_agents": [],
        "inline_component_agents": _showing(card, "inline"),
        "artifact_component_agents": _showing(card, "artifact"),
        "structured_outputs": {"registry": card.outputs},
        "tools": {tool.name: tool.model_dump(mode="json") for tool in card.tools},
        "ui_tools": {t.name: _ui_tool(t) for t in card.tools if t.component is not None},
    }


def _ui_tool(tool: ToolCard) -> Json:
    return {"ui_tool_id": tool.name, "component": tool.component, "mode": tool.mode or "inline"}


def _showing(card: WorkflowCard, mode: str) -> list[str]:
    """The agents that have a tool with such a component, in the workflow's order."""
    having = {agent for tool in card.tools if tool.mode == mode for agent in tool.agents}
    return [agent for agent in card.agents if agent in having]
