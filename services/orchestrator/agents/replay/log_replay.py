"""Replays the log of a chat on a workflow: the real rules, turns and AG2; recorded models and tools."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from contracts.codec import Fact
from contracts.events.turn import TurnFailed
from services.chassis.tasks import cancel_and_wait
from services.orchestrator.agents.execution.agent_set import AgentSet
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.agents.registry.workflow_version import WorkflowVersion, build_version
from services.orchestrator.agents.replay.log_file import RecordedLog
from services.orchestrator.agents.replay.recorded_chat import Divergence, RecordedChat
from services.orchestrator.agents.replay.recorded_code import with_recorded_tools
from services.orchestrator.agents.replay.recorded_model import ChatSource, recorded_model_factory
from services.orchestrator.agents.replay.recorded_servers import RecordedToolkit
from services.orchestrator.agents.session.ports import Journal
from services.orchestrator.domain.chat_failures import skip_lifecycle_tools
from services.orchestrator.domain.decisions import conclude
from services.orchestrator.domain.state import (
    ChatState,
    Effect,
    RunLifecycleTools,
    StopTurn,
    pending,
)
from services.orchestrator.domain.stop_decisions import stop
from services.orchestrator.domain.turn_steps import lifecycle_calls
from services.orchestrator.runtime.chat_journal import ChatJournal
from services.orchestrator.runtime.chat_log import Decider
from services.orchestrator.runtime.runner import is_over, unless_ended
from services.orchestrator.workflows.loading import (
    NO_ENVIRONMENT,
    BrokenWorkflow,
    LoadedWorkflow,
)

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 30.0
"""How long nothing may happen before the code is held to have come to an end."""
_UNLIMITED = 1_000_000


class NotReplayableError(Exception):
    """The log or the workflow cannot be replayed; the message says why."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """How far a log was replayed: `events` happened, of which `taken` were not compared."""

    events: int
    taken: int
    state: ChatState
    divergence: Divergence | None


async def replay_log(
    log: RecordedLog, loaded: LoadedWorkflow, *, patience: float = PATIENCE_SECONDS
) -> Replayed:
    """Replay a chat's events, which are all from the first on, on a workflow.

    Raises NotReplayableError.
    """
    facts = log.facts
    if not facts:
        raise NotReplayableError("there is no event")
    source = ChatSource()
    version = build_version(
        with_recorded_tools(loaded, source),
        recorded_model_factory(source),
        NO_ENVIRONMENT,
        partial(RecordedToolkit, source),
    )
    if isinstance(version, BrokenWorkflow):
        raise NotReplayableError("; ".join(version.problems))
    workflow = version.workflow
    executor = AgentExecutor(version, _call_limit(facts))

    def opening(chat: RecordedChat) -> Decider:
        return lambda state: executor.open_turn(state, workflow, chat.key, chat.derived)

    chat = source.chat = RecordedChat(facts, workflow, opening, log.values)
    running = asyncio.create_task(_run(chat, version, executor), name="replay")
    finished = asyncio.create_task(chat.finished.wait())
    try:
        await _until_end(chat, running, finished, patience)
    finally:
        await cancel_and_wait(running, finished)
    return Replayed(chat.place, chat.taken, chat.state, chat.divergence)


async def _until_end(
    chat: RecordedChat,
    running: asyncio.Task[None],
    finished: asyncio.Task[bool],
    patience: float,
) -> None:
    while not finished.done():
        place = chat.place
        await asyncio.wait(
            [running, finished], timeout=patience, return_when=asyncio.FIRST_COMPLETED
        )
        if running.done() and not finished.done():
            if (error := running.exception()) is not None:
                log.warning("the replay failed", exc_info=error)
            chat.stall()
            return
        if not finished.done() and chat.place == place:
            chat.stall()
            return


def agents_of(loaded: LoadedWorkflow) -> AgentSet:
    """The agents of a workflow, to compare what they offer. Raises NotReplayableError."""
    version = build_version(loaded, recorded_model_factory(ChatSource()), NO_ENVIRONMENT)
    if isinstance(version, BrokenWorkflow):
        raise NotReplayableError("; ".join(version.problems))
    return version.agent_set


def _call_limit(facts: Sequence[Fact]) -> int:
    """The number of model calls that a turn might make: where one failed by it, the calls it made."""
    for fact in facts:
        if isinstance(fact.event, TurnFailed) and fact.event.code == "CALL_LIMIT":
            words = (word for word in fact.event.message.split() if word.isdigit())
            return int(next(words, _UNLIMITED))
    return _UNLIMITED


async def _run(chat: RecordedChat, version: WorkflowVersion, executor: AgentExecutor) -> None:
    """Execute the effects that the chat waits for; ends where it waits for nothing more."""
    chat.happen()
    workflow = version.workflow
    while not chat.finished.is_set() and (effect := pending(chat.state)) is not None:
        place = chat.place
        match effect:
            case StopTurn():
                await chat.append(
                    lambda state: stop(state, workflow),
                    then=lambda state: executor.open_turn(state, workflow, chat.key, chat.derived),
                )
            case RunLifecycleTools(occasion) if not lifecycle_calls(occasion, chat.state, workflow):
                await chat.append(
                    lambda state, occasion=occasion: skip_lifecycle_tools(occasion, state)  # type: ignore[misc]
                )
            case _:
                await _execute(effect, chat, version, executor)
        if chat.place == place and pending(chat.state) == effect:
            return


async def _execute(
    effect: Effect, chat: RecordedChat, version: WorkflowVersion, executor: AgentExecutor
) -> None:
    workflow, takeovers = version.workflow, chat.takeovers
    session: Journal = chat
    journal = cast(ChatJournal, session)  # what the executor uses of it

    async def ended() -> None:
        while chat.takeovers == takeovers and not is_over(chat.state, effect):
            await chat.changed()

    outcome = await unless_ended(executor(effect, workflow, journal), ended())
    if outcome is not None and chat.takeovers == takeovers:
        await chat.append(
            lambda state: conclude(outcome, state, workflow),
            then=lambda state: executor.open_turn(state, workflow, chat.key, chat.derived),
        )
