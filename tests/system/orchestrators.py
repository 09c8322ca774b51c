"""Orchestrator processes for tests: the real one, and one that ends itself at a chosen point."""

import multiprocessing
import os
import signal
from collections.abc import Mapping
from multiprocessing.context import ForkServerContext, ForkServerProcess

from nats.aio.client import Client

from contracts.event_log import Decision
from contracts.ids import ChatKey, StreamSeq
from contracts.live import Delta
from services.chassis import process
from services.chassis.bus import Bus
from services.chassis.event_log import EventLog
from services.chassis.process import serve
from services.orchestrator.app import Settings, build_app

_CONTEXT: ForkServerContext = multiprocessing.get_context("forkserver")
# AG2 takes seconds to import: once for all, then every process is a fork.
_CONTEXT.set_forkserver_preload(["tests.system.orchestrators"])


def start(environment: Mapping[str, str], kill_at: str = "") -> ForkServerProcess:
    """An orchestrator process with these variables; `kill_at` is a point of KillingBus."""
    started = _CONTEXT.Process(target=_run, args=(dict(environment), kill_at), daemon=True)
    started.start()
    return started


def _run(environment: Mapping[str, str], kill_at: str) -> None:
    os.environ.update(environment)
    if kill_at:
        KillingBus.point = kill_at
        setattr(process, "Bus", KillingBus)  # noqa: B010  what `connected` makes
    settings = Settings()
    serve("orchestrator", *build_app(settings), settings, settings.orchestrator_port)


class KillingLog(EventLog):
    """Ends its process before or after an append that holds the event of its bus's point."""

    async def append(self, decision: Decision, *, after: StreamSeq) -> StreamSeq:
        seqs = {one.envelope.seq for one in decision.events}
        when, _, number = KillingBus.point.partition(":")
        if when == "before" and int(number) in seqs:
            die()
        reached = await super().append(decision, after=after)
        if when == "after" and int(number) in seqs:
            die()
        return reached


class KillingBus(Bus):
    """Ends its process with SIGKILL: `before:n` or `after:n` an append that holds event n, or at
    `chunk:n`, the n-th piece of streamed text."""

    point = ""
    _streamed = 0

    def __init__(self, nc: Client) -> None:
        super().__init__(nc)
        self.events = KillingLog(nc, self.storage)

    async def show(self, key: ChatKey, delta: Delta) -> None:
        await super().show(key, delta)
        type(self)._streamed += 1
        if self.point == f"chunk:{self._streamed}":
            await self.nc.flush()
            die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
