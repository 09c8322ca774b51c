"""HTTP routes of the performance snapshots and of the Prometheus exposition."""

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
from services.metrics.metrics_state import (
    Aggregate,
    MetricsState,
    PerformanceSnapshot,
    StalledChat,
    performance_of,
)
from services.metrics.observations import ChatMetrics

Clock = Callable[[], datetime]
TEXT_FORMAT = "text/plain; version=0.0.4"  # Litestar adds the character set


def build_routes(
    state: MetricsState, registry: CollectorRegistry, clock: Clock, stalled_seconds: float
) -> list[HTTPRouteHandler]:
    """The route handlers; the query parameter `app_id` restricts each to one tenant."""

    @get("/metrics/perf/aggregate", sync_to_thread=False)
    def aggregate(app_id: FromQuery[AppId | None] = None) -> Aggregate:
        return state.aggregate(clock(), app_id)

    @get("/metrics/perf/stalled", sync_to_thread=False)
    def stalled(app_id: FromQuery[AppId | None] = None) -> list[StalledChat]:
        return state.stalled(clock(), stalled_seconds, app_id)

    @get("/metrics/perf/chats", sync_to_thread=False)
    def chats(app_id: FromQuery[AppId | None] = None) -> list[PerformanceSnapshot]:
        return state.snapshots(clock(), app_id)

    @get("/metrics/perf/chats/{chat_path:path}", sync_to_thread=False)
    def chat(
        chat_path: FromPath[str], app_id: FromQuery[AppId | None] = None
    ) -> PerformanceSnapshot:
        name = ChatId(chat_path.removeprefix("/"))  # a path, because an id may hold slashes
        return performance_of(_only(state.named(name, app_id)), clock())

    @get("/metrics/prometheus", media_type=TEXT_FORMAT, sync_to_thread=False)
    def prometheus() -> bytes:
        return generate_latest(registry)

    return [aggregate, stalled, chats, chat, prometheus]


def _only(found: list[ChatMetrics]) -> ChatMetrics:
    match found:
        case [chat]:
            return chat
        case []:
            raise HTTPException(status_code=404, detail="chat_id: this chat is not tracked")
        case _:
            raise HTTPException(
                status_code=409,
                detail="app_id: required, because several apps have a chat with this id",
            )


def error_response(_: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, str]]:
    """The body of every error: `{"detail": ...}`."""
    return Response({"detail": error.detail}, status_code=error.status_code, headers=error.headers)
