"""A user's chats in a row."""

from typing import Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from contracts.catalogue import ChatSummary
from contracts.ids import AppId, UserId
from services.transport import cursors
from services.transport.addresses import plain
from services.transport.desk import Desk
from services.transport.general import OPEN
from services.transport.openapi import EXAMPLES, USER, Query, Told, told

AnyRequest = Request[Any, Any, Any]
Json = dict[str, Any]

NEWEST = 20
USUAL = 200
MOST = 500

SESSION = {
    "chat_id": EXAMPLES["chat_id"],
    "workflow_name": "HelloWorld",
    "status": "waiting",
    "title": "Hello",
    "created_at": "2026-11-23T12:00:00+00:00",
    "last_updated_at": "2026-11-23T12:00:09+00:00",
    "last_sequence": 12,
    "last_artifact": None,
}


@get(
    "/api/chats/{app_id:str}/{workflow_name:str}",
    opt=told(
        Told(
            "A user's chats of one workflow, newest first.",
            {"chat_ids": [EXAMPLES["chat_id"]]},
            query=(USER, Query("limit", f"1 to {MOST}; {NEWEST} unless told.", NEWEST)),
            refusals=(400, 503),
        )
    ),
)
async def chats_of_workflow(
    desk: NamedDependency[Desk],
    request: AnyRequest,
    app_id: FromPath[str],
    workflow_name: FromPath[str],
) -> Json:
    user = cursors.required(request.query_params.get("user_id"), "user_id")
    most = cursors.count(request.query_params.get("limit"), "limit", NEWEST, MOST)
    workflow = plain(workflow_name, "workflow_name")
    mine = await desk.chats.of_user(AppId(plain(app_id, "app_id")), UserId(user))
    found = [one.chat_id for one in mine if one.workflow_name == workflow]
    return {"chat_ids": found[:most]}


@get(
    "/api/sessions/list/{app_id:str}/{user_id:str}",
    opt=told(
        Told(
            "A user's chats, newest first.",
            {"sessions": [SESSION], "count": 1},
            query=(Query("limit", f"1 to {MOST}; {USUAL} unless told.", USUAL),),
            refusals=(400, 503),
        )
    ),
)
async def sessions(
    desk: NamedDependency[Desk],
    request: AnyRequest,
    app_id: FromPath[str],
    user_id: FromPath[str],
) -> Json:
    most = cursors.count(request.query_params.get("limit"), "limit", USUAL, MOST)
    app, user = AppId(plain(app_id, "app_id")), UserId(plain(user_id, "user_id"))
    found = [_session(one) for one in (await _of_workflows(desk, app, user))[:most]]
    return {"sessions": found, "count": len(found)}


@get(
    "/api/sessions/recent/{app_id:str}/{user_id:str}",
    opt=told(
        Told(
            "The chat to go on with: the newest that has not ended.",
            {"found": True, **SESSION},
            refusals=(400, 503),
        )
    ),
)
async def recent(
    desk: NamedDependency[Desk], app_id: FromPath[str], user_id: FromPath[str]
) -> Json:
    app, user = AppId(plain(app_id, "app_id")), UserId(plain(user_id, "user_id"))
    open_still = (one for one in await _of_workflows(desk, app, user) if one.status in OPEN)
    newest = next(open_still, None)
    return {"found": False} if newest is None else {"found": True, **_session(newest)}


async def _of_workflows(desk: Desk, app: AppId, user: UserId) -> list[ChatSummary]:
    """A user's chats but for the general ones, which have a list of their own."""
    general = await desk.workflows.general_name()
    return [one for one in await desk.chats.of_user(app, user) if one.workflow_name != general]


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


HANDLERS = [chats_of_workflow, sessions, recent]
