"""Publishes the text of a model call while it is generated, unless it may turn out to be hidden."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from contracts.deltas import TextStreamed
from contracts.events.turn import SELECTOR
from contracts.ids import RunnerId
from services.orchestrator.agents.session.ports import Journal
from services.orchestrator.agents.session.text_pacing import TextPacing
from services.orchestrator.domain.turn import Turn


@dataclass(frozen=True, slots=True)
class OutputPolicy:
    """What happens to an agent's text before it is shown.

    `hides` says whether a text is for the runtime alone; `may_become_hidden` whether the beginning
    of one may still become such a text; `edit` is the text as the workflow's hooks change it.
    """

    hides: Callable[[str], bool] = lambda _: False
    may_become_hidden: Callable[[str], bool] = lambda _: False
    edit: Callable[[str], Awaitable[str]] | None = None


DEFAULT_OUTPUT_POLICY = OutputPolicy()
ATTEMPTS_PER_REQUEST = 1000
"""More than one request is tried: the attempts of the next one for the same call have other numbers."""


class TextStream:
    """The text deltas of one turn's current model call.

    Chunks wait for a moment as `TextPacing` says; a publication that was due is a task, which the
    next publication or `flush` waits for.
    """

    def __init__(self, turn: Turn, journal: Journal, policy: OutputPolicy) -> None:
        self._turn = turn
        self._journal = journal
        self._policy = policy
        self._call = 0
        self._attempt = 0
        self._published_chars = 0
        self._held_back = ""
        self._waiting: list[str] = []
        self._waiting_chars = 0
        self._pacing = TextPacing()
        self._timer: asyncio.TimerHandle | None = None
        self._publication: asyncio.Task[None] | None = None

    def start_call(self, call: int) -> None:
        self._call = call
        failures = len(self._turn.failures) if call == self._turn.next_call else 0
        self._attempt, self._published_chars = ATTEMPTS_PER_REQUEST * failures, 0
        self._held_back = ""
        self._pacing = TextPacing()

    async def restart(self) -> None:
        """The call is tried again: its text begins anew, for viewers as that of another runner."""
        await self.flush()
        self._held_back = ""
        self._pacing = TextPacing()
        if self._published_chars:
            await self._journal.interrupt_text()
            self._published_chars = 0
            self._attempt += 1

    async def append(self, text: str) -> None:
        """Publish a chunk, now or soon, or hold it back while the whole text may turn out to be hidden."""
        policy, turn = self._policy, self._turn
        self._held_back += text
        if turn.agent == SELECTOR or policy.edit or policy.may_become_hidden(self._held_back):
            return
        shown, self._held_back = self._held_back, ""
        self._waiting.append(shown)
        self._waiting_chars += len(shown)
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._pacing = self._pacing.after_chunk(now)
        due = self._pacing.due(now, self._waiting_chars)
        if due <= now:
            await self.flush()
        elif self._timer is None:
            self._timer = loop.call_at(due, self._publish_in_task)

    async def flush(self) -> None:
        """Publish the text that waits; returns once all text is published."""
        previous, self._publication = self._publication, None
        await self._publish(previous)

    def _publish_in_task(self) -> None:
        self._publication = asyncio.create_task(self._publish(self._publication))

    async def _publish(self, previous: asyncio.Task[None] | None) -> None:
        if previous is not None:
            await previous
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            self._note_publication()
            await self._journal.show(self._take_waiting())

    def _note_publication(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._pacing = self._pacing.after_publication(now)
        loop.call_soon(self._note_loop_round, now)

    def _note_loop_round(self, began: float) -> None:
        seconds = asyncio.get_running_loop().time() - began
        self._pacing = self._pacing.after_loop_round(seconds)

    def _take_waiting(self) -> TextStreamed:
        text = "".join(self._waiting)
        delta = TextStreamed(
            turn=self._turn.number,
            call=self._call,
            agent=self._turn.agent,
            runner=self._runner,
            offset=self._published_chars,
            text=text,
        )
        self._published_chars += len(text)
        self._waiting, self._waiting_chars = [], 0
        return delta

    @property
    def _runner(self) -> RunnerId:
        runner = self._journal.runner
        return RunnerId(f"{runner}.{self._attempt}") if self._attempt else runner
