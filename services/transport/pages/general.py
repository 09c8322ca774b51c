"""General chats: what a person asked without a workflow."""

from typing import Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from contracts.catalogue import ChatSummary
from contracts.codec import Fact
from contracts.events.chat import UserMessageReceived
from contracts.events.turn import ModelResponded
from contracts.ids import AppId, Seq, UserId
from services.transport import cursors
from services.transport.addresses import key_of, plain
from services.transport.chatview import PERSON, ChatView
from services.transport.desk import Desk
from services.transport.general import GeneralChat
from services.transport.openapi import EXAMPLES, Query, Told, told

AnyRequest = Request[Any, Any, Any]
Json = dict[str, Any]

LISTED = 50
MOST = 200

SESSION = {
    "chat_id": EXAMPLES["chat_id"],
    "label": "General Chat #1",
    "sequence": 1,
    "status": "waiting",
    "created_at": "2026-11-25T12:00:00+00:00",
    "last_updated_at": "2026-11-25T12:00:09+00:00",
    "last_sequence": 7,
}
MESSAGE = {
    "sequence": 3,
    "event_id": f"acme.{EXAMPLES['chat_id']}.3",
    "timestamp": "2026-11-25T12:00:01+00:00",
    "role": "user",
    "agent": "user",
    "agent_name": "user",
    "content": "What is sourdough?",
    "metadata": {"source": "general_agent"},
}


@get(
    "/api/general_chats/list/{app_id:str}/{user_id:str}",
    opt=told(
        Told(
            "A user's general chats, the newest first.",
            {"sessions": [SESSION], "count": 1},
            query=(Query("limit", f"1 to {MOST}; {LISTED} unless told.", LISTED),),
            refusals=(400, 503),
        )
    ),
)
async def general_chats(
    desk: NamedDependency[Desk],
    request: AnyRequest,
    app_id: FromPath[str],
    user_id: FromPath[str],
) -> Json:
    most = cursors.count(request.query_params.get("limit"), "limit", LISTED, MOST)
    app, user = AppId(plain(app_id, "app_id")), UserId(plain(user_id, "user_id"))
    found = [_session(*one) for one in (await desk.general.mine(app, user))[:most]]
    return {"sessions": found, "count": len(found)}


@get(
    "/api/general_chats/transcript/{app_id:str}/{general_chat_id:str}",
    opt=told(
        Told(
            "What was said in a general chat, in order.",
            {**SESSION, "app_id": "acme", "user_id": "ana", "messages": [MESSAGE]},
            query=(
                Query("after_sequence", "The sequence of the last message seen; -1 for none.", -1),
                Query("limit", f"1 to {MOST}, which is the default.", MOST),
                Query("user_id", "Whose it must be.", "ana"),
            ),
            refusals=(400, 404, 503),
        )
    ),
)
async def transcript(
    desk: NamedDependency[Desk],
    request: AnyRequest,
    app_id: FromPath[str],
    general_chat_id: FromPath[str],
) -> Json:
    asked = request.query_params
    after = asked.get("after_sequence") or "-1"
    cursor = Seq(0) if after == "-1" else cursors.cursor(after, "after_sequence")
    most = cursors.count(asked.get("limit"), "limit", MOST, MOST)
    general, view = await desk.general.find(key_of(app_id, general_chat_id), asked.get("user_id"))
    return {
        "chat_id": general.key.chat,
        "label": general.label,
        "sequence": general.number,
        "status": view.status,
        "app_id": general.key.app,
        "user_id": view.user,
        "created_at": view.started.isoformat(),
        "last_updated_at": view.last_time.isoformat(),
        "last_sequence": view.last_seq,
        "messages": await _messages(desk, view, cursor, most),
    }


async def _messages(desk: Desk, view: ChatView, after: Seq, most: int) -> list[Json]:
    found: list[Json] = []
    async for commit in desk.bus.events.read_from(view.key, after, known=view.place):
        for fact in commit.facts:
            if fact.envelope.seq > after:
                found += _said(fact)
                after = fact.envelope.seq
        if len(found) >= most:
            break
    return found[:most]


def _said(fact: Fact) -> list[Json]:
    match fact.event:
        case UserMessageReceived(text=text):
            return [_message(fact, "user", PERSON, text)]
        case ModelResponded(agent=agent, text=str(text), hidden=False) if text:
            return [_message(fact, "assistant", agent, text)]
        case _:
            return []


def _message(fact: Fact, role: str, agent: str, text: str) -> Json:
    return {
        "sequence": fact.envelope.seq,
        "event_id": fact.envelope.event_id,
        "timestamp": fact.envelope.time.isoformat(),
        "role": role,
        "agent": agent,
        "agent_name": agent,
        "content": text,
        "metadata": {"source": "general_agent"},
    }


def _session(general: GeneralChat, summary: ChatSummary) -> Json:
    return {
        "chat_id": general.key.chat,
        "label": general.label,
        "sequence": general.number,
        "status": summary.status,
        "created_at": summary.created_at.isoformat(),
        "last_updated_at": summary.updated_at.isoformat(),
        "last_sequence": summary.last_seq,
    }


HANDLERS = [general_chats, transcript]
