"""One process: one ASGI app on one port, with probes and metrics in front, and a clean end."""

import asyncio
import contextlib
import json
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

import uvicorn
from faststream.nats import NatsBroker
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from services.chassis.bus import Bus
from services.chassis.logs import configure
from services.chassis.settings import Settings
from services.chassis.streams import ensure_streams

log = logging.getLogger(__name__)

Scope = dict[str, Any]
Asgi = Callable[[Any, Any, Any], Awaitable[None]]
Check = Callable[[], str | None]
"""What is not ready, in a few words; none when all is well."""


class Probes:
    """Answers /health, /ready and /metrics before the app behind it sees the request.

    /health says only that the event loop turns; /ready asks every check and fails while draining;
    a probe never touches another server.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.details: Callable[[], dict[str, Any]] = dict
        self._checks: dict[str, Check] = {"startup": lambda: "still starting"}

    def ready_when(self, **checks: Check) -> None:
        """Replace the checks: until the first call the process is starting."""
        self._checks = checks

    def draining(self) -> None:
        self._checks = {"drain": lambda: "stopping"}

    def in_front_of(self, app: Asgi) -> Asgi:
        async def answer(scope: Scope, receive: Any, send: Any) -> None:
            page = self._page(scope) if scope["type"] == "http" else None
            if page is None:
                await app(scope, receive, send)
            else:
                await _respond(send, *page)

        return answer

    def _page(self, scope: Scope) -> tuple[int, str, bytes] | None:
        match scope["path"]:
            case "/health":
                return 200, "application/json", b'{"status":"ok"}'
            case "/ready":
                troubles = {name: why for name, check in self._checks.items() if (why := check())}
                body = {"ready": not troubles, "waiting_for": troubles, **self.details()}
                return 503 if troubles else 200, "application/json", json.dumps(body).encode()
            case "/metrics":
                return 200, CONTENT_TYPE_LATEST, generate_latest(self.registry)
            case _:
                return None


async def _respond(send: Any, status: int, content_type: str, body: bytes) -> None:
    headers = [(b"content-type", content_type.encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def build_broker(settings: Settings, service: str) -> NatsBroker:
    """A broker that waits for NATS as long as it takes, at the start and after an outage."""
    return NatsBroker(
        settings.nats_url,
        name=service,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.25,  # type: ignore[arg-type]  # typed int; nats-py sleeps on it
        connect_timeout=2,
        ping_interval=5,
        max_outstanding_pings=2,
        logger=None,
    )


@asynccontextmanager
async def connected(broker: NatsBroker, settings: Settings) -> AsyncIterator[Bus]:
    """The bus over the broker's connection, its streams in place; drained at the end."""
    nc = await broker.connect()
    await ensure_streams(nc, replicas=settings.stream_replicas)
    try:
        yield Bus(nc)
    finally:
        with contextlib.suppress(Exception):  # gone already: nothing is left to drain
            await asyncio.wait_for(broker.stop(), settings.drain_seconds)


def nats_check(bus: Bus) -> Check:
    return lambda: None if bus.nc.is_connected else "NATS is away"


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, probes: Probes) -> None:
        super().__init__(config)
        self._probes = probes

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._probes.draining()
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn raises the signal again after a clean end; a clean end exits 0 here.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def serve(
    service: str, app: Asgi, probes: Probes, settings: Settings, port: int, **options: Any
) -> None:
    """Run until SIGTERM or SIGINT; `options` go to uvicorn."""
    configure(service, settings.log_level, as_json=settings.logs_as_json)
    config = uvicorn.Config(
        probes.in_front_of(app),
        host=settings.host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=int(settings.drain_seconds),
        **options,
    )
    log.info("starting", extra={"host": settings.host, "port": port})
    _Server(config, probes).run()
    log.info("stopped")
