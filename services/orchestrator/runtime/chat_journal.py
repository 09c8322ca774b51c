"""What a running turn does with its chat: record events, show deltas, set timers, look up data."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from contracts.commands import Command, EscalateQuestion, ExpireQuestion
from contracts.deltas import Delta, TextStreamed
from contracts.events import Event
from contracts.events.turn import InterruptionReason, TextInterrupted
from contracts.ids import ChatKey, QuestionId, RunnerId
from contracts.large_values import LargeValue
from contracts.streamed_text import CallId, call_id
from services.chassis.consumers.slots import Slot
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.domain.external_variables import (
    due,
    lookup_request,
    lookup_requests,
    resolved,
    resolved_value,
    unresolved,
)
from services.orchestrator.domain.question_decisions import timer_id
from services.orchestrator.domain.shown_text import chunks_of_call, interruptions
from services.orchestrator.domain.state import ChatState
from services.orchestrator.domain.turn import Question
from services.orchestrator.runtime.chat_budget import NO_BUDGET, CallBudget
from services.orchestrator.runtime.chat_log import (
    ChatLog,
    Clock,
    Decider,
    TurnOverError,
    decide_nothing,
)
from services.orchestrator.runtime.data_lookup import look_up
from services.orchestrator.runtime.question_notices import NO_LINKS, QuestionNotices
from services.orchestrator.workflows.spec import DataReference, Workflow

READ_SECONDS = 10.0
"""How long text that another process has shown is read; what is read by then is kept."""
REREAD_SECONDS = 0.05
"""The pause before a replica that lags is read again."""
MAX_CLOCK_SKEW = timedelta(seconds=30)
"""How far the clocks of two orchestrators, or of one and NATS, may differ."""


class ChatJournal:
    """One chat, as those see it who execute its turns; `log` is the event log behind it."""

    def __init__(
        self,
        gateway: JetStreamGateway,
        log: ChatLog,
        clock: Clock,
        notices: QuestionNotices = NO_LINKS,
        budget: CallBudget = NO_BUDGET,
    ) -> None:
        self.log = log
        self.budget = budget
        self._gateway = gateway
        self._clock = clock
        self._notices = notices

    @property
    def key(self) -> ChatKey:
        return self.log.key

    @property
    def state(self) -> ChatState:
        return self.log.state

    @property
    def derived(self) -> dict[object, Any]:
        """What was computed from the chat in earlier turns (see `FoldedChat`)."""
        return self.log.derived

    @property
    def runner(self) -> RunnerId:
        return self.log.delivery.runner

    @property
    def slot(self) -> Slot:
        """The slot of the delivery that runs the chat."""
        return self.log.slot

    async def store(self, values: Sequence[LargeValue]) -> None:
        """Store large values of the chat (see `ChatLog.store`)."""
        await self.log.store(values)

    def check_ownership(self) -> None:
        """Raises FencedError or SupersededError once this delivery has lost the chat."""
        self.log.check_ownership()

    def changed(self) -> Coroutine[Any, Any, object]:
        """Completes at the next change of the state after this call, also before it is awaited."""
        return self.log.changed()

    async def append(self, decide: Decider, *, then: Decider = decide_nothing) -> None:
        """Append the events that `decide` returns. Raises what `ChatLog.append` raises."""
        await self.log.append(decide, then=then)

    async def record(self, *events: Event, then: Decider = decide_nothing) -> None:
        """Append events of the open turn, and what follows from them (see `ChatLog.append`).

        Raises TurnOverError, and what `ChatLog.append` raises.
        """
        turn = self.state.turn_number

        def if_open(state: ChatState) -> Sequence[Event]:
            self._check_turn(turn, state)
            return events

        await self.append(if_open, then=then)

    def _check_turn(self, turn: int, state: ChatState) -> None:
        running = state.running_turn
        if running is None or running.number != turn or running.stop is not None:
            raise TurnOverError(f"turn {turn} of {self.key.app}/{self.key.chat}")

    async def show(self, delta: Delta) -> None:
        """Publish a delta to those who watch the chat now; it is not stored as an event."""
        if isinstance(delta, TextStreamed):
            self.log.shown.add(delta)
        await self._gateway.live.publish_delta(self.key, delta)

    # -- text of calls that end without a response -----------------------------------------------

    async def read_shown_text(self) -> None:
        """Take over what another process has shown of the open model call, as far as it is stored.

        Reads until the newest delta is there, as a replica may lag, but for READ_SECONDS at most.
        Raises NatsUnavailableError.
        """
        turn, requested_at = self.state.running_turn, self.state.call_requested_at
        if turn is None or turn.open_request is None or requested_at is None:
            return
        live, call = self._gateway.live, CallId(turn.number, turn.open_request.call)
        newest = await live.newest_delta(self.key)
        is_of_call = isinstance(newest, TextStreamed) and call_id(newest) == call
        since = (requested_at - MAX_CLOCK_SKEW).isoformat()
        clock = asyncio.get_running_loop().time
        deadline = clock() + READ_SECONDS
        chunks = await live.read_deltas(self.key, since=since, seconds=READ_SECONDS)
        while is_of_call and newest not in chunks and clock() < deadline:
            await asyncio.sleep(REREAD_SECONDS)
            seconds = max(deadline - clock(), REREAD_SECONDS)
            chunks = await live.read_deltas(self.key, since=since, seconds=seconds)
        for chunk in chunks_of_call(call, chunks):
            self.log.shown.add(chunk)

    async def interrupt_text(self) -> None:
        """Append what was shown of the model call, which is tried again.

        Raises TurnOverError, and what `ChatLog.append` raises.
        """
        self._check_turn(self.state.turn_number, self.state)
        await self.keep_shown_text("retried")

    async def keep_shown_text(self, reason: InterruptionReason) -> None:
        """Append what was shown of the open model call. Raises what `ChatLog.append` raises."""
        await self.end_call(reason, lambda _, interrupted: interrupted)

    async def end_call(
        self,
        reason: InterruptionReason,
        decide: Callable[[ChatState, Sequence[TextInterrupted]], Sequence[Event]],
        *,
        actor: str = "runtime",
        then: Decider = decide_nothing,
    ) -> None:
        """Append what `decide` returns for what was shown of the open model call and is not kept yet.

        What is too much for one message is appended before. Raises what `ChatLog.append` raises.
        """

        def pieces(state: ChatState) -> list[TextInterrupted]:
            turn = state.running_turn
            if turn is None or turn.open_request is None:
                return []
            shown = self.log.shown.of(turn.number, turn.open_request.call)
            return interruptions(turn, shown, reason)

        while len(pieces(self.state)) > 1:
            await self.log.append(lambda state: pieces(state)[:1])
        await self.log.append(
            lambda state: decide(state, pieces(state)[:1]), then=then, actor=actor
        )

    async def expire(self, question: QuestionId, seconds: float) -> datetime:
        """Schedule the expiry of a question; returns its time.

        Called before the question is asked, so that none is open without its timer: a timer that
        fires in between is retried until the question is asked, or its turn is over.
        """
        time = self._clock() + timedelta(seconds=seconds)
        command = ExpireQuestion(
            command_id=timer_id("expire", question, time),
            app_id=self.key.app,
            chat_id=self.key.chat,
            user_id=self.state.user,
            question_id=question,
        )
        await self._schedule(command, question, time, "")
        return time

    async def announce(self, question: Question) -> None:
        """Record a business event with links that answer a question that is about to be asked."""
        now = self._clock()
        await self.append(lambda state: self._notices.asked(question, self.key, state, now))

    async def escalate(self, question: QuestionId, seconds: float) -> datetime:
        """Schedule the escalation of a question, as `expire` does its expiry; returns its time."""
        time = self._clock() + timedelta(seconds=seconds)
        command = EscalateQuestion(
            command_id=timer_id("escalate", question, time),
            app_id=self.key.app,
            chat_id=self.key.chat,
            user_id=self.state.user,
            question_id=question,
        )
        await self._schedule(command, question, time, "-escalate")
        return time

    async def _schedule(
        self, command: Command, question: QuestionId, time: datetime, suffix: str
    ) -> None:
        timer = f"{self.state.turn_number}-{sha256(question.encode()).hexdigest()[:16]}{suffix}"
        await self._gateway.commands.schedule(time, timer, command)

    async def look_up(
        self, reference: DataReference, variables: Mapping[str, Any], occasion: str
    ) -> Any:
        """The current value of a variable in another database; its default if none is found."""
        request = lookup_request(reference, variables, self.key, self.state.user, occasion)
        found = None if request is None else await look_up(self._gateway.lookups, request)
        return resolved_value(reference, found)

    async def resolve_variables(self, workflow: Workflow) -> None:
        """Look up the variables that the open turn needs. Raises what `ChatLog.append` raises."""
        references = due(workflow, self.state)
        while references:
            await self._resolve(references)
            references = () if self.state.ended else unresolved(workflow, self.state)

    async def _resolve(self, references: Sequence[DataReference]) -> None:
        requests = lookup_requests(references, self.state, self.key)
        found = await asyncio.gather(*(look_up(self._gateway.lookups, one) for one in requests))
        changed = resolved(references, found, self.state)

        def unless_ended(state: ChatState) -> Sequence[Event]:
            return [] if state.ended else [changed]

        await self.append(unless_ended)
