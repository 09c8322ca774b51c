"""Chats as things: begun, listed, looked up, followed."""

import json
from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from contracts.ids import AppId, WorkflowName
from contracts.seed import cache_seed
from contracts.subjects import token
from services.transport import cursors, inbound, notices
from services.transport.addresses import key_of, plain, socket_of
from services.transport.chats import Started
from services.transport.chatview import STATUS_NUMBER, ChatView
from services.transport.desk import Desk
from services.transport.feed import Viewer
from services.transport.inbound import StartBody
from services.transport.openapi import EXAMPLES, USER, Query, Told, told
from services.transport.refusals import RefusalError
from services.transport.signin.principal import refuse_unfit
from services.transport.streaming import EventStream, Frames, page

AnyRequest = Request[Any, Any, Any]
Json = dict[str, Any]

ABSENT = {"CHAT_NOT_FOUND", "NOT_ALLOWED"}
LONGEST_WAIT = 30.0

STARTED = {
    "success": True,
    "chat_id": EXAMPLES["chat_id"],
    "workflow_name": "HelloWorld",
    "app_id": "acme",
    "user_id": "ana",
    "websocket_url": f"/ws/HelloWorld/acme/{EXAMPLES['chat_id']}/ana",
    "message": "Chat started.",
    "reused": False,
    "cache_seed": 2914703201,
}
META = {
    "exists": True,
    "chat_id": EXAMPLES["chat_id"],
    "workflow_name": "HelloWorld",
    "app_id": "acme",
    "has_children": False,
    "cache_seed": 2914703201,
    "status": 0,
    "chat_status": "waiting",
    "last_sequence": 12,
    "created_at": "2026-11-23T12:00:00+00:00",
    "last_updated_at": "2026-11-23T12:00:09+00:00",
    "last_artifact": None,
    "artifact_instance_id": None,
    "artifact_state": None,
}
FRAME = {
    "type": "chat.text",
    "data": {"agent": "Greeter", "role": "assistant", "content": "Hello."},
    "agent": "Greeter",
    "seq": 5,
}
FOLLOWING = (
    USER,
    Query("after", "The seq of the last event seen; `Last-Event-ID` comes before it.", 0),
    Query("wait", "Answer one JSON page, after at most so many seconds.", 20.0),
    Query("events", "1 to have every event as it is stored, too.", 0),
)


@post(
    "/api/chats/{app_id:str}/{workflow_name:str}/start",
    status_code=200,
    opt=told(
        Told(
            "Begin a chat; an equal `client_request_id` means the same chat. 202: not begun yet.",
            STARTED,
            body=StartBody,
            said={"user_id": "ana", "client_request_id": "r-1", "message": "Hello"},
            refusals=(400, 404, 409, 413, 503),
        )
    ),
)
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


@get(
    "/api/chats/exists/{app_id:str}/{workflow_name:str}/{chat_id:str}",
    opt=told(Told("Whether there is such a chat.", {"exists": True}, refusals=(400, 503))),
)
async def exists(
    desk: NamedDependency[Desk],
    app_id: FromPath[str],
    workflow_name: FromPath[str],
    chat_id: FromPath[str],
) -> Json:
    return {"exists": await _looked_up(desk, app_id, workflow_name, chat_id) is not None}


@get(
    "/api/chats/meta/{app_id:str}/{workflow_name:str}/{chat_id:str}",
    opt=told(Told("A chat in short.", META, refusals=(400, 503))),
)
async def meta(
    desk: NamedDependency[Desk],
    app_id: FromPath[str],
    workflow_name: FromPath[str],
    chat_id: FromPath[str],
) -> Json:
    view = await _looked_up(desk, app_id, workflow_name, chat_id)
    return {"exists": False} if view is None else _meta(view)


@get(
    "/api/chats/{app_id:str}/{chat_id:str}/events",
    opt=told(
        Told(
            "A chat as server-sent events, or a page of them as JSON. 204: it has ended.",
            {"frames": [FRAME], "last_sequence": 5, "chat_status": "running"},
            query=FOLLOWING,
            refusals=(400, 404, 429, 503),
        )
    ),
)
async def events(
    desk: NamedDependency[Desk], request: AnyRequest, app_id: FromPath[str], chat_id: FromPath[str]
) -> ASGIResponse:
    """A chat as server-sent events, or as one page for those who ask for JSON."""
    asked, seen = request.query_params, request.headers.get("last-event-id")
    user, wait = cursors.required(asked.get("user_id"), "user_id"), asked.get("wait")
    # The header is the newer one: a browser that comes back repeats the address it began with.
    after = cursors.cursor(seen or asked.get("after") or "0", "after")
    everything = cursors.wants_everything(asked.get("events")) and desk.raw_events
    refuse_unfit(desk.who, "operators" if everything else "users")
    patience = 0.0 if wait is None else cursors.seconds(wait, "wait", LONGEST_WAIT)
    view = await desk.chats.find(key_of(app_id, chat_id), user=user)
    viewer = Viewer(everything=everything, agents=await desk.workflows.heard(view.workflow))
    if wait is not None or request.headers.get("accept", "").startswith("application/json"):
        return ASGIResponse(body=json.dumps(await page(desk, view, viewer, after, patience)))
    if view.ended is not None and after >= view.last_seq:
        return ASGIResponse(status_code=204)  # tells an EventSource not to come back
    return EventStream(desk, view, viewer, after, Frames(view))


async def _looked_up(desk: Desk, app_id: str, workflow_name: str, chat_id: str) -> ChatView | None:
    workflow = plain(workflow_name, "workflow_name")
    token(workflow, "workflow_name")
    try:
        return await desk.chats.find(key_of(app_id, chat_id), workflow)
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
        "last_artifact": notices.last_artifact(view),
        "artifact_instance_id": None if view.artifact is None else view.artifact.event_id,
        "artifact_state": None,
    }


HANDLERS = [start, exists, meta, events]
