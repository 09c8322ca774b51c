"""AG2's stream, write-ahead: what an event makes true is kept before anyone acts on it."""

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from typing import Any
from uuid import UUID

from ag2 import MemoryStream
from ag2.context import ConversationContext, SubId
from ag2.events import BaseEvent, ModelRequest, ModelResponse, ToolResultsEvent
from ag2.events.conditions import Condition

from services.orchestrator.agents.crossing import Crossing

Keep = Callable[[BaseEvent, ConversationContext], Awaitable[BaseEvent]]
"""Keeps an event in the log and returns it as the log has it."""

_REMEMBERED = (ModelRequest, ModelResponse, ToolResultsEvent)
"""What providers read of a history; calls and single results are in these already."""
_NUMBERS = count()


class DurableStream(MemoryStream):
    """A stream whose every event passes `keep` first.

    AG2 builds a pydantic model for every subscriber of every turn, two thirds of a turn's CPU; its
    own subscribers take `(event, context)` or `(event)`, so they are called as they are.
    """

    __slots__ = ("_called", "_home", "_keep")

    def __init__(self, keep: Keep) -> None:
        self._called: dict[SubId, tuple[Condition | None, Callable[..., Any], bool, bool]] = {}
        self._keep = keep
        self._home = Crossing()
        super().__init__()
        self._called.clear()  # the default subscriber stores what `send` stores below

    def subscribe(
        self,
        func: Callable[..., Any] | None = None,
        *,
        interrupt: bool = False,
        sync_to_thread: bool = True,  # noqa: ARG002
        condition: Condition | None = None,
    ) -> Any:
        if func is None:
            raise TypeError("subscribe with a function: this stream builds no decorators")
        sub_id = UUID(int=next(_NUMBERS))
        wants_context = len(inspect.signature(func).parameters) > 1
        self._called[sub_id] = (condition, func, wants_context, interrupt)
        return sub_id

    def unsubscribe(self, sub_id: SubId) -> None:
        self._called.pop(sub_id, None)

    async def send(self, event: BaseEvent, context: ConversationContext) -> None:
        """From a tool's own loop, too, as when a tool asks by AG2's `Context`."""
        await self._home.over(partial(self._send, event, context))

    async def _send(self, event: BaseEvent, context: ConversationContext) -> None:
        event = await self._keep(event, context)
        if type(event).__transient__:
            return  # shown by `keep`; nobody inside a turn waits for it
        if isinstance(event, _REMEMBERED):
            await self.history.storage.save_event(event, context)
        taken = [entry for entry in self._called.values() if entry[3]]
        followers = [entry for entry in self._called.values() if not entry[3]]
        for condition, func, wants_context, _ in taken:
            if condition is None or condition(event):
                replaced = await _call(func, event, context, wants_context=wants_context)
                if not replaced:
                    return
                event = replaced
        for condition, func, wants_context, _ in followers:
            if condition is None or condition(event):
                await _call(func, event, context, wants_context=wants_context)


async def _call(
    func: Callable[..., Any], event: BaseEvent, context: ConversationContext, *, wants_context: bool
) -> Any:
    outcome = func(event, context) if wants_context else func(event)
    return await outcome if inspect.isawaitable(outcome) else outcome
