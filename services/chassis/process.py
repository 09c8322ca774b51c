"""One process: one ASGI app on one port, with probes and metrics in front, and a clean end."""

import asyncio
import contextlib
import json
import logging
import signal
import sys
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    MutableMapping,
    Sequence,
)
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

import uvicorn
from faststream.nats import NatsBroker
from nats.aio.client import Client
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from services.chassis.bus import Bus
from services.chassis.ending import end
from services.chassis.logs import configure
from services.chassis.settings import Settings
from services.chassis.stream_plan import Difference, prevents_work
from services.chassis.streams import UnansweredError, check_streams, ensure_streams

log = logging.getLogger(__name__)

Scope = dict[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Any, Any, Any], Awaitable[None]]
STREAMS_AGAIN_SECONDS = 1.0
"""How long a service waits before it looks once more for a stream that it cannot work without."""
FAILED = 3
"""The exit code of a service that could not start."""

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
        self.streams_at_start: list[str] = []
        """How streams differed from their definitions when the service started."""
        self._checks: dict[str, Check]
        self.starting()

    def ready_when(self, **checks: Check) -> None:
        """Replace the checks: until the first call the process is starting."""
        self._checks = checks

    def starting(self, why: str = "still starting") -> None:
        self._checks = {"startup": lambda: why}

    def draining(self) -> None:
        self._checks = {"drain": lambda: "stopping"}

    def page(self, scope: Scope) -> tuple[int, str, bytes] | None:
        match scope["path"]:
            case "/health":
                return 200, "application/json", b'{"status":"ok"}'
            case "/ready":
                troubles = {name: why for name, check in self._checks.items() if (why := check())}
                body = {"ready": not troubles, "waiting_for": troubles, **self.details()}
                if self.streams_at_start:
                    body["streams_at_start"] = self.streams_at_start
                return 503 if troubles else 200, "application/json", json.dumps(body).encode()
            case "/metrics":
                return 200, CONTENT_TYPE_LATEST, generate_latest(self.registry)
            case _:
                return None


class Front:
    """The app, with its probes in front: they answer from the first moment on.

    The app itself starts beside them, however long the servers it needs are away; until then its
    requests are answered 503, so that a liveness probe never ends a process for the fault of others.
    """

    def __init__(self, app: Asgi, probes: Probes, give_up: Callable[[str], None]) -> None:
        self._app = app
        self._probes = probes
        self._give_up = give_up
        self.started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        page = self._probes.page(scope) if scope["type"] == "http" else None
        if page is None and self.started:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1013})
        else:
            await _respond(send, *(page or _STARTING))

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        told: asyncio.Queue[Message] = asyncio.Queue()
        told.put_nowait(await receive())
        app = asyncio.create_task(self._start_app(scope, told.get), name="the app's lifespan")
        await send({"type": "lifespan.startup.complete"})
        stop = await receive()
        if self.started:
            told.put_nowait(stop)
            await asyncio.wait([app])
        else:
            await end(app)
        await send({"type": "lifespan.shutdown.complete"})

    async def _start_app(self, scope: Scope, receive: Receive) -> None:
        me = asyncio.current_task()

        async def hear(message: Message) -> None:
            self.started = message["type"] == "lifespan.startup.complete"
            told_to_stop = me is not None and me.cancelling() > 0
            if message["type"] == "lifespan.startup.failed" and not told_to_stop:
                self._give_up(message.get("message", ""))

        try:
            await self._app(scope, receive, hear)
        except Exception:
            log.exception("the service cannot go on")
            self._give_up("")


_STARTING = (503, "application/json", b'{"detail":"the service is still starting"}')


async def _respond(send: Send, status: int, content_type: str, body: bytes) -> None:
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
async def connected(
    broker: NatsBroker,
    settings: Settings,
    probes: Probes | None = None,
    needs: Collection[str] | None = None,
) -> AsyncIterator[Bus]:
    """The bus over the broker's connection, its streams in place; drained at the end.

    `needs` names the streams that the service works with (none: all there are): without
    ENSURE_STREAMS it asks for no other.
    """
    nc = await broker.connect()
    try:
        await _streams_in_place(nc, settings, probes or Probes(CollectorRegistry()), needs)
        yield Bus(nc)
    finally:
        with contextlib.suppress(Exception):  # gone already: nothing is left to drain
            await asyncio.wait_for(broker.stop(), settings.drain_seconds)


async def _streams_in_place(
    nc: Client, settings: Settings, probes: Probes, needs: Collection[str] | None
) -> None:
    """Return once the streams can be worked with; until then `/ready` and the log say what differs."""
    said: list[str] = []
    while True:
        try:
            differing = await _differing_streams(nc, settings, needs)
            needed = [one for one in differing if needs is None or one.stream in needs]
            blocking = [str(one) for one in needed if prevents_work(one)]
        except UnansweredError as trouble:
            differing, blocking = [], [str(trouble)]
        found = blocking or [str(one) for one in differing]
        if found and found != said:
            log.warning("streams are not as they are defined", extra={"streams": found})
        said = found
        if not blocking:
            break
        probes.starting("; ".join(blocking))
        await asyncio.sleep(STREAMS_AGAIN_SECONDS)
    probes.streams_at_start = said
    probes.starting()


async def _differing_streams(
    nc: Client, settings: Settings, needs: Collection[str] | None
) -> Sequence[Difference]:
    if settings.ensure_streams:
        return (await ensure_streams(nc, replicas=settings.stream_replicas)).left
    return await check_streams(nc, replicas=settings.stream_replicas, names=needs)


def nats_check(bus: Bus) -> Check:
    return lambda: None if bus.nc.is_connected else "NATS is away"


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, probes: Probes) -> None:
        super().__init__(config)
        self._probes = probes
        self.failed = False

    def give_up(self, why: str) -> None:
        if why:
            log.error("the service did not start: %s", why)
        self.failed = True
        self.should_exit = True

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
    """Run until SIGTERM or SIGINT, exit code 0, or until the app cannot go on, exit code 3.

    `options` go to uvicorn.
    """
    configure(service, settings.log_level, as_json=settings.logs_as_json)
    front = Front(app, probes, lambda why: server.give_up(why))
    config = uvicorn.Config(
        front,
        host=settings.host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=int(settings.drain_seconds),
        **options,
    )
    server = _Server(config, probes)
    log.info("starting", extra={"host": settings.host, "port": port})
    server.run()
    log.info("stopped")
    if server.failed:
        sys.exit(FAILED)
