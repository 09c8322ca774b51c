"""AG2's event stream with a write-ahead log: an event is stored before a subscriber acts on it."""

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from types import CodeType
from typing import Any
from uuid import UUID

from ag2 import MemoryStream
from ag2.context import ConversationContext, SubId
from ag2.events import BaseEvent, ModelRequest, ModelResponse, ToolResultsEvent
from ag2.events.conditions import Condition

from services.orchestrator.agents.sandbox.loop_bridge import LoopBridge

Persist = Callable[[BaseEvent, ConversationContext], Awaitable[BaseEvent]]
"""Stores an event in the log and returns it as the log has it."""

_HISTORY_EVENTS = (ModelRequest, ModelResponse, ToolResultsEvent)
"""What providers read of a history; tool calls and single results are contained in these."""
_SUBSCRIPTION_NUMBERS = count()
_TAKES_CONTEXT: dict[tuple[CodeType, bool], bool] = {}
"""Whether a function, or a method, with this code takes a context."""


class DurableStream(MemoryStream):
    """A stream that passes every event to `persist` first.

    AG2 builds a pydantic model for every subscriber in every turn, which is two thirds of a turn's
    CPU time. AG2's own subscribers take `(event, context)` or `(event)`, so they are called directly.
    """

    __slots__ = ("_bridge", "_direct_subscribers", "_persist")

    def __init__(self, persist: Persist) -> None:
        self._direct_subscribers: dict[
            SubId, tuple[Condition | None, Callable[..., Any], bool, bool]
        ] = {}
        self._persist = persist
        self._bridge = LoopBridge()
        super().__init__()
        self._direct_subscribers.clear()  # MemoryStream's own subscriber: `_send` stores the history

    def subscribe(
        self,
        func: Callable[..., Any] | None = None,
        *,
        interrupt: bool = False,
        sync_to_thread: bool = True,  # noqa: ARG002
        condition: Condition | None = None,
    ) -> Any:
        if func is None:
            raise TypeError("subscribe: this stream needs a function, it is no decorator")
        sub_id = UUID(int=next(_SUBSCRIPTION_NUMBERS))
        wants_context = _takes_context(func)
        self._direct_subscribers[sub_id] = (condition, func, wants_context, interrupt)
        return sub_id

    def unsubscribe(self, sub_id: SubId) -> None:
        self._direct_subscribers.pop(sub_id, None)

    async def send(self, event: BaseEvent, context: ConversationContext) -> None:
        """May be called in a tool's loop, as when a tool asks by AG2's `Context`."""
        await self._bridge.call(partial(self._send, event, context))

    async def _send(self, event: BaseEvent, context: ConversationContext) -> None:
        event = await self._persist(event, context)
        if type(event).__transient__:
            return  # shown by `persist`; nothing inside a turn waits for it
        if isinstance(event, _HISTORY_EVENTS):
            await self.history.storage.save_event(event, context)
        subscribers = list(self._direct_subscribers.values())
        interrupting = [one for one in subscribers if one[3]]
        observing = [one for one in subscribers if not one[3]]
        for condition, func, wants_context, _ in interrupting:
            if condition is None or condition(event):
                replaced = await _call(func, event, context, wants_context=wants_context)
                if not replaced:
                    return
                event = replaced
        for condition, func, wants_context, _ in observing:
            if condition is None or condition(event):
                await _call(func, event, context, wants_context=wants_context)


def _takes_context(func: Callable[..., Any]) -> bool:
    """Whether a subscriber takes `(event, context)`; most are closures of the same code every turn."""
    code = getattr(func, "__code__", None)
    if code is None:
        return len(inspect.signature(func).parameters) > 1
    found = _TAKES_CONTEXT.get((code, inspect.ismethod(func)))
    if found is None:
        found = len(inspect.signature(func).parameters) > 1
        _TAKES_CONTEXT[code, inspect.ismethod(func)] = found
    return found


async def _call(
    func: Callable[..., Any], event: BaseEvent, context: ConversationContext, *, wants_context: bool
) -> Any:
    outcome = func(event, context) if wants_context else func(event)
    return await outcome if inspect.isawaitable(outcome) else outcome
