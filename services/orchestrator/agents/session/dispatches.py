"""Records that tools are about to be called: an append that is acknowledged before each call."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts.arguments import digest_of
from contracts.events.turn import (
    DispatchReason,
    ModelResponded,
    Occasion,
    ToolDispatched,
    ToolEffect,
)
from contracts.ids import ChatKey, QuestionId
from services.orchestrator.agents.session.turn_journal import TurnJournal
from services.orchestrator.domain.call_outcomes import arguments_of, is_running, newest_dispatch
from services.orchestrator.domain.turn import Turn


def idempotency_key(key: ChatKey, turn: int, tool_call: str) -> str:
    """The key of a tool call: the same every time the call is made."""
    return f"{key.app}:{key.chat}:{turn}:{tool_call}"


@dataclass(slots=True)
class _Batch:
    """Dispatches of calls that begin at the same time."""

    events: list[ToolDispatched]
    stored: asyncio.Event = field(default_factory=asyncio.Event)
    error: BaseException | None = None


class Dispatches:
    """The dispatches of one turn. An append that fails raises, so that nothing is called.

    `early` are the tools, by name, whose calls are dispatched together with the response that asks
    for them: those that may be repeated, so that it does not matter whether they had begun.
    `occasions` holds why the runtime makes a call, where no model asks for it.
    """

    def __init__(
        self, key: ChatKey, turn: Turn, journal: TurnJournal, early: Mapping[str, ToolEffect]
    ) -> None:
        self.occasions: dict[str, Occasion] = {}
        self._key = key
        self._turn = turn
        self._journal = journal
        self._early = early
        self._dispatched_early: set[str] = set()
        self._batch: _Batch | None = None
        self._storing = asyncio.Lock()

    def key_of(self, tool_call: str) -> str:
        """The idempotency key of a call of the turn."""
        return idempotency_key(self._key, self._turn.number, tool_call)

    def newest(self, tool_call: str) -> ToolDispatched | None:
        """The newest dispatch of a call in the log."""
        return newest_dispatch(self._journal.state, self._turn, tool_call)

    def is_running(self, tool_call: str) -> bool:
        """Whether a call was dispatched, and neither a result nor a question of it is in the log."""
        return is_running(self._journal.state, self._turn, tool_call)

    def of_response(self, response: ModelResponded) -> list[ToolDispatched]:
        """The dispatches that are appended with a response, in one message."""
        return [
            self._event(call.id, call.name, call.arguments, effect, call=response.call)
            for call in response.tool_calls
            if (effect := self._early.get(call.name)) is not None
        ]

    def note_early(self, dispatched: Iterable[ToolDispatched]) -> None:
        """These were appended with the response, unless they were too large for one message."""
        calls = {one.tool_call_id for one in dispatched}
        self._dispatched_early |= {call for call in calls if self.is_running(call)}

    def take_early(self, tool_call: str) -> bool:
        """Whether the log has the first attempt of a call already, which this run is to make."""
        if tool_call not in self._dispatched_early:
            return False
        self._dispatched_early.discard(tool_call)
        return True

    async def append(
        self,
        tool_call: str,
        name: str,
        effect: ToolEffect,
        reason: DispatchReason,
        *,
        call: int,
        approval: QuestionId | None = None,
    ) -> None:
        """Append the next attempt of a call; returns once it is stored.

        `call` is the number of the model call that asks for it. Calls that begin at the same time
        share one message. Raises what `TurnJournal.record` raises.
        """
        arguments = arguments_of(self._journal.state, tool_call)
        event = self._event(tool_call, name, arguments, effect, reason, call=call)
        await self._store(event.model_copy(update={"approval": approval}))

    async def append_continued(self, tool_call: str) -> None:
        """Append that a tool which has waited for an answer continues, unless the log says so."""
        newest = self.newest(tool_call)
        if newest is None or self.is_running(tool_call):
            return
        update = {
            "attempt": newest.attempt + 1,
            "reason": "continue",
            "idempotency_key": self.key_of(
                tool_call
            ),  # the one before may be that of a fork's origin
        }
        await self._store(newest.model_copy(update=update))

    def _event(
        self,
        tool_call: str,
        name: str,
        arguments: str | Mapping[str, Any],
        effect: ToolEffect,
        reason: DispatchReason = "first",
        *,
        call: int,
    ) -> ToolDispatched:
        previous = self.newest(tool_call)
        return ToolDispatched(
            turn=self._turn.number,
            call=call,
            agent=self._turn.agent,
            tool_call_id=tool_call,
            name=name,
            idempotency_key=self.key_of(tool_call),
            arguments_digest=digest_of(arguments),
            effect=effect,
            attempt=1 if previous is None else previous.attempt + 1,
            reason=reason,
            occasion=self.occasions.get(tool_call),
        )

    async def _store(self, event: ToolDispatched) -> None:
        """The first of several stores all of them: those of calls that begin at the same time, or
        while the ones before are stored.
        """
        if (batch := self._batch) is not None:
            batch.events.append(event)
            await batch.stored.wait()
            if batch.error is not None:
                raise batch.error
            return
        batch = self._batch = _Batch([event])
        try:
            async with self._storing:
                await asyncio.sleep(0)  # the other calls of the response begin meanwhile
                self._batch = None
                await self._journal.record(*batch.events)
        except BaseException as error:
            batch.error = error
            raise
        finally:
            if self._batch is batch:  # cancelled before it was stored
                self._batch = None
            batch.stored.set()
