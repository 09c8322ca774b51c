"""Routes about the transport itself: its health, what it counts, and the console page."""

import asyncio
from pathlib import Path

from litestar import get
from litestar.di import NamedDependency
from litestar.enums import MediaType
from litestar.response import File

from contracts import subjects
from services.chassis.nats.connection import flush
from services.transport.auth.principal import access
from services.transport.context import RequestContext
from services.transport.errors import ApiError
from services.transport.http.api_document import documented
from services.transport.http.models.health import (
    ActiveConnections,
    ActiveRuns,
    EventMetrics,
    EventMetricsAnswer,
    Health,
    TransportGroups,
)

TAG = "Operations"
PING_SECONDS = 2
CONSOLE = Path(__file__).parent.parent / "console" / "dist"
"""The console as `make console` builds it."""
CONSOLE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",  # files of a chat are fetched with the token
        "font-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


@get("/api/health", **documented(TAG, "Whether this transport can serve", 503))
async def health(context: NamedDependency[RequestContext]) -> Health:
    clock = asyncio.get_running_loop().time
    began = clock()
    ping = await _ping_nats(context)
    cards = [
        card
        for card in (await context.services.workflows.without_general()).values()
        if card.on_offer
    ]
    names, tools = [card.name for card in cards], sum(len(card.tools) for card in cards)
    connections = len(context.services.connections)
    return Health(
        nats_ping_ms=ping,
        active_connections=ActiveConnections(
            websocket_connections=connections, total_connections=connections
        ),
        workflows=names,
        transport_groups=TransportGroups(websocket=names),
        tools_available=tools > 0,
        total_tools=tools,
        health_check_time_ms=_milliseconds(clock() - began),
    )


async def _ping_nats(context: RequestContext) -> float:
    """How long NATS takes to answer, in milliseconds. Raises ApiError."""
    clock = asyncio.get_running_loop().time
    began = clock()
    await flush(context.services.gateway.nc, PING_SECONDS)
    return _milliseconds(clock() - began)


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


@get(
    "/health/active-runs",
    **documented(TAG, "How many chats are running, and how many there are", open_to="operators"),
)
async def active_runs(context: NamedDependency[RequestContext]) -> ActiveRuns:
    running = await context.services.gateway.commands.count_open()
    known = await context.services.gateway.js.stream_info(subjects.bucket_stream(subjects.CHATS))
    total = known.state.messages  # the bucket keeps one message a chat
    return ActiveRuns(active_count=running, total_runs=total)


@get(
    "/api/events/metrics",
    **documented(TAG, "The events that this process has passed on", open_to="operators"),
)
async def event_metrics(context: NamedDependency[RequestContext]) -> EventMetricsAnswer:
    services = context.services
    now = services.clock()
    counts = EventMetrics(
        **services.hub.stats.as_dict(),
        created=services.started_at,
        handler_count=len(services.hub),
        timestamp=now,
    )
    return EventMetricsAnswer(data=counts, timestamp=now)


@get(
    "/",
    media_type=MediaType.HTML,
    sync_to_thread=False,
    opt=access("everyone"),
    include_in_schema=False,
)
def console() -> File:
    page = CONSOLE / "index.html"
    if not page.is_file():
        raise ApiError("SERVICE_UNAVAILABLE", "console", "is not built: run `make console`")
    return File(
        page,
        content_disposition_type="inline",
        headers={"cache-control": "no-cache", "content-security-policy": CONSOLE_POLICY},
    )


HANDLERS = [health, active_runs, event_metrics, console]
