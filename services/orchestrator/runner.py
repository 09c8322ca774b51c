"""Run a chat until it is quiet: under its lease, effect after effect, from wherever its log ends."""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from nats.js.kv import KeyValue

from contracts.ids import ChatKey, WorkflowName
from services.chassis.bus import Bus, RefusedError
from services.chassis.ending import end
from services.orchestrator.chatlog import ChatLog, Clock, FencedError, TurnOverError
from services.orchestrator.decisions import (
    TOO_LARGE,
    UNAVAILABLE,
    CallAround,
    Effect,
    RunTurn,
    conclude,
    pending,
    restate,
)
from services.orchestrator.leases import Lease, take_lease
from services.orchestrator.state import ChatState
from services.orchestrator.turns import Outcome
from services.orchestrator.workflows.spec import Workflow

log = logging.getLogger(__name__)

HELD_SECONDS = 0.25
"""How often a run that came back looks whether the lease of its last runner has ended."""


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
    """Runs chats of this process, one lease each."""

    def __init__(
        self,
        bus: Bus,
        leases: KeyValue,
        repertoire: Repertoire,
        clock: Clock,
        process: str,
    ) -> None:
        self._bus = bus
        self._leases = leases
        self._repertoire = repertoire
        self._clock = clock
        self._process = process

    def open(self, key: ChatKey) -> ChatLog:
        return ChatLog(self._bus, key, self._clock)

    async def workflow(
        self, state: ChatState, asked_for: WorkflowName | None = None
    ) -> Workflow | None:
        staged = await self._repertoire.of(state, asked_for)
        return None if staged is None else staged.workflow

    async def run(self, chat: ChatLog, *, patient: bool) -> None:
        """Do all that a chat waits for from us.

        Where another runner holds the lease: returns, because that one hears of everything; or, if
        `patient` (this work was begun before and its runner may be dead), waits for the lease's end.
        Raises FencedError when another took over meanwhile.
        """
        while await self._pending(chat) is not None:
            lease = await take_lease(self._leases, chat.key, self._process)
            if lease is not None:
                await self._run_under(lease, chat)
            elif not patient:
                return
            else:
                await asyncio.sleep(HELD_SECONDS)
            # Whatever came in while the lease was let go is ours to see: only then is it quiet.
            await chat.refresh()

    async def _pending(self, chat: ChatLog) -> Effect | None:
        return pending(chat.state, await self.workflow(chat.state))

    async def _run_under(self, lease: Lease, chat: ChatLog) -> None:
        async with lease, chat.run_by(lease.runner):
            while (effect := await self._pending(chat)) is not None:
                reached = chat.state.seq
                await self._do(effect, lease, chat)
                if await self._pending(chat) == effect and chat.state.seq == reached:
                    raise StandstillError(f"{chat.key.app}/{chat.key.chat}: {effect}")

    async def _do(self, effect: Effect, lease: Lease, chat: ChatLog) -> None:
        staged = await self._repertoire.of(chat.state)
        if staged is None:
            await chat.append(
                lambda state: conclude(UNAVAILABLE, state, None), cause=_cause(effect)
            )
            return
        workflow = staged.workflow
        await chat.append(lambda state: restate(state, workflow), cause=_cause(effect))
        outcome = await _unless(
            staged.perform(effect, workflow, chat),
            chat.until(lambda state: _is_over(state, effect)),
            lease.lost.wait(),
        )
        if chat.fenced or lease.lost.is_set():
            raise FencedError(f"{chat.key.app}/{chat.key.chat} is run elsewhere")
        if outcome is not None:
            concluded: Outcome = outcome
            await chat.append(
                lambda state: conclude(concluded, state, workflow), cause=_cause(effect)
            )


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


def _cause(effect: Effect) -> str:
    match effect:
        case CallAround(occasion):
            return occasion
        case RunTurn(turn):
            return f"turn:{turn}"
