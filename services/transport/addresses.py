"""Paths keep their percent signs until they are split, so that an id may hold a slash."""

from typing import Any
from urllib.parse import quote, unquote

from contracts.ids import AppId, ChatId, ChatKey
from services.chassis.process import Asgi
from services.transport.refusals import malformed


def undecoded(app: Asgi) -> Asgi:
    """Hand the path on as it was sent: an ASGI server decodes it whole, `%2F` included."""

    async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket") and scope.get("raw_path"):
            scope["path"] = scope["raw_path"].decode("latin-1")
        await app(scope, receive, send)

    return answer


def plain(segment: str, field: str) -> str:
    """The id in a path's segment. Raises RefusalError."""
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError as broken:
        raise malformed(field, "must be percent-encoded UTF-8") from broken


def key_of(app_id: str, chat_id: str) -> ChatKey:
    """The chat that two segments of a path name. Raises RefusalError."""
    return ChatKey(AppId(plain(app_id, "app_id")), ChatId(plain(chat_id, "chat_id")))


def socket_of(workflow: str, app: str, chat: str, user: str) -> str:
    return "/ws/" + "/".join(quote(part, safe="") for part in (workflow, app, chat, user))
