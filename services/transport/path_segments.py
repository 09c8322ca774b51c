"""Path and query parameters of requests: decode, parse, and report errors by field name."""

from typing import Any
from urllib.parse import quote, unquote

from contracts.ids import AppId, ChatId, ChatKey, Seq
from services.chassis.process.asgi_front import Asgi
from services.transport.errors import bad_request
from services.transport.protocol.history import MAX_EVENTS
from services.transport.protocol.validation import shown

MAX_DIGITS = 15
"""Digits of a cursor: a number that JSON clients read exactly."""


def keep_raw_path(app: Asgi) -> Asgi:
    """Route by the path as it was sent: an ASGI server decodes it, so an id could contain no slash."""

    async def handle(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket") and scope.get("raw_path"):
            scope["path"] = scope["raw_path"].decode("latin-1")
        await app(scope, receive, send)

    return handle


def decode_segment(segment: str, field: str) -> str:
    """The id in a percent-encoded path segment. Raises ApiError."""
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError as error:
        raise bad_request(field, "must be percent-encoded UTF-8") from error


def chat_key(app_id: str, chat_id: str) -> ChatKey:
    """The chat that two path segments name. Raises ApiError."""
    return ChatKey(
        AppId(decode_segment(app_id, "app_id")), ChatId(decode_segment(chat_id, "chat_id"))
    )


def websocket_path(workflow: str, app: str, chat: str, user: str) -> str:
    return "/ws/" + "/".join(quote(part, safe="") for part in (workflow, app, chat, user))


def parse_cursor(value: str, field: str) -> Seq:
    """The `seq` of the last event that a client has. Raises ApiError."""
    if not (value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS):
        raise bad_request(field, f"{shown(value)}, must be the `seq` of the last event seen, or 0")
    return Seq(int(value))


def parse_tail(value: str | None, after: str | None) -> int:
    """How many of the newest events a client asks for; 0 where it does not. Raises ApiError."""
    if value is None:
        return 0
    if after is not None:
        raise bad_request("tail", "only one of `after`, `tail` can be given")
    number = int(value) if value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS else 0
    if not 1 <= number <= MAX_EVENTS:
        raise bad_request("tail", f"{shown(value)}, must be a whole number from 1 to {MAX_EVENTS}")
    return number


def parse_raw_events(value: str | None) -> bool:
    """Whether a client asks for every event as it is stored. Raises ApiError."""
    if value not in (None, "", "0", "1"):
        raise bad_request("events", f"{shown(value)}, must be 0 or 1")
    return value == "1"
