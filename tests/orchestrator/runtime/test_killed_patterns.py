"""Every pattern on a real NATS, with a runner that dies after every append: the log is that of an uninterrupted run."""

from pathlib import Path
from typing import Any

import pytest

from contracts.commands import Command
from contracts.events import Event
from contracts.events.run import RunClaimed
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.domain.evolution import replay
from services.orchestrator.domain.state import Effect, pending
from services.orchestrator.domain.turn_steps import Outcome
from services.orchestrator.runtime.chat_journal import ChatJournal
from services.orchestrator.runtime.chat_log import Decider, decide_nothing
from services.orchestrator.workflows.spec import Workflow
from tests.orchestrator.agent_sets import (
    demo_catalogue,
    is_repeated_dispatch,
    lasting,
    next_user_message,
    workflows_by_pattern,
)
from tests.orchestrator.agents.execution.test_resuming import PATTERNS, run_to_end
from tests.orchestrator.chat_harness import ChatUser, deliver, history, runner
from tests.story import given

pytestmark = pytest.mark.broker


class RunnerDiedError(Exception):
    """The runner's process has died."""


class DyingJournal:
    """The journal of a chat whose runner dies after the next append.

    Not after one that only says that a call is made again, or it would be made again for ever.
    """

    def __init__(self, journal: ChatJournal) -> None:
        self._journal = journal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def record(self, *events: Event, then: Decider = decide_nothing) -> None:
        await self._journal.record(*events, then=then)
        if not all(is_repeated_dispatch(event) for event in events):
            raise RunnerDiedError

    async def append(self, decide: Decider, *, then: Decider = decide_nothing) -> None:
        before = self._journal.state
        await self._journal.append(decide, then=then)
        if not all(is_repeated_dispatch(event) for event in decide(before)):
            raise RunnerDiedError


class DyingExecutor(AgentExecutor):
    """An executor whose process dies after the next append."""

    async def __call__(self, effect: Effect, workflow: Workflow, journal: ChatJournal) -> Outcome:
        dying_journal: Any = DyingJournal(journal)
        return await super().__call__(effect, workflow, dying_journal)


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_a_chat_whose_runners_die_has_the_same_log_as_an_uninterrupted_one(
    gateway: JetStreamGateway, tmp_path: Path, pattern: str
) -> None:
    loaded = workflows_by_pattern(tmp_path)[pattern]
    user = ChatUser(loaded.workflow.name)
    catalogue = demo_catalogue(loaded)
    deaths = 0
    order: Command = user.start_chat()
    while True:
        worker = runner(gateway, DyingExecutor(catalogue, 25), workflows=catalogue.workflows)
        try:
            await deliver(worker, order)
        except RunnerDiedError:
            deaths += 1
            continue
        state = replay(facts := await history(gateway, user.key))
        if state.ended is not None:
            break
        assert pending(state) is None
        order = user.send_message(next_user_message(state))
    assert deaths > 6
    events = [fact.event for fact in facts if not isinstance(fact.event, RunClaimed)]
    unharmed = await run_to_end(loaded, given(*events[:2]).under(loaded.workflow))
    assert lasting(events[2:]) == lasting(unharmed.events)
