"""The ASGI application that a process serves: probes first, then the service's own application."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any

from services.chassis.process.probes import Probes
from services.chassis.tasks import cancel_and_wait

log = logging.getLogger(__name__)

Scope = dict[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Any, Any, Any], Awaitable[None]]

CANCEL_SECONDS = 1.0
"""What is reserved of DRAIN_SECONDS for an application that has to be cancelled."""


class CannotStartError(Exception):
    """The service cannot start; the message says why in one line, for its operator."""


class AsgiFront:
    """Answers probes from the first moment on, also while the application starts or waits.

    The application starts in the background, however long the servers it needs are unavailable.
    Until it has started its requests are answered 503, so that a liveness probe never ends a
    process because of another server. `seconds_left` is how long a process that was told to stop
    may still take: an application that has not ended by then is cancelled.
    """

    def __init__(
        self,
        app: Asgi,
        probes: Probes,
        give_up: Callable[[str], None],
        seconds_left: Callable[[], float],
    ) -> None:
        self._app = app
        self._probes = probes
        self._give_up = give_up
        self._seconds_left = seconds_left
        self.started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(scope, receive, send)
            return
        page = await self._page(scope["path"]) if scope["type"] == "http" else None
        if page is None and self.started and scope["type"] == "http":
            await self._measured(scope, receive, send)
        elif page is None and self.started:
            await self._app(scope, receive, send)
        else:
            await _respond(scope, send, *(page or _STARTING))

    async def _page(self, path: str) -> tuple[int, str, bytes] | None:
        return await self._probes.metrics_page() if path == "/metrics" else self._probes.page(path)

    async def _measured(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Measure how long the first byte of the answer takes, by the route that the app found."""
        began = perf_counter()

        async def on_message(message: Message) -> None:
            if message["type"] == "http.response.start":
                taken, route = perf_counter() - began, scope.get("path_template") or ""
                status = message["status"]
                self._probes.metrics.observe_request(scope["method"], route, status, taken)
            await send(message)

        await self._app(scope, receive, on_message)

    async def _run_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        events: asyncio.Queue[Message] = asyncio.Queue()
        events.put_nowait(await receive())
        app = asyncio.create_task(self._start_app(scope, events.get), name="the app's lifespan")
        sampling = asyncio.create_task(self._probes.metrics.sample_loop(), name="loop delay")
        await send({"type": "lifespan.startup.complete"})
        shutdown = await receive()
        if self.started:
            events.put_nowait(shutdown)
            await asyncio.wait([app], timeout=self._seconds_left())
        if not app.done():
            if self.started:
                log.warning("the service did not stop within DRAIN_SECONDS and is cancelled")
            await asyncio.wait([asyncio.create_task(cancel_and_wait(app))], timeout=CANCEL_SECONDS)
        await cancel_and_wait(sampling)
        await send({"type": "lifespan.shutdown.complete"})

    async def _start_app(self, scope: Scope, receive: Receive) -> None:
        async def on_message(message: Message) -> None:
            self.started = message["type"] == "lifespan.startup.complete"

        try:
            await self._app(scope, receive, on_message)
        except CannotStartError as reason:
            self._give_up(str(reason))
        except Exception:
            log.exception("the service cannot continue")
            self._give_up("")


_STARTING = (503, "application/json", b'{"detail":"the service is still starting"}')


async def _respond(scope: Scope, send: Send, status: int, content_type: str, body: bytes) -> None:
    """Answer an HTTP request, or one to open a WebSocket, which is refused so.

    A WebSocket that is closed before it is accepted would be answered with 403: its client would not
    come back.
    """
    kind = "websocket.http" if scope["type"] == "websocket" else "http"
    headers = [(b"content-type", content_type.encode())]
    await send({"type": f"{kind}.response.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": body})
