"""The smallest service: only the chassis, started as a process by the tests."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from faststream.asgi import AsgiFastStream
from prometheus_client import CollectorRegistry, Counter

from services.chassis import settings as chassis
from services.chassis.process.asgi_front import Asgi
from services.chassis.process.broker import build_broker, connected, nats_check
from services.chassis.process.probes import Probes
from services.chassis.process.server import serve


class Settings(chassis.Settings):
    tiny_port: int
    start_fails: bool = False
    needs: list[str] | None = None
    stubborn: bool = False
    """Keeps a thread and a task that cannot be ended."""


def build_app(settings: Settings) -> tuple[Asgi, Probes]:
    registry = CollectorRegistry()
    probes = Probes(registry)
    Counter("tiny_starts", "Times that it came up.", registry=registry).inc()
    broker = build_broker(settings, "tiny")

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        if settings.start_fails:
            raise RuntimeError("the coffee is cold")
        if settings.stubborn:
            threading.Thread(target=threading.Event().wait, name="stubborn").start()
            probes.stubborn = asyncio.create_task(_stubborn())  # type: ignore[attr-defined]
        async with connected(broker, settings, probes, settings.needs) as gateway:
            probes.ready_when(nats=nats_check(gateway))
            probes.details = lambda: {"open": 0}
            yield
            probes.draining()

    return AsgiFastStream(broker, lifespan=lifespan, logger=None), probes


async def _stubborn() -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


if __name__ == "__main__":
    settings = Settings()
    serve("tiny", *build_app(settings), settings, settings.tiny_port)
