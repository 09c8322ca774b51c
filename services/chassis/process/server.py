"""Serve one ASGI application on one port until a signal, and exit within DRAIN_SECONDS."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import uvicorn

from services.chassis.logs.configuration import configure
from services.chassis.process.asgi_front import CANCEL_SECONDS, Asgi, AsgiFront
from services.chassis.process.host_check import check_host
from services.chassis.process.probes import Probes
from services.chassis.process.request_log import log_requests
from services.chassis.process.security_headers import add_security_headers
from services.chassis.settings import Settings

log = logging.getLogger(__name__)

FAILED = 3
"""The exit code of a service that could not start."""
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, probes: Probes, drain_seconds: float) -> None:
        super().__init__(config)
        self._probes = probes
        self._drain_seconds = drain_seconds
        self._stop_by: float | None = None
        self.failed = False

    def seconds_left(self) -> float:
        """How much of DRAIN_SECONDS the application still has."""
        now = asyncio.get_running_loop().time()
        stop_by = now + self._drain_seconds if self._stop_by is None else self._stop_by
        return max(stop_by - now - CANCEL_SECONDS, 0.1)

    def give_up(self, why: str) -> None:
        if why:
            log.error("the service did not start: %s", why)
        self.failed = True
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._stop_by is None:
            self._stop_by = asyncio.get_running_loop().time() + self._drain_seconds
            timer = threading.Timer(self._drain_seconds, self._exit_now)
            timer.daemon = True
            timer.start()
        self._probes.draining()
        super().handle_exit(sig, frame)

    def _exit_now(self) -> None:
        """A task or thread that cannot be ended must not keep the process; its work is redelivered."""
        log.warning("something did not stop within DRAIN_SECONDS: the process exits without it")
        os._exit(FAILED if self.failed else 0)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn raises the signal again after a clean stop; a clean stop exits 0 here. And a loop
        # that closes restores the default handlers, by which a second SIGTERM would kill us.
        loop = asyncio.get_running_loop()

        def stop(number: int, _: FrameType | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
                loop.call_soon_threadsafe(self.handle_exit, number, None)

        for number in _STOP_SIGNALS:
            signal.signal(number, stop)
        yield


def protected(app: Asgi, settings: Settings) -> Asgi:
    """The app as browsers may use it: only by its own host names, with security headers.

    Each request is a line of the log.
    """
    return log_requests(add_security_headers(check_host(app, settings.hosts)))


def serve(
    service: str, app: Asgi, probes: Probes, settings: Settings, port: int, **options: Any
) -> None:
    """Run until SIGTERM or SIGINT, exit code 0, or until the app cannot continue, exit code 3.

    `options` go to uvicorn.
    """
    configure(
        service,
        settings.log_level,
        as_json=settings.logs_as_json,
        folder=settings.logs_base_dir,
        colours=settings.no_color is None,
    )
    probes.metrics.describe_build(service)
    front = AsgiFront(app, probes, lambda why: server.give_up(why), lambda: server.seconds_left())
    config = uvicorn.Config(
        protected(front, settings),
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
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the interpreter, too, would restore the default
    log.info("stopped")
    if server.failed:
        sys.exit(FAILED)
