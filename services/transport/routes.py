"""The HTTP pages: requests become questions to the log and orders to the orchestrator."""

import json
from pathlib import Path
from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import File, Redirect
from litestar.response.base import ASGIResponse
from litestar.router import Router
from litestar.static_files import create_static_files_router

from contracts.catalogue import ChatSummary, WorkflowCard
from contracts.ids import AppId, ChatKey, UserId, WorkflowName
from contracts.seed import cache_seed
from contracts.subjects import token
from services.transport import cursors, inbound
from services.transport.addresses import plain, socket_of
from services.transport.chats import Started, chat_key
from services.transport.chatview import STATUS_NUMBER, ChatView
from services.transport.desk import Desk
from services.transport.feed import Viewer
from services.transport.inbound import AnswerBody, CancelBody, ComponentBody, InputBody, StartBody
from services.transport.refusals import RefusalError, malformed, unavailable
from services.transport.streaming import EventStream, page

AnyRequest = Request[Any, Any, Any]
Json = dict[str, Any]

CONSOLE = Path(__file__).parent / "console"
NEWEST = 20
LONGEST_WAIT = 30.0
ABSENT = {"CHAT_NOT_FOUND", "NOT_ALLOWED"}


@get("/api/workflows")
async def workflows(desk: NamedDependency[Desk]) -> Json:
    cards = await desk.workflows.cards()
    return {name: _card(card) for name, card in cards.items() if not card.problems}


@get("/api/workflows/diagnostics")
async def diagnostics(desk: NamedDependency[Desk]) -> Json:
    cards = await desk.workflows.cards()
    return {name: card.problems for name, card in cards.items() if card.problems}


@get("/api/workflows/{workflow_name:str}/transport")
async def transport_of(desk: NamedDependency[Desk], workflow_name: FromPath[str]) -> Json:
    card = await desk.workflows.offered(plain(workflow_name, "workflow_name"))
    return {
        "workflow_name": card.name,
        "transport": "websocket",
        "endpoints": {
            "websocket": "/ws/{workflow_name}/{app_id}/{chat_id}/{user_id}",
            "input": "/chat/{app_id}/{chat_id}/{user_id}/input",
        },
    }


@post("/api/chats/{app_id:str}/{workflow_name:str}/start", status_code=200)
async def start(
    desk: NamedDependency[Desk],
    request: AnyRequest,
    app_id: FromPath[str],
    workflow_name: FromPath[str],
) -> Response[Json]:
    app = AppId(plain(app_id, "app_id"))
    workflow = WorkflowName(plain(workflow_name, "workflow_name"))
    token(app, "app_id")
    token(workflow, "workflow_name")
    body = inbound.body(StartBody, await request.body(), desk.max_message_bytes)
    token(body.user_id, "user_id")
    await desk.workflows.offered(workflow)
    started = await desk.chats.start(app, workflow, body)
    answer = _started(started, workflow, body.user_id)
    return Response(answer, status_code=200 if started.stated else 202)


@get("/api/chats/{app_id:str}/{workflow_name:str}")
async def chats_of_workflow(
    desk: NamedDependency[Desk],
    request: AnyRequest,
    app_id: FromPath[str],
    workflow_name: FromPath[str],
) -> Json:
    user = request.query_params.get("user_id")
    if not user:
        raise malformed("user_id", "is required in the query")
    workflow = plain(workflow_name, "workflow_name")
    mine = await desk.chats.of_user(AppId(plain(app_id, "app_id")), UserId(user))
    found = [one.chat_id for one in mine if one.workflow_name == workflow]
    return {"chat_ids": found[:NEWEST]}


@get("/api/sessions/list/{app_id:str}/{user_id:str}")
async def sessions(
    desk: NamedDependency[Desk], app_id: FromPath[str], user_id: FromPath[str]
) -> Json:
    app, user = AppId(plain(app_id, "app_id")), UserId(plain(user_id, "user_id"))
    found = [_session(one) for one in await desk.chats.of_user(app, user)]
    return {"sessions": found, "count": len(found)}


@get("/api/chats/exists/{app_id:str}/{workflow_name:str}/{chat_id:str}")
async def exists(
    desk: NamedDependency[Desk],
    app_id: FromPath[str],
    workflow_name: FromPath[str],
    chat_id: FromPath[str],
) -> Json:
    return {"exists": await _looked_up(desk, app_id, workflow_name, chat_id) is not None}


@get("/api/chats/meta/{app_id:str}/{workflow_name:str}/{chat_id:str}")
async def meta(
    desk: NamedDependency[Desk],
    app_id: FromPath[str],
    workflow_name: FromPath[str],
    chat_id: FromPath[str],
) -> Json:
    view = await _looked_up(desk, app_id, workflow_name, chat_id)
    return {"exists": False} if view is None else _meta(view)


@get("/api/chats/{app_id:str}/{chat_id:str}/events")
async def events(
    desk: NamedDependency[Desk], request: AnyRequest, app_id: FromPath[str], chat_id: FromPath[str]
) -> ASGIResponse:
    """A chat as server-sent events, or as one page for those who ask for JSON."""
    asked, seen = request.query_params, request.headers.get("last-event-id")
    wait, user = asked.get("wait"), asked.get("user_id")
    if not user:
        raise malformed("user_id", "is required in the query")
    # The header is the newer one: a browser that comes back repeats the address it began with.
    after = cursors.cursor(seen or asked.get("after") or "0", "after")
    everything = cursors.wants_everything(asked.get("events"))
    patience = 0.0 if wait is None else cursors.seconds(wait, "wait", LONGEST_WAIT)
    view = await desk.chats.find(_key(app_id, chat_id), user=user)
    viewer = Viewer(everything=everything, agents=await desk.workflows.heard(view.workflow))
    if wait is not None or request.headers.get("accept", "").startswith("application/json"):
        return ASGIResponse(body=json.dumps(await page(desk, view, viewer, after, patience)))
    if view.ended is not None and after >= view.last_seq:
        return ASGIResponse(status_code=204)  # tells an EventSource not to come back
    return EventStream(desk, view, viewer, after)


@post("/api/user-input/submit", status_code=200)
async def answer(desk: NamedDependency[Desk], request: AnyRequest) -> Json:
    said = inbound.body(AnswerBody, await request.body(), desk.max_message_bytes)
    view = await desk.chats.of_question(said.input_request_id, "input_request_id")
    await desk.chats.answer(view, said.input_request_id, said.user_input)
    return {"status": "success", "message": "The answer was accepted."}


@post("/api/ui-tool/submit", status_code=200)
async def answer_component(desk: NamedDependency[Desk], request: AnyRequest) -> Json:
    said = inbound.body(ComponentBody, await request.body(), desk.max_message_bytes)
    view = await desk.chats.of_question(said.event_id, "event_id")
    await desk.chats.answer_component(view, said.event_id, said.response_data, "event_id")
    return {"status": "success", "message": "The response was accepted."}


@post("/api/chats/{app_id:str}/{chat_id:str}/cancel", status_code=200)
async def cancel(
    desk: NamedDependency[Desk], request: AnyRequest, app_id: FromPath[str], chat_id: FromPath[str]
) -> Json:
    said = inbound.body(CancelBody, await request.body(), desk.max_message_bytes)
    view = await desk.chats.find(_key(app_id, chat_id), user=said.user_id)
    await desk.chats.cancel(view, said.reason)
    return {"status": "accepted"}


@post("/chat/{app_id:str}/{chat_id:str}/{user_id:str}/input", status_code=200)
async def say(
    desk: NamedDependency[Desk],
    request: AnyRequest,
    app_id: FromPath[str],
    chat_id: FromPath[str],
    user_id: FromPath[str],
) -> Json:
    said = inbound.body(InputBody, await request.body(), desk.max_message_bytes)
    view = await desk.chats.find(_key(app_id, chat_id), user=plain(user_id, "user_id"))
    await desk.chats.say(view, said.message)
    return {"status": "accepted", "transport": None}


@get("/api/health")
async def health(desk: NamedDependency[Desk]) -> Json:
    if not desk.bus.nc.is_connected:
        raise unavailable()
    names = [name for name, card in (await desk.workflows.cards()).items() if not card.problems]
    rooms = len(desk.rooms)
    return {
        "status": "healthy",
        "simple_transport": True,
        "active_connections": {"websocket_connections": rooms, "total_connections": rooms},
        "workflows": names,
    }


@get(["/metrics/perf/{rest:path}", "/metrics/prometheus"])
async def numbers(desk: NamedDependency[Desk], request: AnyRequest) -> Redirect:
    if not desk.metrics_public_url:
        why = "metrics are served by the metrics service; METRICS_PUBLIC_URL is not set"
        raise RefusalError("NOT_ALLOWED", "path", why)
    query = request.scope["query_string"].decode("latin-1")
    path = request.scope["path"] + (f"?{query}" if query else "")
    return Redirect(desk.metrics_public_url.rstrip("/") + path, status_code=307)


@get("/", media_type=MediaType.HTML, sync_to_thread=False)
def console() -> File:
    return File(
        CONSOLE / "index.html",
        content_disposition_type="inline",
        headers={"cache-control": "no-cache"},
    )


HANDLERS: list[HTTPRouteHandler] = [
    workflows,
    diagnostics,
    transport_of,
    start,
    chats_of_workflow,
    sessions,
    exists,
    meta,
    events,
    answer,
    answer_component,
    cancel,
    say,
    health,
    numbers,
    console,
]


def console_files() -> Router:
    return create_static_files_router("/console", [CONSOLE])


def _key(app_id: str, chat_id: str) -> ChatKey:
    return chat_key(plain(app_id, "app_id"), plain(chat_id, "chat_id"))


async def _looked_up(desk: Desk, app_id: str, workflow_name: str, chat_id: str) -> ChatView | None:
    workflow = plain(workflow_name, "workflow_name")
    token(workflow, "workflow_name")
    try:
        return await desk.chats.find(_key(app_id, chat_id), workflow)
    except RefusalError as refusal:
        if refusal.code in ABSENT:
            return None
        raise


def _started(started: Started, workflow: WorkflowName, user: str) -> Json:
    app, chat = started.key
    return {
        "success": True,
        "chat_id": chat,
        "workflow_name": workflow,
        "app_id": app,
        "user_id": user,
        "websocket_url": socket_of(workflow, app, chat, user),
        "message": "Chat started." if started.stated else "Chat is about to start.",
        "reused": started.reused,
        "cache_seed": cache_seed(app, chat),
    }


def _card(card: WorkflowCard) -> Json:
    return {
        **card.model_dump(mode="json", exclude={"problems"}),
        "workflow_name": card.name,
        "orchestration_pattern": card.pattern,
        "initial_message": None,
        "chat_pane_agents": card.visual_agents,
        "artifact_agents": [],
        "inline_component_agents": [],
        "artifact_component_agents": [],
        "structured_outputs": {"registry": {}},
        "tools": {},
        "ui_tools": {},
    }


def _session(one: ChatSummary) -> Json:
    return {
        "chat_id": one.chat_id,
        "workflow_name": one.workflow_name,
        "status": one.status,
        "title": one.title,
        "created_at": one.created_at.isoformat(),
        "last_updated_at": one.updated_at.isoformat(),
        "last_sequence": one.last_seq,
        "last_artifact": None,
    }


def _meta(view: ChatView) -> Json:
    return {
        "exists": True,
        "chat_id": view.key.chat,
        "workflow_name": view.workflow,
        "app_id": view.key.app,
        "has_children": False,
        "cache_seed": view.seed,
        "status": STATUS_NUMBER[view.status],
        "chat_status": view.status,
        "last_sequence": view.last_seq,
        "created_at": view.started.isoformat(),
        "last_updated_at": view.last_time.isoformat(),
        "last_artifact": None,
        "artifact_instance_id": None,
        "artifact_state": None,
    }
