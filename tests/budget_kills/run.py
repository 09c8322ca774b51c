"""Kill real orchestrators at every point of model calls that are counted in budgets."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from contracts.budget_ledger import Balance
from contracts.budgets import Account
from contracts.commands import StartChat
from contracts.event_log import StoredEvent
from contracts.events.turn import UsageRecorded
from contracts.ids import AppId, ChatId, ChatKey, CommandId, UserId, WorkflowName
from infra.ports import free_port
from services.chassis.budgets.ledgers import BudgetLedgers
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.budget_kills import orchestrator
from tests.budget_kills.provider import IN_ANSWER, CountingProvider
from tests.secured_nats import SecuredNats
from tests.system.stage import ENDINGS, bus_at

APP, USER = AppId("shop"), UserId("ana")
WORKFLOW = WorkflowName("Talk")
PATIENCE_SECONDS = 60.0
NOT_SENT = "after hold"
"""Killed here, a call is held and was never sent: nobody can know that, so it counts as repeated."""
POINTS = (
    "before hold",
    NOT_SENT,
    IN_ANSWER,
    "before response",
    "after response",
    "before settlement",
    "after settlement",
)


@dataclass(frozen=True, slots=True)
class Call:
    """One chat with one model call, and the point of it at which its process is killed."""

    chat: str
    point: str

    @property
    def key(self) -> ChatKey:
        return ChatKey(APP, ChatId(self.chat))


@dataclass(frozen=True, slots=True)
class Counts:
    """What the provider, the chats' logs and the ledger have counted."""

    kills: int
    not_sent: int
    requests: int
    provider_calls: int
    provider_tokens: int
    log_calls: int
    log_tokens: int
    app: Balance
    user: Balance

    def problems(self) -> list[str]:
        return [*self._of("the app", self.app), *self._of("the user", self.user)]

    def _of(self, whose: str, balance: Balance) -> Iterator[str]:
        """Where the ledger of an account is not what the provider has counted."""
        window = balance.windows["total"]
        if (window.calls, window.used["tokens"]) != (self.provider_calls, self.provider_tokens):
            yield f"{whose}: {window.calls} calls, {window.used['tokens']} tokens in the ledger"
        if (self.log_calls, self.log_tokens) != (self.provider_calls, self.provider_tokens):
            yield f"{self.log_calls} calls, {self.log_tokens} tokens in the logs"
        if balance.holds or any(balance.held.values()):
            yield f"{whose}: {len(balance.holds)} holds are left, {balance.held}"
        if window.repeated_calls != self.requests - self.provider_calls + self.not_sent:
            yield f"{whose}: {window.repeated_calls} calls are counted as repeated"

    def report(self) -> str:
        window = self.app.windows["total"]
        again = self.requests - self.provider_calls
        lines = [
            f"{self.kills} calls killed at {len(POINTS)} points",
            f"provider: {self.provider_calls} different requests, {self.provider_tokens} tokens",
            f"logs:     {self.log_calls} usages, {self.log_tokens} tokens",
            f"ledger:   {window.calls} calls, {window.used['tokens']} tokens",
            f"holds left: {len(self.app.holds)}",
            f"requests sent again: {again} at the provider, {window.repeated_calls} in the ledger",
            f"of these held and never sent: {self.not_sent}",
            f"problems: {len(self.problems())}",
        ]
        return "\n".join([*lines, *self.problems()])


async def run(folder: Path, kills: int, width: int) -> Counts:
    """Make the calls, of which `width` are under way in each process that is killed."""
    await asyncio.to_thread(_write_workflow, folder / "workflows" / WORKFLOW)
    server, provider = SecuredNats(folder), CountingProvider(folder)
    await asyncio.to_thread(server.start)
    provider.start()
    try:
        async with bus_at(server.settings) as gateway:
            calls = [Call(f"c{number}", POINTS[number % len(POINTS)]) for number in range(kills)]
            environment = _environment(folder, server, provider.base_url("budgets"))
            for first in range(0, len(calls), width):
                await _killed(calls[first : first + width], gateway, environment, folder)
            return await _counted(calls, gateway, provider)
    finally:
        provider.stop()
        await asyncio.to_thread(server.end)


def _environment(folder: Path, server: SecuredNats, model_url: str) -> dict[str, str]:
    limits = [
        {"scope": scope, "unit": "tokens", "period": "month", "hard": 1_000_000_000}
        for scope in ("app", "user")
    ]
    return {
        **server.environment_of("orchestrator"),
        "OPENAI_API_KEY": "sk-not-a-key",
        "OPENAI_BASE_URL": model_url,
        "DEFAULT_LLM_MODEL": "stub-model",
        "MODEL_MAX_RETRIES": "0",
        "WORKFLOWS_PATH": str(folder / "workflows"),
        "ONCE_TOOLS_FOLDER": str(folder),
        "BUDGETS_JSON": json.dumps({"*": limits}),
        "MAX_CONCURRENT_CHATS": "1000",
        "LOG_LEVEL": "ERROR",
        "MAX_APP_SHARE": "1",  # all chats are of one app
    }


async def _killed(
    batch: Sequence[Call], gateway: JetStreamGateway, environment: dict[str, str], folder: Path
) -> None:
    """Start the chats, kill their process where all of them stand, and let another one go on."""
    for call in batch:
        (folder / f"{call.chat}.plan").write_text(call.point)
    first = orchestrator.start({**environment, "ORCHESTRATOR_PORT": str(free_port())})
    second = None
    try:
        await asyncio.gather(*(gateway.commands.send(_start(call)) for call in batch))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not all((folder / f"{one.chat}.reached").exists() for one in batch):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        first.kill()
        await asyncio.to_thread(first.join, 30)
        for call in batch:
            (folder / f"{call.chat}.plan").unlink()
        second = orchestrator.start({**environment, "ORCHESTRATOR_PORT": str(free_port())})
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*(_ended(call, gateway) for call in batch))
            while await _is_pending(gateway):  # noqa: ASYNC110  other processes end them
                await asyncio.sleep(0.05)
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
                await asyncio.to_thread(process.join, 30)


def _start(call: Call) -> StartChat:
    return StartChat(
        command_id=CommandId(f"start-{call.chat}"),
        app_id=APP,
        chat_id=call.key.chat,
        user_id=USER,
        workflow_name=WORKFLOW,
        message=f"Say something to {call.chat}",
    )


async def _ended(call: Call, gateway: JetStreamGateway) -> None:
    while not await _has_ended(call, gateway):  # noqa: ASYNC110  another process ends it
        await asyncio.sleep(0.05)


async def _has_ended(call: Call, gateway: JetStreamGateway) -> bool:
    return any([one.envelope.type in ENDINGS async for one in _events(call, gateway)])


async def _is_pending(gateway: JetStreamGateway) -> bool:
    """Whether a command is not acknowledged: a run settles what it holds before that."""
    return await gateway.reader.count("COMMANDS", "mozaiks.cmd.>") > 0


async def _counted(
    calls: Sequence[Call], gateway: JetStreamGateway, provider: CountingProvider
) -> Counts:
    usages = [
        one.event
        for call in calls
        async for one in _events(call, gateway)
        if isinstance(one.event, UsageRecorded)
    ]
    used = [(one.tokens.prompt or 0) + (one.tokens.completion or 0) for one in usages]
    ledgers = BudgetLedgers(gateway)
    return Counts(
        kills=len(calls),
        not_sent=sum(call.point == NOT_SENT for call in calls),
        requests=sum(map(len, provider.requests.values())),
        provider_calls=len(provider.requests),
        provider_tokens=sum(tokens[0] for tokens in provider.requests.values()),
        log_calls=len(usages),
        log_tokens=round(sum(used)),
        app=await ledgers.read(Account(APP, "app")),
        user=await ledgers.read(Account(APP, "user", USER)),
    )


async def _events(call: Call, gateway: JetStreamGateway) -> AsyncIterator[StoredEvent]:
    async for commit in gateway.events.read(call.key):
        for one in commit.events:
            yield one


def _write_workflow(folder: Path) -> None:
    """One agent that answers once."""
    folder.mkdir(parents=True)
    files = {
        "workflow.json": {
            "workflow_name": WORKFLOW,
            "orchestration_pattern": "DefaultPattern",
            "initial_agent": "Talker",
        },
        "agents.json": {"agents": [{"name": "Talker", "system_message": "You talk."}]},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
