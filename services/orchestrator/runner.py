"""Run a chat until it is quiet: effect after effect, from wherever its log ends."""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

from contracts.ids import ChatKey, CommandId, DeliveryId, WorkflowName
from services.chassis.bus import Bus
from services.chassis.direct_get import RefusedError
from services.chassis.ending import end
from services.orchestrator.chatlog import ChatLog, Clock, SupersededError, TurnOverError
from services.orchestrator.decisions import TOO_LARGE, conclude, not_called, restate, unavailable
from services.orchestrator.state import CallAround, ChatState, Effect, RunTurn, pending
from services.orchestrator.turns import Outcome, around_chat
from services.orchestrator.workflows.spec import Workflow

log = logging.getLogger(__name__)


class StandstillError(Exception):
    """What was to be done left nothing in the log, and would be done again and again."""


class Performer(Protocol):
    """Does what a chat waits for (the AG2 adapter)."""

    def __call__(
        self, effect: Effect, workflow: Workflow, chat: ChatLog, /
    ) -> Coroutine[Any, Any, Outcome]: ...


@dataclass(frozen=True, slots=True)
class Staged:
    """One version of a workflow, and who performs it."""

    workflow: Workflow
    perform: Performer


class Repertoire(Protocol):
    """What this process can run."""

    async def of(self, state: ChatState, asked_for: WorkflowName | None = None, /) -> Staged | None:
        """The version that a chat goes on with, or begins with where it is new.

        None where it cannot be had. Raises UnavailableError.
        """
        ...


class Runner:
    """Runs chats of this process, each in the hands of the delivery that owns it."""

    def __init__(self, bus: Bus, repertoire: Repertoire, clock: Clock, process: str) -> None:
        self._bus = bus
        self._repertoire = repertoire
        self._clock = clock
        self._process = process
        self._deliveries = count(1)

    def open(self, key: ChatKey, command: CommandId, message: int, attempt: int) -> ChatLog:
        """A chat in the hands of one delivery of a command's message."""
        # A consumer that lost its state may give this process one message twice, counted alike.
        process = f"{self._process}-{next(self._deliveries)}"
        delivery = DeliveryId(process, message, attempt)
        return ChatLog(self._bus, key, delivery, command, self._clock)

    async def workflow(
        self, state: ChatState, asked_for: WorkflowName | None = None
    ) -> Workflow | None:
        staged = await self._repertoire.of(state, asked_for)
        return None if staged is None else staged.workflow

    async def run(self, chat: ChatLog, *, takeover: bool) -> None:
        """Do all that a chat waits for from us, where it is this delivery's to run; until it is quiet.

        Returns also where another command's delivery runs it, which hears of everything: either way
        the message may be acknowledged. Raises FencedError where a later delivery of the same
        message took over: then it is in that one's hands.
        """
        if not chat.is_owned:
            return
        try:
            async with chat.running(takeover=takeover):
                while (effect := pending(chat.state)) is not None:
                    chat.check_ownership()
                    reached = chat.state.seq
                    await self._do(effect, chat)
                    if pending(chat.state) == effect and chat.state.seq == reached:
                        raise StandstillError(f"{chat.key.app}/{chat.key.chat}: {effect}")
                chat.check_ownership()
        except SupersededError as superseded:
            log.info("the run goes on elsewhere", extra={"why": str(superseded)})

    async def _do(self, effect: Effect, chat: ChatLog) -> None:
        staged = await self._repertoire.of(chat.state)
        if staged is None:
            await chat.append(unavailable)
            return
        workflow = staged.workflow
        if isinstance(effect, CallAround) and not around_chat(
            effect.occasion, chat.state, workflow
        ):
            await chat.append(lambda state: not_called(effect.occasion, state))
            return
        await chat.append(lambda state: restate(state, workflow))
        outcome = await _unless(
            staged.perform(effect, workflow, chat),
            chat.until(lambda state: _is_over(state, effect)),
        )
        chat.check_ownership()
        if outcome is not None:
            concluded: Outcome = outcome
            await chat.append(lambda state: conclude(concluded, state, workflow))


async def _unless(
    work: Coroutine[Any, Any, Outcome], *endings: Coroutine[Any, Any, object]
) -> Outcome | None:
    """The outcome of the work; none where one of the endings came first, or made it void."""
    working = asyncio.create_task(work)
    ends = [asyncio.create_task(ending) for ending in endings]
    try:
        await asyncio.wait([working, *ends], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return None
        return working.result()
    except TurnOverError:
        return None
    except RefusedError as refused:  # the same step would be refused again
        log.warning("a turn was refused", extra={"why": str(refused)})
        return TOO_LARGE
    finally:
        await end(working, *ends)


def _is_over(state: ChatState, effect: Effect) -> bool:
    match effect:
        case CallAround("after_chat"):
            return False
        case CallAround():
            return state.ended is not None
        case RunTurn(turn):
            return state.ended is not None or state.open is None or state.open.number != turn
