"""The house itself: how it is, what it counts, and the console."""

from pathlib import Path
from typing import Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.enums import MediaType
from litestar.response import File, Redirect

from contracts import subjects
from services.transport.desk import Desk
from services.transport.openapi import Told, told
from services.transport.refusals import RefusalError, unavailable
from services.transport.signin.principal import open_to
from services.transport.tally import Tally

AnyRequest = Request[Any, Any, Any]
Json = dict[str, Any]

NOTE = "Runs are listed to their users only, by /api/sessions/list."
BEGUN = "2026-11-23T12:00:00+00:00"
CONSOLE = Path(__file__).parent.parent / "console"


@get(
    "/api/health",
    opt=told(
        Told(
            "Whether this transport can serve.",
            {
                "status": "healthy",
                "simple_transport": True,
                "active_connections": {"websocket_connections": 3, "total_connections": 3},
                "workflows": ["HelloWorld"],
            },
            refusals=(503,),
        )
    ),
)
async def health(desk: NamedDependency[Desk]) -> Json:
    if not desk.bus.nc.is_connected:
        raise unavailable()
    names = [name for name, card in (await desk.workflows.cards()).items() if not card.problems]
    here = len(desk.crowd)
    return {
        "status": "healthy",
        "simple_transport": True,
        "active_connections": {"websocket_connections": here, "total_connections": here},
        "workflows": names,
    }


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
    running = await desk.bus.values_under(subjects.LEASES, "")
    known = await desk.bus.js.stream_info(subjects.bucket_stream(subjects.CHATS))
    total = known.state.messages  # the bucket keeps one message a chat
    return {"active_count": len(running), "total_runs": total, "runs": [], "note": NOTE}


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
