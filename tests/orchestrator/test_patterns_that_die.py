"""Every pattern on a real NATS, its runner dying after every append: the log is as memory has it."""

from pathlib import Path
from typing import Any

import pytest

from contracts.commands import Command
from contracts.events import Event
from contracts.events.run import RunClaimed
from services.chassis.bus import Bus
from services.orchestrator.agents.offer import build_performer
from services.orchestrator.chatlog import ChatLog
from services.orchestrator.runner import Performer
from services.orchestrator.state import Effect, pending, replay
from services.orchestrator.turns import Outcome
from services.orchestrator.workflows.spec import Workflow
from tests.orchestrator.agents.test_resuming import PATTERNS, play
from tests.orchestrator.casts import cast, more, offered, timeless
from tests.orchestrator.world import Person, history, runner, tell
from tests.story import given

pytestmark = pytest.mark.broker


class DiedError(Exception):
    """The end of a runner."""


class Mortal:
    """A chat's log in the hands of a runner that dies once it has appended one more thing."""

    def __init__(self, chat: ChatLog) -> None:
        self._chat = chat

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chat, name)

    async def record(self, *events: Event) -> None:
        await self._chat.record(*events)
        raise DiedError

    async def append(self, *told: Any, **more: Any) -> None:
        await self._chat.append(*told, **more)
        raise DiedError


def dying(perform: Performer) -> Performer:
    async def die(effect: Effect, workflow: Workflow, chat: ChatLog) -> Outcome:
        mortal: Any = Mortal(chat)
        return await perform(effect, workflow, mortal)

    return die


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_a_chat_whose_runners_die_is_the_chat_that_nobody_interrupted(
    bus: Bus, tmp_path: Path, pattern: str
) -> None:
    loaded = cast(tmp_path)[pattern]
    person = Person(loaded.workflow.name)
    offer = offered(loaded)
    deaths = 0
    order: Command = person.starts()
    while True:
        told = runner(bus, dying(build_performer(offer, 25)), workflows=offer.workflows)
        try:
            await tell(told, order)
        except DiedError:
            deaths += 1
            continue
        state = replay(facts := await history(bus, person.key))
        if state.ended is not None:
            break
        assert pending(state) is None
        order = person.says(more(state))
    assert deaths > 6
    events = [fact.event for fact in facts if not isinstance(fact.event, RunClaimed)]
    unharmed = await play(loaded, given(*events[:2]).under(loaded.workflow))
    assert [timeless(event) for event in events[2:]] == [
        timeless(event) for event in unharmed.events
    ]
