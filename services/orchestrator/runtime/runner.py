"""Run a chat until it is quiet: execute one pending effect after the other."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

from contracts import subjects
from contracts.commands import EscalateQuestion
from contracts.events import Event
from contracts.events.turn import TextInterrupted
from contracts.ids import ChatKey, CommandId, DeliveryId, WorkflowName
from services.chassis.budgets.storage import StorageUsedUpError
from services.chassis.consumers.slots import NO_SLOT, Slot
from services.chassis.jetstream.errors import NatsRejectedError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.tasks import cancel_and_wait
from services.orchestrator.domain.chat_failures import (
    EVENT_TOO_LARGE,
    STORAGE_USED_UP,
    fail_lost_value,
    fail_unavailable,
    skip_lifecycle_tools,
)
from services.orchestrator.domain.decisions import conclude, tool_code_changed
from services.orchestrator.domain.question_decisions import escalate
from services.orchestrator.domain.shown_text import reason_of_end
from services.orchestrator.domain.state import (
    ChatState,
    Effect,
    RunLifecycleTools,
    RunTurn,
    StopTurn,
    pending,
)
from services.orchestrator.domain.stop_decisions import stop
from services.orchestrator.domain.turn_steps import Outcome, lifecycle_calls
from services.orchestrator.runtime.chat_budget import NO_BUDGET, Budgets, ChatBudget
from services.orchestrator.runtime.chat_cache import ChatCache
from services.orchestrator.runtime.chat_journal import ChatJournal
from services.orchestrator.runtime.chat_log import (
    ChatLog,
    Clock,
    Decider,
    SupersededError,
    TurnOverError,
    decide_nothing,
)
from services.orchestrator.runtime.chat_snapshots import ChatSnapshots
from services.orchestrator.runtime.question_notices import NO_LINKS, QuestionNotices
from services.orchestrator.runtime.run_spans import (
    effect_span,
    note_end,
    note_outcome,
    workflow_span,
)
from services.orchestrator.workflows.spec import Workflow

log = logging.getLogger(__name__)


class StandstillError(Exception):
    """An effect was executed and appended nothing, so that it would be executed again forever."""


class EffectExecutor(Protocol):
    """Executes an effect of a chat (implemented by the AG2 adapter)."""

    def __call__(
        self, effect: Effect, workflow: Workflow, journal: ChatJournal, /
    ) -> Coroutine[Any, Any, Outcome]: ...


class TurnOpener(Protocol):
    """Decides how the open turn begins, if its first step needs nothing but the state."""

    def __call__(
        self, state: ChatState, workflow: Workflow, key: ChatKey, derived: dict[object, Any], /
    ) -> Sequence[Event]: ...


def open_nothing(
    _: ChatState, __: Workflow, ___: ChatKey, ____: dict[object, Any]
) -> Sequence[Event]:
    """A TurnOpener that leaves it to the executor."""
    return ()


@dataclass(frozen=True, slots=True)
class RunnableWorkflow:
    """One version of a workflow, and what executes its effects."""

    workflow: Workflow
    execute: EffectExecutor
    open_turn: TurnOpener = open_nothing

    def opening(self, chat: ChatLog) -> Decider:
        """What begins the open turn of a chat, to be appended with what opens the turn."""

        def decide(state: ChatState) -> Sequence[Event]:
            if tool_code_changed(state, self.workflow):
                return ()  # to be recorded first
            return self.open_turn(state, self.workflow, chat.key, chat.derived)

        return decide


class WorkflowSource(Protocol):
    """The workflows that this process can run."""

    async def find(
        self, state: ChatState, requested: WorkflowName | None = None, /
    ) -> RunnableWorkflow | None:
        """The version that a chat continues with, or starts with if it is new.

        None if it is not available. Raises NatsUnavailableError.
        """
        ...


class Runner:
    """Runs the chats of this process, each on behalf of the delivery that owns it."""

    def __init__(
        self,
        gateway: JetStreamGateway,
        workflows: WorkflowSource,
        clock: Clock,
        process: str,
        notices: QuestionNotices = NO_LINKS,
        budgets: Budgets | None = None,
        snapshots: ChatSnapshots | None = None,
    ) -> None:
        self._snapshots = snapshots
        self._budgets = budgets
        self._gateway = gateway
        self._workflows = workflows
        self._clock = clock
        self._process = process
        self._notices = notices
        self._cache = ChatCache(lambda: gateway.nc.stats["reconnects"])
        gateway.refills[subjects.EVENTS] = self._cache.clear
        self._deliveries = count(1)

    def open(
        self,
        key: ChatKey,
        command: CommandId,
        message: int,
        attempt: int,
        trace: str | None = None,
        slot: Slot = NO_SLOT,
    ) -> ChatLog:
        """The log of a chat, for one delivery of a command's message."""
        # After losing its state, a consumer may deliver a message twice with the same attempt number.
        process = f"{self._process}-{next(self._deliveries)}"
        delivery = DeliveryId(process, message, attempt)
        quota = None if self._budgets is None else self._budgets.storage
        return ChatLog(
            self._gateway,
            key,
            delivery,
            command,
            self._clock,
            self._cache,
            trace,
            quota,
            self._snapshots,
            slot,
        )

    async def announce_escalation(self, chat: ChatLog, command: EscalateQuestion) -> None:
        """Record the links of a question that is about to be escalated, if any are to be sent."""
        question, now = command.question_id, self._clock()
        await chat.append(
            lambda state: (
                self._notices.escalated(question, chat.key, state, now)
                if escalate(command, state)
                else []
            )
        )

    async def find(
        self, state: ChatState, requested: WorkflowName | None = None
    ) -> RunnableWorkflow | None:
        """See WorkflowSource."""
        return await self._workflows.find(state, requested)

    async def run(self, chat: ChatLog, *, takeover: bool, repair: bool = False) -> None:
        """Execute all effects of a chat until it is quiet, if this delivery owns it.

        `takeover` or `repair`: another delivery may have begun the run; what it has shown of an
        unfinished model call is kept first. Also returns if another command's delivery owns the chat, which follows every event: in
        both cases the message may be acknowledged. Raises FencedError if a later delivery of the
        same message has taken over.
        """
        async with self._budget(chat) as budget:
            if budget is not None and takeover:
                await budget.take_over()
            if not chat.is_owned:
                return
            try:
                with workflow_span(chat) as span:
                    chat.trace = span.traceparent
                    await self._run(chat, budget, takeover=takeover, repair=repair)
                    note_end(span, chat.state)
                await chat.keep_snapshot()
            except SupersededError as superseded:
                log.info("another delivery continues the run", extra={"why": str(superseded)})

    @asynccontextmanager
    async def _budget(self, chat: ChatLog) -> AsyncIterator[ChatBudget | None]:
        """The budget of a run, settled at its end: before its message is acknowledged."""
        if self._budgets is None:
            yield None
            return
        budget = self._budgets.of(chat)
        try:
            yield budget
        except BaseException:
            await budget.abandon()
            raise
        await budget.aclose()

    async def _run(
        self, chat: ChatLog, budget: ChatBudget | None, *, takeover: bool, repair: bool
    ) -> None:
        async with chat.running(takeover=takeover):
            if takeover or repair:
                await self.keep_shown_text(chat)
            while (effect := pending(chat.state)) is not None:
                await chat.slot.acquire()  # the effect before may have ended while it was released
                chat.check_ownership()
                seq = chat.state.seq
                await self._execute(effect, chat, budget)
                if pending(chat.state) == effect and chat.state.seq == seq:
                    raise StandstillError(f"{chat.key.app}/{chat.key.chat}: {effect}")
            chat.check_ownership()

    async def keep_shown_text(self, chat: ChatLog) -> None:
        """Append what another process has shown of the open model call, as far as it is stored.

        Raises what `ChatLog.append` raises.
        """
        journal = ChatJournal(self._gateway, chat, self._clock)
        await journal.read_shown_text()
        await journal.keep_shown_text(reason_of_end(chat.state))

    async def _stop(self, chat: ChatLog, budget: ChatBudget | None) -> None:
        """End the open turn, which the user or a budget has stopped, and keep what was shown of it."""
        runnable = await self._workflows.find(chat.state)
        workflow = None if runnable is None else runnable.workflow
        turn = chat.state.running_turn
        requested = None if turn is None else turn.stop
        journal = ChatJournal(self._gateway, chat, self._clock)
        usage = None if budget is None else await budget.usage_of_stopped_call()
        used = () if usage is None else (usage,)
        await journal.end_call(
            reason_of_end(chat.state),
            lambda state, interrupted: stop(state, workflow, [*interrupted, *used]),
            actor="runtime" if requested is None else f"user:{requested.user_id}",
            then=decide_nothing if runnable is None else runnable.opening(chat),
        )
        if budget is not None:
            budget.settle()

    async def _execute(self, effect: Effect, chat: ChatLog, budget: ChatBudget | None) -> None:
        if isinstance(effect, StopTurn):
            await self._stop(chat, budget)
            return
        if chat.lost_value:
            await chat.append(fail_lost_value)
            return
        runnable = await self._workflows.find(chat.state)
        if runnable is None:
            await chat.append(fail_unavailable)
            return
        workflow = runnable.workflow
        if isinstance(effect, RunLifecycleTools) and not lifecycle_calls(
            effect.occasion, chat.state, workflow
        ):
            await chat.append(lambda state: skip_lifecycle_tools(effect.occasion, state))
            return
        await chat.append(lambda state: tool_code_changed(state, workflow))
        journal = ChatJournal(self._gateway, chat, self._clock, self._notices, budget or NO_BUDGET)
        with effect_span(effect, chat) as span:
            outcome = await unless_ended(
                runnable.execute(effect, workflow, journal),
                chat.wait_until(lambda state: is_over(state, effect)),
            )
            note_outcome(span, outcome)
        chat.check_ownership()
        if outcome is not None:
            concluded: Outcome = outcome
            await journal.end_call(
                "failed",
                lambda state, interrupted: _concluded(concluded, state, workflow, interrupted),
                then=runnable.opening(chat),
            )


def _concluded(
    outcome: Outcome, state: ChatState, workflow: Workflow, interrupted: Sequence[TextInterrupted]
) -> Sequence[Event]:
    """The end of a turn, after what was shown of the call with which it failed."""
    events = conclude(outcome, state, workflow)
    return [*interrupted, *events] if events else ()


async def unless_ended(
    work: Coroutine[Any, Any, Outcome], *endings: Coroutine[Any, Any, object]
) -> Outcome | None:
    """The outcome of the work; None if one of the endings completes first, or the turn is over."""
    working = asyncio.create_task(work)
    ends = [asyncio.create_task(ending) for ending in endings]
    try:
        await asyncio.wait([working, *ends], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return None
        return working.result()
    except TurnOverError:
        return None
    except StorageUsedUpError as used_up:
        log.warning("the storage of an app is used up", extra={"why": str(used_up)})
        return STORAGE_USED_UP
    except NatsRejectedError as rejected:  # the same step would be rejected again
        log.warning("an event of a turn was rejected", extra={"why": str(rejected)})
        return EVENT_TOO_LARGE
    finally:
        await cancel_and_wait(working, *ends)


def is_over(state: ChatState, effect: Effect) -> bool:
    match effect:
        case RunLifecycleTools("after_chat"):
            return False
        case RunLifecycleTools():
            return state.ended is not None
        case RunTurn(number) | StopTurn(number):
            turn = state.running_turn
            return turn is None or turn.number != number or turn.stop is not None
