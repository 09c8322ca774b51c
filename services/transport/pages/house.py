"""The house itself: how it is, what it counts, and the console."""

import asyncio
from pathlib import Path
from typing import Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.enums import MediaType
from litestar.response import File, Redirect
from nats.errors import Error as NatsError

from contracts import subjects
from services.chassis.connection import flush
from services.transport.desk import Desk
from services.transport.openapi import Told, told
from services.transport.refusals import RefusalError, unavailable
from services.transport.signin.principal import open_to
from services.transport.tally import Tally

AnyRequest = Request[Any, Any, Any]
Json = dict[str, Any]

NOTE = "Runs are listed to their users only, by /api/sessions/list."
PING_SECONDS = 2
HEALTH: Json = {
    "status": "healthy",
    "mongodb": "not asked: it is kept by persistence, and no chat waits for it",
    "mongodb_ping_ms": None,
    "nats": "connected",
    "nats_ping_ms": 0.4,
    "simple_transport": True,
    "active_connections": {"websocket_connections": 3, "total_connections": 3},
    "workflows": ["HelloWorld"],
    "transport_groups": {"websocket": ["HelloWorld"]},
    "tools_available": False,
    "total_tools": 0,
    "health_check_time_ms": 0.9,
}
BEGUN = "2026-11-23T12:00:00+00:00"
CONSOLE = Path(__file__).parent.parent / "console"


@get(
    "/api/health",
    opt=told(
        Told(
            "Whether this transport can serve.",
            HEALTH,
            refusals=(503,),
        )
    ),
)
async def health(desk: NamedDependency[Desk]) -> Json:
    clock = asyncio.get_running_loop().time
    began = clock()
    ping = await _ping(desk)
    cards = [card for card in (await desk.workflows.listed()).values() if card.on_offer]
    names, tools = [card.name for card in cards], sum(len(card.tools) for card in cards)
    here = len(desk.crowd)
    return {
        **HEALTH,
        "nats_ping_ms": ping,
        "active_connections": {"websocket_connections": here, "total_connections": here},
        "workflows": names,
        "transport_groups": {"websocket": names},
        "tools_available": tools > 0,
        "total_tools": tools,
        "health_check_time_ms": _millis(clock() - began),
    }


async def _ping(desk: Desk) -> float:
    """How long NATS takes to answer, in milliseconds. Raises RefusalError."""
    clock = asyncio.get_running_loop().time
    began = clock()
    try:
        await flush(desk.bus.nc, PING_SECONDS)
    except NatsError as away:
        raise unavailable(desk.bus.storage) from away
    return _millis(clock() - began)


def _millis(seconds: float) -> float:
    return round(seconds * 1000, 3)


@get(
    "/health/active-runs",
    opt=told(
        Told(
            "How many chats are being worked on now, and how many there are.",
            {"active_count": 2, "total_runs": 40, "runs": [], "note": NOTE},
            refusals=(503,),
            open_to="operators",
        )
    ),
)
async def active_runs(desk: NamedDependency[Desk]) -> Json:
    running = await desk.bus.commands_open()
    known = await desk.bus.js.stream_info(subjects.bucket_stream(subjects.CHATS))
    total = known.state.messages  # the bucket keeps one message a chat
    return {"active_count": running, "total_runs": total, "runs": [], "note": NOTE}


@get(
    "/api/events/metrics",
    opt=told(
        Told(
            "What passed through this transport since it began.",
            {"status": "success", "data": {**Tally().told(), "created": BEGUN}, "timestamp": BEGUN},
            open_to="operators",
        )
    ),
)
async def events_seen(desk: NamedDependency[Desk]) -> Json:
    now = desk.clock().isoformat()
    data = {
        **desk.rooms.tally.told(),
        "created": desk.begun.isoformat(),
        "handler_count": len(desk.rooms),
        "timestamp": now,
    }
    return {"status": "success", "data": data, "timestamp": now}


@get(["/metrics/perf/{rest:path}", "/metrics/prometheus"], opt=open_to("operators"))
async def numbers(desk: NamedDependency[Desk], request: AnyRequest) -> Redirect:
    if not desk.metrics_public_url:
        why = "metrics are served by the metrics service; METRICS_PUBLIC_URL is not set"
        raise RefusalError("NOT_ALLOWED", "path", why)
    query = request.scope["query_string"].decode("latin-1")
    path = request.scope["path"] + (f"?{query}" if query else "")
    return Redirect(desk.metrics_public_url.rstrip("/") + path, status_code=307)


@get("/", media_type=MediaType.HTML, sync_to_thread=False, opt=open_to("everyone"))
def console() -> File:
    return File(
        CONSOLE / "index.html",
        content_disposition_type="inline",
        headers={"cache-control": "no-cache"},
    )


HANDLERS = [health, active_runs, events_seen, numbers, console]
