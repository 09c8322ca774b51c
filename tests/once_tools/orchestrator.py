"""A real orchestrator process that stands still before or after an append, where a plan says."""

import asyncio
import os
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from nats.aio.client import Client

from contracts.event_log import Decision
from contracts.events.turn import ToolDispatched, ToolReturned
from contracts.ids import StreamSeq
from services.chassis.jetstream import gateway as chassis_gateway
from services.chassis.jetstream.event_log import EventLog
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.metrics import ProcessMetrics
from services.chassis.process.server import serve
from services.orchestrator.app import build_app
from services.orchestrator.settings import Settings
from tests.forked import CONTEXT


def start(environment: Mapping[str, str]) -> ForkServerProcess:
    started = CONTEXT.Process(target=_run, args=(dict(environment),), daemon=True)
    started.start()
    return started


def _run(environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    setattr(chassis_gateway, "JetStreamGateway", PlannedGateway)  # noqa: B010  what is opened
    settings = Settings()
    serve("orchestrator", *build_app(settings), settings, settings.orchestrator_port)


class PlannedGateway(JetStreamGateway):
    """A gateway whose log stands still at the points of chats' plans."""

    def __init__(self, nc: Client, metrics: ProcessMetrics | None = None) -> None:
        super().__init__(nc, metrics)
        self.events = PlannedLog(nc, self.storage, self.event_reader, self.metrics)


class PlannedLog(EventLog):
    """Stands still around the append of a dispatch or a result."""

    async def append(self, decision: Decision, *, after: StreamSeq) -> StreamSeq:
        kind = _kind_of(decision)
        await stand_still(decision.key.chat, f"before {kind}")
        reached = await super().append(decision, after=after)
        await stand_still(decision.key.chat, f"after {kind}")
        return reached


def _kind_of(decision: Decision) -> str | None:
    for one in decision.events:
        match one.event:
            case ToolDispatched():
                return "dispatch"
            case ToolReturned():
                return "result"
            case _:
                pass
    return None


async def stand_still(chat: str, point: str) -> None:
    """Wait to be killed, if the plan of the chat names this point."""
    folder = Path(os.environ["ONCE_TOOLS_FOLDER"])
    plan = folder / f"{chat}.plan"
    if plan.exists() and plan.read_text() == point:
        (folder / f"{chat}.reached").touch()
        while plan.exists():  # noqa: ASYNC110  the process is killed meanwhile
            await asyncio.sleep(0.02)
