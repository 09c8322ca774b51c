"""One process: one ASGI app on one port, with probes and metrics in front, and a clean end."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import threading
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
from services.chassis.connection import Connection
from services.chassis.ending import end
from services.chassis.logs import configure
from services.chassis.monitor import StreamMonitor
from services.chassis.nats_access import access_of
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
CUT_SECONDS = 1.0
"""What is kept of DRAIN_SECONDS for an app that has to be cancelled."""

Check = Callable[[], str | None]
"""What is not ready, in a few words; none when all is well."""


class CannotStartError(Exception):
    """The service ends before it began; the message says why, to its operator, in one line."""


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
        self._checks: dict[str, Check] = {"startup": lambda: "still starting"}
        self._standing: dict[str, Check] = {}

    def ready_when(self, **checks: Check) -> None:
        """Replace the checks: until the first call the process is starting."""
        self._checks = checks

    def ready_only_when(self, **checks: Check) -> None:
        """Checks that stand beside those of `ready_when`, whatever these are."""
        self._standing = checks

    def starting_until(self, **checks: Check) -> None:
        """Say beside "still starting" what the start waits for."""
        if "startup" in self._checks:
            self._checks = {"startup": self._checks["startup"], **checks}

    def draining(self) -> None:
        self._checks = {"drain": lambda: "stopping"}

    def page(self, scope: Scope) -> tuple[int, str, bytes] | None:
        match scope["path"]:
            case "/health":
                return 200, "application/json", b'{"status":"ok"}'
            case "/ready":
                checks = {**self._checks, **self._standing}
                troubles = {name: why for name, check in checks.items() if (why := check())}
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
    `left` is how many seconds a process that was told to stop still has: an app that has not ended
    by then is cancelled, and left where it is.
    """

    def __init__(
        self,
        app: Asgi,
        probes: Probes,
        give_up: Callable[[str], None],
        left: Callable[[], float],
    ) -> None:
        self._app = app
        self._probes = probes
        self._give_up = give_up
        self._left = left
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
            await asyncio.wait([app], timeout=self._left())
        if not app.done():
            if self.started:
                log.warning("the service did not stop within DRAIN_SECONDS: it is cut short")
            await asyncio.wait([asyncio.create_task(end(app))], timeout=CUT_SECONDS)
        await send({"type": "lifespan.shutdown.complete"})

    async def _start_app(self, scope: Scope, receive: Receive) -> None:
        async def hear(message: Message) -> None:
            self.started = message["type"] == "lifespan.startup.complete"

        try:
            await self._app(scope, receive, hear)
        except CannotStartError as reason:
            self._give_up(str(reason))
        except Exception:
            log.exception("the service cannot go on")
            self._give_up("")


_STARTING = (503, "application/json", b'{"detail":"the service is still starting"}')


async def _respond(send: Send, status: int, content_type: str, body: bytes) -> None:
    headers = [(b"content-type", content_type.encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Broker(NatsBroker):
    """FastStream's broker over a connection of our own, which it opens, and leaves in time."""

    def __init__(self, connection: Connection, leave_seconds: float) -> None:
        super().__init__(logger=None)
        self.nats = connection
        self._leave_seconds = leave_seconds

    async def _connect(self) -> Connection:
        await self.nats.open()
        self.config.connect(self.nats)
        return self.nats

    async def stop(self, *raised: Any) -> None:
        connected, self._connection = (
            self._connection is not None,
            None,
        )  # else it drains, unbounded
        await super().stop(*raised)
        if connected:
            await self.nats.leave(self._leave_seconds)


def build_broker(settings: Settings, service: str) -> NatsBroker:
    """A broker that waits for NATS as long as it takes, at the start and after an outage."""
    access = access_of(settings, service)
    return _Broker(Connection(access, service), settings.drain_seconds / 4)  # others stop before it


@asynccontextmanager
async def connected(
    broker: NatsBroker,
    settings: Settings,
    probes: Probes | None = None,
    needs: Collection[str] | None = None,
    stores: Collection[str] = (),
) -> AsyncIterator[Bus]:
    """The bus over the broker's connection, its streams in place and looked after; drained at the end.

    Until then the probes say what keeps us from it. `needs` names the streams that the service
    works with (none: all there are): without ENSURE_STREAMS it asks for no other. `stores` are
    those of them that must take messages.
    """
    probes = probes or Probes(CollectorRegistry())
    probes.starting_until(nats=_check(broker))
    nc = await broker.connect()
    try:
        await _streams_in_place(nc, settings, probes, needs)
        bus = Bus(nc)
        monitor = StreamMonitor(bus, settings, needs or (), stores)
        probes.ready_only_when(streams=lambda: monitor.problem, storage=lambda: bus.storage.trouble)
        monitor.start()
        try:
            yield bus
        finally:
            await monitor.stop()
    finally:
        await broker.stop()


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
        waits_for = "; ".join(blocking)
        probes.starting_until(streams=lambda: waits_for)  # noqa: B023  read before it is set again
        await asyncio.sleep(STREAMS_AGAIN_SECONDS)
    probes.starting_until()
    probes.streams_at_start = said


async def _differing_streams(
    nc: Client, settings: Settings, needs: Collection[str] | None
) -> Sequence[Difference]:
    if settings.ensure_streams:
        return (await ensure_streams(nc, replicas=settings.stream_replicas)).left
    return await check_streams(nc, replicas=settings.stream_replicas, names=needs)


def nats_check(bus: Bus) -> Check:
    """What keeps the bus of `connected` from NATS."""
    nc = bus.nc
    if not isinstance(nc, Connection):
        raise TypeError(f"expected a connection of `connected`, got {type(nc).__name__}")
    return lambda: nc.trouble


def _check(broker: NatsBroker) -> Check:
    connection = broker.nats if isinstance(broker, _Broker) else None
    return lambda: connection.trouble if connection else None


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, probes: Probes, drain_seconds: float) -> None:
        super().__init__(config)
        self._probes = probes
        self._drain_seconds = drain_seconds
        self._stop_by: float | None = None
        self.failed = False

    def left(self) -> float:
        """How many seconds of DRAIN_SECONDS the app still has."""
        now = asyncio.get_running_loop().time()
        stop_by = now + self._drain_seconds if self._stop_by is None else self._stop_by
        return max(stop_by - now - CUT_SECONDS, 0.1)

    def give_up(self, why: str) -> None:
        if why:
            log.error("the service did not start: %s", why)
        self.failed = True
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._stop_by is None:
            self._stop_by = asyncio.get_running_loop().time() + self._drain_seconds
            last = threading.Timer(self._drain_seconds, self._leave)
            last.daemon = True
            last.start()
        self._probes.draining()
        super().handle_exit(sig, frame)

    def _leave(self) -> None:
        """A task or a thread that cannot be ended must not hold the process; its work comes again."""
        log.warning("something did not stop within DRAIN_SECONDS: the process ends without it")
        os._exit(FAILED if self.failed else 0)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn raises the signal again after a clean end; a clean end exits 0 here. And a loop that
        # is closed gives signals back their default, by which a second SIGTERM would still kill us.
        loop = asyncio.get_running_loop()

        def stop(number: int, _: FrameType | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: we are as good as gone
                loop.call_soon_threadsafe(self.handle_exit, number, None)

        for number in _STOP:
            signal.signal(number, stop)
        yield


_STOP = (signal.SIGTERM, signal.SIGINT)


def serve(
    service: str, app: Asgi, probes: Probes, settings: Settings, port: int, **options: Any
) -> None:
    """Run until SIGTERM or SIGINT, exit code 0, or until the app cannot go on, exit code 3.

    `options` go to uvicorn.
    """
    configure(service, settings.log_level, as_json=settings.logs_as_json)
    front = Front(app, probes, lambda why: server.give_up(why), lambda: server.left())
    config = uvicorn.Config(
        front,
        host=settings.host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=max(1, int(settings.drain_seconds / 2)),  # the app needs the rest
        **options,
    )
    server = _Server(config, probes, settings.drain_seconds)
    log.info("starting", extra={"host": settings.host, "port": port})
    server.run()
    for number in _STOP:
        signal.signal(number, signal.SIG_IGN)  # the interpreter, too, would give back the default
    log.info("stopped")
    if server.failed:
        sys.exit(FAILED)
