"""Orchestrator processes for tests: the real one, and one that ends itself at a chosen point."""

import os
import signal
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess

from nats.aio.client import Client

from contracts.deltas import Delta, TextStreamed
from contracts.event_log import Decision
from contracts.ids import ChatKey, StreamSeq
from services.chassis.jetstream import gateway as chassis_gateway
from services.chassis.jetstream.event_log import EventLog
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.live_channel import LiveChannel
from services.chassis.metrics import ProcessMetrics
from services.chassis.process.server import serve
from services.orchestrator.app import build_app
from services.orchestrator.settings import Settings
from tests.forked import CONTEXT


def start(environment: Mapping[str, str], kill_at: str = "") -> ForkServerProcess:
    """An orchestrator process with these variables; `kill_at` is a point of KillingGateway."""
    started = CONTEXT.Process(target=_run, args=(dict(environment), kill_at), daemon=True)
    started.start()
    return started


def _run(environment: Mapping[str, str], kill_at: str) -> None:
    os.environ.update(environment)
    if kill_at:
        KillingGateway.point = kill_at
        setattr(chassis_gateway, "JetStreamGateway", KillingGateway)  # noqa: B010  what is opened
    settings = Settings()
    serve("orchestrator", *build_app(settings), settings, settings.orchestrator_port)


class KillingLog(EventLog):
    """Ends its process before or after an append that holds the event of its gateway's point."""

    async def append(self, decision: Decision, *, after: StreamSeq) -> StreamSeq:
        seqs = {one.envelope.seq for one in decision.events}
        when, _, number = KillingGateway.point.partition(":")
        if when == "before" and int(number) in seqs:
            die()
        reached = await super().append(decision, after=after)
        if when == "after" and int(number) in seqs:
            die()
        return reached


class KillingLive(LiveChannel):
    """Ends its process after the delta that holds the n-th word where the point is `word:n`."""

    _words = 0

    async def publish_delta(self, key: ChatKey, delta: Delta) -> None:
        await super().publish_delta(key, delta)
        if not isinstance(delta, TextStreamed):
            return
        before = self._words
        type(self)._words += len(delta.text.split())
        when, _, number = KillingGateway.point.partition(":")
        if when == "word" and before < int(number) <= self._words:
            await self._nc.flush()
            die()


class KillingGateway(JetStreamGateway):
    """Ends its process with SIGKILL: `before:n` or `after:n` an append that holds event n, or at
    `word:n`, the delta that holds the n-th word of streamed text."""

    point = ""

    def __init__(self, nc: Client, metrics: ProcessMetrics | None = None) -> None:
        super().__init__(nc, metrics)
        self.events = KillingLog(nc, self.storage, self.event_reader, self.metrics)
        self.events.on_aged_out = self.lookups.restore
        self.live = KillingLive(nc, self.reader)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
