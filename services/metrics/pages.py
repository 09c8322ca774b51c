"""The performance pages and the Prometheus page, over the board."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from contracts.ids import AppId, ChatId
from services.metrics.board import Aggregate, Board, Snapshot, snapshot
from services.metrics.observations import Chat

Clock = Callable[[], datetime]
TEXT_FORMAT = "text/plain; version=0.0.4"  # Litestar adds the character set


def build_pages(board: Board, registry: CollectorRegistry, clock: Clock) -> list[HTTPRouteHandler]:
    """The pages; `app_id` narrows each to one tenant."""

    @get("/metrics/perf/aggregate", sync_to_thread=False)
    def aggregate(app_id: FromQuery[AppId | None] = None) -> Aggregate:
        return board.aggregate(clock(), app_id)

    @get("/metrics/perf/chats", sync_to_thread=False)
    def chats(app_id: FromQuery[AppId | None] = None) -> list[Snapshot]:
        return board.snapshots(clock(), app_id)

    @get("/metrics/perf/chats/{chat_path:path}", sync_to_thread=False)
    def chat(chat_path: FromPath[str], app_id: FromQuery[AppId | None] = None) -> Snapshot:
        name = ChatId(chat_path.removeprefix("/"))  # a path, because an id may hold slashes
        return snapshot(_the_one(board.named(name, app_id)), clock())

    @get("/metrics/prometheus", media_type=TEXT_FORMAT, sync_to_thread=False)
    def prometheus() -> bytes:
        return generate_latest(registry)

    return [aggregate, chats, chat, prometheus]


def _the_one(found: list[Chat]) -> Chat:
    match found:
        case [chat]:
            return chat
        case []:
            raise HTTPException(status_code=404, detail="chat_id: no such chat is tracked")
        case _:
            raise HTTPException(
                status_code=409, detail="app_id: needed, several apps have a chat of this id"
            )


def refuse(_: Request[Any, Any, Any], trouble: HTTPException) -> Response[dict[str, str]]:
    """Every refusal in one form: `{"detail": ...}`."""
    return Response(
        {"detail": trouble.detail}, status_code=trouble.status_code, headers=trouble.headers
    )
