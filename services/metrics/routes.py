"""HTTP routes of the performance snapshots and of the Prometheus exposition."""

from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery

from contracts.ids import AppId, ChatId
from contracts.metrics_pages import MetricsPageRequested
from services.metrics.pages import Page, Pages


def build_routes(pages: Pages) -> list[HTTPRouteHandler]:
    """The route handlers; the query parameter `app_id` restricts each to one tenant."""

    @get("/metrics/perf/aggregate", sync_to_thread=False)
    def aggregate(app_id: FromQuery[AppId | None] = None) -> Response[bytes]:
        return _response(pages.render(MetricsPageRequested(page="aggregate", app_id=app_id)))

    @get("/metrics/perf/stalled", sync_to_thread=False)
    def stalled(app_id: FromQuery[AppId | None] = None) -> Response[bytes]:
        return _response(pages.render(MetricsPageRequested(page="stalled", app_id=app_id)))

    @get("/metrics/perf/chats", sync_to_thread=False)
    def chats(app_id: FromQuery[AppId | None] = None) -> Response[bytes]:
        return _response(pages.render(MetricsPageRequested(page="chats", app_id=app_id)))

    @get("/metrics/perf/chats/{chat_path:path}", sync_to_thread=False)
    def chat(chat_path: FromPath[str], app_id: FromQuery[AppId | None] = None) -> Response[bytes]:
        name = ChatId(chat_path.removeprefix("/"))  # a path, because an id may hold slashes
        return _response(
            pages.render(MetricsPageRequested(page="chat", app_id=app_id, chat_id=name))
        )

    @get("/metrics/perf/tenants", sync_to_thread=False)
    def tenants(app_id: FromQuery[AppId | None] = None) -> Response[bytes]:
        return _response(pages.render(MetricsPageRequested(page="tenants", app_id=app_id)))

    @get("/metrics/perf/streams", sync_to_thread=False)
    def streams() -> Response[bytes]:
        return _response(pages.render(MetricsPageRequested(page="streams")))

    @get("/metrics/prometheus", sync_to_thread=False)
    def prometheus() -> Response[bytes]:
        return _response(pages.render(MetricsPageRequested(page="prometheus")))

    return [aggregate, stalled, chats, chat, tenants, streams, prometheus]


def _response(page: Page) -> Response[bytes]:
    return Response(page.body, status_code=page.status, headers={"content-type": page.content_type})


def error_response(_: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, str]]:
    """The body of every error: `{"detail": ...}`."""
    return Response({"detail": error.detail}, status_code=error.status_code, headers=error.headers)
