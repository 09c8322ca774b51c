"""A real orchestrator process that stands still around the hold, the answer and the settlement of a call."""

import os
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess

from nats.aio.client import Client

from contracts.budget_ledger import Held
from contracts.budgets import Account, AccountLimits
from contracts.event_log import Decision
from contracts.events.turn import ModelResponded
from contracts.ids import StreamSeq
from services.chassis.jetstream import gateway as chassis_gateway
from services.chassis.jetstream.event_log import EventLog
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.metrics import ProcessMetrics
from services.chassis.process.server import serve
from services.orchestrator.app import build_app
from services.orchestrator.domain.call_budget import PlannedCall
from services.orchestrator.runtime.chat_budget import Budgets, ChatBudget
from services.orchestrator.runtime.chat_log import ChatLog
from services.orchestrator.settings import Settings
from tests.forked import CONTEXT
from tests.once_tools.orchestrator import stand_still


def start(environment: Mapping[str, str]) -> ForkServerProcess:
    started = CONTEXT.Process(target=_run, args=(dict(environment),), daemon=True)
    started.start()
    return started


def _run(environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    setattr(chassis_gateway, "JetStreamGateway", PlannedGateway)  # noqa: B010  what is opened
    setattr(Budgets, "of", _planned)  # noqa: B010
    settings = Settings()
    serve("orchestrator", *build_app(settings), settings, settings.orchestrator_port)


def _planned(budgets: Budgets, log: ChatLog) -> ChatBudget:
    return PlannedBudget(budgets, log)


class PlannedBudget(ChatBudget):
    """Stands still around each hold and settlement."""

    async def _hold(
        self,
        call: PlannedCall,
        accounts: Sequence[AccountLimits],
        answer_tokens: int,
        least: int,
    ) -> None:
        await stand_still(self._log.key.chat, "before hold")
        await super()._hold(call, accounts, answer_tokens, least)
        await stand_still(self._log.key.chat, "after hold")

    async def _settle(self, held: dict[Account, Held]) -> None:
        await stand_still(self._log.key.chat, "before settlement")
        await super()._settle(held)
        await stand_still(self._log.key.chat, "after settlement")


class PlannedGateway(JetStreamGateway):
    """A gateway whose log stands still at the points of chats' plans."""

    def __init__(self, nc: Client, metrics: ProcessMetrics | None = None) -> None:
        super().__init__(nc, metrics)
        self.events = PlannedLog(nc, self.storage, self.event_reader, self.metrics)


class PlannedLog(EventLog):
    """Stands still around the append of a model's answer."""

    async def append(self, decision: Decision, *, after: StreamSeq) -> StreamSeq:
        is_answer = any(isinstance(one.event, ModelResponded) for one in decision.events)
        if is_answer:
            await stand_still(decision.key.chat, "before response")
        reached = await super().append(decision, after=after)
        if is_answer:
            await stand_still(decision.key.chat, "after response")
        return reached
