"""Budgets of chats on a real log: held before a call, settled by its usage, exact after any crash."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from ag2 import Agent

from contracts import subjects
from contracts.budget_ledger import Balance
from contracts.budgets import Account, AppBudget, Limit
from contracts.codec import Fact
from contracts.commands import RewindChat
from contracts.event_log import Decision
from contracts.events.budget import BudgetExceeded, BudgetWarned
from contracts.events.turn import TextInterrupted, ToolReturned, TurnStopped, UsageRecorded
from contracts.ids import (
    AppId,
    ChatKey,
    StreamSeq,
    WorkflowName,
    new_chat_id,
    new_command_id,
    new_message_id,
)
from contracts.large_values import LargeValue
from contracts.prices import PRICES
from services.chassis.budgets.account import Decided, Result
from services.chassis.budgets.ledgers import BudgetLedgers
from services.chassis.budgets.limits import BudgetLimits
from services.chassis.budgets.storage import StorageQuota, StorageUsedUpError
from services.chassis.jetstream.event_log import EventLog
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.agents.execution.agent_set import AgentSet
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.agents.registry.workflow_version import WorkflowVersion
from services.orchestrator.agents.replay.log_file import RecordedLog
from services.orchestrator.agents.replay.log_replay import replay_log
from services.orchestrator.domain.evolution import replay
from services.orchestrator.domain.state import pending
from services.orchestrator.runtime import chat_budget
from services.orchestrator.runtime.chat_budget import Budgets
from services.orchestrator.runtime.runner import Runner
from services.orchestrator.workflows.demo import DemoScripts
from services.orchestrator.workflows.loading import LoadedWorkflow, load
from tests.orchestrator.agents.paced_model import PacedModel
from tests.orchestrator.agents.provider_stub import ANSWER, ErrorReply
from tests.orchestrator.agents.provider_turn import POLICY
from tests.orchestrator.chat_harness import (
    SHIPPED,
    ChatUser,
    deliver,
    event_types,
    history,
    runner,
    shipped_catalogue,
)
from tests.orchestrator.runtime.test_forks import fork_of
from tests.orchestrator.runtime.test_large_values import folder
from tests.orchestrator.runtime.test_model_calls import newsroom
from tests.orchestrator.runtime.test_stop import TALK, WORDS, Held, streamed, time_limit
from tests.story import NOON, WRITER

pytestmark = pytest.mark.broker

LONG_WORDS = tuple(f"{'word' * 10}-{number:02} " for number in range(200))
"""Eleven tokens each, by the estimate."""


@dataclass
class Shop:
    """An app with limits of its own, and processes that run its chats."""

    gateway: JetStreamGateway
    limits: Sequence[Limit]
    app: AppId = field(default_factory=lambda: AppId(new_message_id()))

    def user(self) -> ChatUser:
        return ChatUser(TALK.name, ChatKey(self.app, new_chat_id()))

    def process(self, model: PacedModel, budgets: Budgets | None = None) -> Runner:
        agents = AgentSet({WRITER: Agent(WRITER, config=model)})
        version = WorkflowVersion(LoadedWorkflow("Newsroom", TALK, DemoScripts()), agents)
        own = self.budgets() if budgets is None else budgets
        return runner(self.gateway, AgentExecutor(version, 5), {TALK.name: TALK}, own)

    def budgets(self, ledgers: BudgetLedgers | None = None) -> Budgets:
        limits = BudgetLimits(self.gateway, {self.app: AppBudget(limits=tuple(self.limits))})
        return Budgets(limits, ledgers or BudgetLedgers(self.gateway), PRICES, lambda: NOON)

    async def balance(self, scope: str = "app", name: str = "") -> Balance:
        account = Account(self.app, scope, name)  # type: ignore[arg-type]
        return await BudgetLedgers(self.gateway).read(account)

    async def used(self) -> int:
        return (await self.balance()).used("total", "tokens", NOON)

    async def messages(self) -> int:
        return await self.gateway.reader.count(subjects.BUDGETS, f"mozaiks.budget.{self.app}.>")


def tokens(hard: float | None, soft: float | None = None, **more: str) -> Limit:
    return Limit.model_validate({"unit": "tokens", "hard": hard, "soft": soft, **more})


def usage(facts: Sequence[Fact]) -> list[UsageRecorded]:
    return [fact.event for fact in facts if isinstance(fact.event, UsageRecorded)]


def tokens_in(facts: Sequence[Fact]) -> int:
    return sum(round((u.tokens.prompt or 0) + (u.tokens.completion or 0)) for u in usage(facts))


async def test_without_a_limit_nothing_is_written(gateway: JetStreamGateway) -> None:
    shop = Shop(gateway, [tokens(100, scope="user", name="somebody else")])
    user = shop.user()
    await deliver(shop.process(PacedModel(WORDS)), user.start_chat("Go."))
    assert await shop.messages() == 0
    assert replay(await history(gateway, user.key)).waits_for_user


async def test_a_call_is_held_and_settled_in_each_account_that_has_a_limit(
    gateway: JetStreamGateway,
) -> None:
    scopes = ("app", "user", "workflow", "chat")
    shop = Shop(gateway, [tokens(10_000, scope=one, period="day") for one in scopes])
    user = shop.user()
    process = shop.process(PacedModel(WORDS, tokens=(120, 30)))
    await deliver(process, user.start_chat("Go."))
    await deliver(process, user.send_message("And on."))
    names = ("", str(user.user), str(TALK.name), str(user.key.chat))
    for scope, name in zip(scopes, names, strict=True):
        balance = await shop.balance(scope, name)
        assert balance.used("day", "tokens", NOON) == 300
        assert (balance.holds, balance.held["tokens"]) == ({}, 0)
        assert balance.windows["day"].calls == 2
    assert await shop.messages() == 4 * 4


async def test_a_used_up_budget_stops_the_answer_in_the_middle_and_keeps_what_was_shown(
    gateway: JetStreamGateway,
) -> None:
    shop = Shop(gateway, [tokens(1500, scope="user")])
    user, model = shop.user(), PacedModel(LONG_WORDS, tokens=(5, 2200))
    async with time_limit():
        await deliver(shop.process(model), user.start_chat("Go."))
    facts = await history(gateway, user.key)
    kept = [fact.event for fact in facts if isinstance(fact.event, TextInterrupted)]
    shown = "".join(one.text for one in kept)
    assert {one.reason for one in kept} == {"budget"}
    assert shown == await streamed(gateway, user)
    assert 1000 < len(shown) // 4 <= 1510
    assert model.open == 0
    (exceeded,) = [fact.event for fact in facts if isinstance(fact.event, BudgetExceeded)]
    assert (exceeded.scope, exceeded.hard, exceeded.reason) == ("user", 1500, "used_up")
    (stopped,) = [fact.event for fact in facts if isinstance(fact.event, TurnStopped)]
    assert stopped.by == "budget"
    (used,) = usage(facts)
    assert used.estimated
    state = replay(facts)
    assert (state.waits_for_user, state.ended, pending(state)) == (True, None, None)
    balance = await shop.balance("user", str(user.user))
    assert balance.used("total", "tokens", NOON) == tokens_in(facts) > 1480
    assert balance.holds == {}


async def test_a_chat_without_room_waits_and_goes_on_by_a_message_once_there_is_room(
    gateway: JetStreamGateway,
) -> None:
    shop = Shop(gateway, [tokens(40)])
    user = shop.user()
    model = PacedModel(WORDS, tokens=(30, 12))
    await deliver(shop.process(model), user.start_chat("Go."))
    await deliver(shop.process(model), user.send_message("On."))
    facts = await history(gateway, user.key)
    assert len(model.requests) == 1
    assert event_types(facts)[-4:] == [
        "budget.exceeded",
        "turn.stop_requested",
        "turn.stopped",
        "turn.speaker_selected",
    ]
    assert len(usage(facts)) == 1
    shop.limits = [tokens(1000)]
    await deliver(shop.process(model), user.send_message("Now?"))
    assert len(model.requests) == 2
    assert event_types(await history(gateway, user.key))[-1] == "turn.speaker_selected"
    assert await shop.used() == 84


async def test_a_call_that_one_account_refuses_is_released_in_the_others(
    gateway: JetStreamGateway,
) -> None:
    shop = Shop(gateway, [tokens(10_000), tokens(0, scope="user")])
    user, model = shop.user(), PacedModel(WORDS)
    await deliver(shop.process(model), user.start_chat("Go."))
    facts = await history(gateway, user.key)
    assert (model.requests, usage(facts)) == ([], [])
    balance = await shop.balance()
    assert (balance.holds, balance.windows) == ({}, {})
    assert replay(facts).waits_for_user


async def test_a_soft_limit_warns_once_and_the_chat_goes_on(gateway: JetStreamGateway) -> None:
    shop = Shop(gateway, [tokens(None, 10, scope="user", period="day")])
    user = shop.user()
    process = shop.process(PacedModel(WORDS, tokens=(30, 12)))
    for command in (user.start_chat("Go."), user.send_message("On."), user.send_message("On.")):
        await deliver(process, command)
    facts = await history(gateway, user.key)
    (warned,) = [fact.event for fact in facts if isinstance(fact.event, BudgetWarned)]
    assert (warned.scope, warned.period, warned.soft, warned.hard) == ("user", "day", 10, None)
    assert warned.resets_at is not None
    assert len(usage(facts)) == 3


async def test_what_a_user_stops_is_counted_as_far_as_it_came(gateway: JetStreamGateway) -> None:
    shop = Shop(gateway, [tokens(10_000)])
    user, held = shop.user(), Held(5)
    running = asyncio.create_task(
        deliver(shop.process(PacedModel(LONG_WORDS, held)), user.start_chat("Go."))
    )
    async with time_limit():
        await held.reached.wait()
        await deliver(shop.process(PacedModel(WORDS)), user.stop_answer())
        await running
    facts = await history(gateway, user.key)
    (used,) = usage(facts)
    assert used.estimated
    assert used.tokens.completion == (5 * len(LONG_WORDS[0]) + 3) // 4
    assert await shop.used() == tokens_in(facts)


async def test_a_call_that_fails_is_released(gateway: JetStreamGateway) -> None:
    shop = Shop(gateway, [tokens(100_000)])
    user = shop.user()
    refused = ErrorReply(401)
    async with newsroom(gateway, refused, workflow=TALK, budgets=shop.budgets()) as (_, process):
        await deliver(process(), user.start_chat("Go."))
    assert event_types(await history(gateway, user.key))[-1] == "chat.failed"
    balance = await shop.balance()
    assert (balance.holds, balance.held["tokens"], balance.windows) == ({}, 0, {})


async def test_a_model_without_a_price_is_not_called_where_its_cost_is_limited(
    gateway: JetStreamGateway,
) -> None:
    shop = Shop(gateway, [Limit(unit="cost", hard=5)])
    user = shop.user()
    unpriced = replace(POLICY, prices={})
    async with newsroom(
        gateway, ANSWER, policy=unpriced, workflow=TALK, budgets=shop.budgets()
    ) as (stub, process):
        await deliver(process(), user.start_chat("Go."))
        assert stub.bodies == []
    facts = await history(gateway, user.key)
    (exceeded,) = [fact.event for fact in facts if isinstance(fact.event, BudgetExceeded)]
    assert exceeded.reason == "unpriced"
    assert replay(facts).waits_for_user


async def test_processes_at_once_do_not_exceed_a_hard_limit(
    gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call uses what it holds, so there is room for so many calls and no more."""
    monkeypatch.setattr(chat_budget, "WAIT_SECONDS", 0.0)
    shop = Shop(gateway, [tokens(100)])
    users = [shop.user() for _ in range(12)]
    models = [PacedModel(["Yes."], tokens=(19, 1)) for _ in range(2)]
    processes = [shop.process(model) for model in models]
    await asyncio.gather(
        *(
            deliver(processes[number % 2], user.start_chat("x" * 76))
            for number, user in enumerate(users)
        )
    )
    made = sum(len(model.requests) for model in models)
    assert await shop.used() == 20 * made <= 100 + 20
    assert made >= 1


# -- crashes ------------------------------------------------------------------------------------


class RunnerDiedError(Exception):
    """The runner's process has died."""


class _DyingLog(EventLog):
    """Dies before or after the append of an event."""

    seq = 0
    when = "after"

    async def append(self, decision: Decision, *, after: StreamSeq) -> StreamSeq:
        hit = any(one.envelope.seq == self.seq for one in decision.events)
        if hit and self.when == "before":
            raise RunnerDiedError
        position = await super().append(decision, after=after)
        if hit:
            raise RunnerDiedError
        return position


class _DyingLedgers(BudgetLedgers):
    """Dies before or after the n-th decision, and does nothing from then on."""

    def __init__(self, gateway: JetStreamGateway, number: int, when: str) -> None:
        super().__init__(gateway)
        self._left = number
        self._when = when

    async def decide(
        self, account: Account, decide: Callable[[Balance], Decided[Result]]
    ) -> Result:
        self._left -= 1
        if self._left < 0 or (self._left == 0 and self._when == "before"):
            raise RunnerDiedError
        result = await super().decide(account, decide)
        if self._left == 0:
            raise RunnerDiedError
        return result


async def _died(running: Awaitable[None]) -> bool:
    with suppress(RunnerDiedError):
        await running
        return False
    return True


async def _goes_on(shop: Shop, user: ChatUser, start: object) -> None:
    """Another process takes the chat over and ends its turn; then the user goes on."""
    model = PacedModel(WORDS, tokens=(30, 12))
    await deliver(shop.process(model), start, attempt=2)  # type: ignore[arg-type]
    await deliver(shop.process(model), user.send_message("On."))
    facts = await history(shop.gateway, user.key)
    balance = await shop.balance()
    window = balance.windows["total"]
    assert (balance.holds, balance.held["tokens"]) == ({}, 0)
    assert window.used["tokens"] == tokens_in(facts) == 84
    assert window.calls == len(usage(facts)) == 2
    assert window.repeated.get("tokens", 0) == 42 * window.repeated_calls


@pytest.mark.parametrize("when", ["before", "after"])
async def test_the_ledger_equals_the_log_wherever_the_process_dies(
    gateway: JetStreamGateway, when: str
) -> None:
    """Around the append of each event of a turn."""
    for seq in range(2, 8):
        shop = Shop(gateway, [tokens(10_000)])
        user = shop.user()
        start = user.start_chat("Go.")
        dying = JetStreamGateway(gateway.nc)
        log = _DyingLog(gateway.nc, dying.storage, dying.event_reader)
        log.seq, log.when = seq, when
        dying.events = log
        mortal = replace(shop, gateway=dying)
        died = await _died(
            deliver(mortal.process(PacedModel(WORDS, tokens=(30, 12)), shop.budgets()), start)
        )
        assert died
        await _goes_on(shop, user, start)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", [1, 2])
async def test_the_ledger_equals_the_log_if_the_process_dies_at_a_hold_or_a_settlement(
    gateway: JetStreamGateway, number: int, when: str
) -> None:
    shop = Shop(gateway, [tokens(10_000)])
    user = shop.user()
    start = user.start_chat("Go.")
    ledgers = _DyingLedgers(gateway, number, when)
    model = PacedModel(WORDS, tokens=(30, 12))
    assert await _died(deliver(shop.process(model, shop.budgets(ledgers)), start))
    await _goes_on(shop, user, start)


async def test_a_call_that_a_lost_process_had_sent_counts_twice_where_it_is_repeated(
    gateway: JetStreamGateway,
) -> None:
    shop = Shop(gateway, [tokens(10_000)])
    user, held = shop.user(), Held(5)
    start = user.start_chat("Go.")
    running = asyncio.create_task(
        deliver(shop.process(PacedModel(WORDS, held, tokens=(30, 12))), start)
    )
    async with time_limit():
        await held.reached.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await deliver(shop.process(PacedModel(WORDS, tokens=(30, 12))), start, attempt=2)
    window = (await shop.balance()).windows["total"]
    assert (window.used["tokens"], window.repeated["tokens"]) == (42, 42)
    assert (window.calls, window.repeated_calls) == (1, 1)


async def test_a_paused_process_that_wakes_up_late_holds_nothing(
    gateway: JetStreamGateway,
) -> None:
    """Its hold of the same call meets that of the process that has taken over."""
    shop = Shop(gateway, [tokens(10_000)])
    user, woken, asleep = shop.user(), asyncio.Event(), asyncio.Event()

    class Sleepy(BudgetLedgers):
        async def decide(
            self, account: Account, decide: Callable[[Balance], Decided[Result]]
        ) -> Result:
            if not asleep.is_set():
                asleep.set()
                await woken.wait()
            return await super().decide(account, decide)

    start = user.start_chat("Go.")
    late_model = PacedModel(WORDS, tokens=(30, 12))
    late = asyncio.create_task(
        deliver(shop.process(late_model, shop.budgets(Sleepy(gateway))), start)
    )
    async with time_limit():
        await asleep.wait()
        held = Held(3)
        second = asyncio.create_task(
            deliver(shop.process(PacedModel(WORDS, held, tokens=(30, 12))), start, attempt=2)
        )
        await held.reached.wait()
        woken.set()
        await asyncio.gather(late, return_exceptions=True)
        held.released.set()
        await second
    assert late_model.requests == []
    balance = await shop.balance()
    assert (balance.holds, balance.windows["total"].used) == ({}, {"tokens": 42, "cost": 0})
    assert balance.windows["total"].repeated_calls == 0


# -- rewinds and forks --------------------------------------------------------------------------


async def test_a_rewind_gives_nothing_back_and_its_next_call_is_counted(
    gateway: JetStreamGateway,
) -> None:
    shop = Shop(gateway, [tokens(10_000)])
    user, model = shop.user(), PacedModel(WORDS, tokens=(30, 12))
    await deliver(shop.process(model), user.start_chat("Go."))
    waits = replay(await history(gateway, user.key)).seq
    await deliver(shop.process(model), user.send_message("On."))
    seen = replay(await history(gateway, user.key)).seq
    rewind = RewindChat(
        command_id=new_command_id(),
        app_id=shop.app,
        chat_id=user.key.chat,
        user_id=user.user,
        seen_seq=seen,
        to_seq=waits,
    )
    await deliver(shop.process(model), rewind)
    assert await shop.used() == 84
    await deliver(shop.process(model), user.send_message("Else."))
    facts = await history(gateway, user.key)
    assert len(usage(facts)) == 3
    assert await shop.used() == tokens_in(facts) == 126


async def test_a_fork_counts_for_the_chat_that_makes_the_calls(gateway: JetStreamGateway) -> None:
    shop = Shop(gateway, [tokens(10_000, scope="chat")])
    user, model = shop.user(), PacedModel(WORDS, tokens=(30, 12))
    await deliver(shop.process(model), user.start_chat("Go."))
    fork, command = fork_of(user, replay(await history(gateway, user.key)).seq, message="Else.")
    await deliver(shop.process(model), command)
    for chat in (user.key.chat, fork.key.chat):
        balance = await shop.balance("chat", str(chat))
        assert (balance.used("total", "tokens", NOON), balance.holds) == (42, {})


async def test_a_chat_that_a_budget_has_stopped_is_replayed_without_a_difference(
    gateway: JetStreamGateway,
) -> None:
    catalogue = shipped_catalogue()
    executor = AgentExecutor(catalogue, 25)
    shop = Shop(gateway, [tokens(1)])
    user = ChatUser(WorkflowName("HelloWorld"), ChatKey(shop.app, new_chat_id()))
    await deliver(
        runner(gateway, executor, catalogue.workflows, shop.budgets()), user.start_chat("Hello")
    )
    shop.limits = [tokens(10_000, 1)]
    await deliver(
        runner(gateway, executor, catalogue.workflows, shop.budgets()), user.send_message("Now?")
    )
    facts = await history(gateway, user.key)
    types = event_types(facts)
    assert {"budget.exceeded", "budget.warned", "turn.usage_recorded"} <= set(types)
    loaded = load(SHIPPED / "HelloWorld")
    assert isinstance(loaded, LoadedWorkflow)
    replayed = await replay_log(RecordedLog(facts), loaded)
    assert (replayed.divergence, replayed.events) == (None, len(facts))


# -- storage ------------------------------------------------------------------------------------


async def test_large_values_keep_to_the_quota_of_the_app(gateway: JetStreamGateway) -> None:
    shop = Shop(gateway, [Limit(unit="value_bytes", hard=5)])
    budgets = shop.budgets()
    quota = StorageQuota(budgets.limits, budgets.ledgers, lambda: NOON)
    process = shop.process(PacedModel(WORDS), replace(budgets, storage=quota))
    user = shop.user()
    chat = process.open(user.key, user.start_chat("Go.").command_id, 1, 1)
    await chat.store([large_value(b"123")])
    await chat.store([large_value(b"123")])  # stored already
    with pytest.raises(StorageUsedUpError) as refused:
        await chat.store([large_value(b"456")])
    assert refused.value.limit == 2
    balance = await shop.balance("storage")
    assert (balance.used("total", "value_bytes", NOON), balance.holds) == (3, {})
    assert await quota.count(gateway, shop.app) == {"upload_bytes": 0, "value_bytes": 3}


async def test_a_result_beyond_the_quota_fails_the_call_and_not_the_chat(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    shop = Shop(gateway, [Limit(unit="value_bytes", hard=1000)])
    budgets = shop.budgets()
    quota = StorageQuota(budgets.limits, budgets.ledgers, lambda: NOON)
    known = replace(budgets, storage=quota)
    catalogue = folder(tmp_path)
    process = runner(gateway, AgentExecutor(catalogue, 25), catalogue.workflows, known)
    user = ChatUser(WorkflowName("Large"), ChatKey(shop.app, new_chat_id()))
    await deliver(process, user.start_chat())
    facts = await history(gateway, user.key)
    results = [fact.event for fact in facts if isinstance(fact.event, ToolReturned)]
    assert "the storage of this app is nearly full, 1,000 bytes are left" in (
        results[0].error or ""
    )
    assert replay(facts).ended != "failed"


def large_value(data: bytes) -> LargeValue:
    return LargeValue.of(data, "application/json")
